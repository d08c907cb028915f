"""The Graph Challenge program: official and generated networks give the categories of the definition."""

import re
import subprocess
import tarfile

from conftest import BINARY

PROGRAM = BINARY.parent / "bench_graph_challenge"


def run(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=300)


def test_the_official_sample_gives_its_nineteen_categories(data, tmp_path):
    tarfile.open(data / "graphchallenge" / "official-sample-1024.tar.xz").extractall(tmp_path)
    (folder,) = tmp_path.iterdir()
    done = run("--sample", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "30 layers, 983040 connections, 1200 images, 19 categories" in done.stdout
    assert "categories equal the expected ones" in done.stdout
    assert "categories are the same both ways" in done.stdout

    categories = folder / "neuron1024-l120-categories_subset.mtx"
    lines = categories.read_text().splitlines(keepends=True)
    categories.write_text("".join(lines[:-1]))  # one category less than the network finds
    assert run("--sample", folder).returncode == 1


def test_a_generated_network_equals_double_precision_whatever_the_threads(data):
    images = data / "mnist" / "train-images-idx3-ubyte.gz"
    found = set()
    for threads in (1, 3):
        done = run("--mnist", images, "--images=400", "--check=400", "--layers=24", "--threads", threads)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{24 * 32 * 1024} connections" in done.stdout
        found |= set(re.findall(r"(\d+) categories", done.stdout))
    assert len(found) == 1  # every way, every number of threads


def test_a_missing_file_is_named():
    done = run("--mnist", "/nowhere/images.gz")
    assert done.returncode == 66 and "/nowhere/images.gz" in done.stderr
