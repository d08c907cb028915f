"""`tulle recover`: sparse nets behind data, and what users get of them."""

import csv
import io
import json
import re
import struct
import zlib

import numpy as np
import pytest

from conftest import assert_refused, contents
from terminal import WIDTH, on_terminal, redrawn

PLANTED = ["recover", "--n=1000", "--d=30", "--hidden-width=5", "--nnz=12", "--threads=1"]


def record(tulle, *words):
    return json.loads(tulle(*words, "--json", "-q", check=True).out)


def png(pixels):
    """A gray PNG file of an array of bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
def image(tmp_path):
    y, x = np.mgrid[0:16, 0:16]
    pixels = (127 + 120 * np.sin(x / 4) * np.cos(y / 5)).astype(np.uint8)
    (tmp_path / "image.png").write_bytes(png(pixels))
    return pixels


def test_a_planted_net_is_found_and_saved_like_any_other(tmp_path, tulle):
    found = record(tulle, *PLANTED)
    assert found["exact"] and found["psnr"] > 100 and found["fresh_psnr"] > 100
    assert found["nnz"] <= 12 and found["unfused_nnz"] == found["nnz"] + found["alive"]
    folder = tmp_path / "out/recover"
    assert set(contents(folder)) >= {"model.safetensors", "config.toml", "result.json"}
    assert json.loads((folder / "result.json").read_text()) == found and max(found["psnr_by_step"]) > 100
    shown = tulle("inspect", folder / "model.safetensors", check=True).out
    assert "relu" in shown


def test_the_same_seed_gives_the_same_file(tmp_path, tulle):
    for name in ("a", "b"):
        tulle(*PLANTED, "--seed=3", f"--name={name}", check=True)
    tulle(*PLANTED, "--seed=4", "--name=c", check=True)
    files = [(tmp_path / "out" / name / "model.safetensors").read_bytes() for name in "abc"]
    assert files[0] == files[1] != files[2]


def test_the_effective_config_repeats_the_run(tmp_path, tulle):
    found = record(tulle, *PLANTED, "--seed=5")
    again = record(tulle, "recover", tmp_path / "out/recover/config.toml", "--name=again")
    for key in ("psnr", "nnz", "steps", "weight_error"):
        assert found[key] == again[key]


def test_two_classes_become_a_model_that_predicts(tmp_path, tulle):
    random = np.random.default_rng(1)
    x = random.normal(size=(600, 8)).astype(np.float32)
    label = np.where(np.maximum(x[:, 2], 0) + np.maximum(x[:, 5] - x[:, 1], 0) > 0.7, "yes", "no")
    for name, rows in (("train", slice(0, 400)), ("test", slice(400, 600))):
        lines = [",".join(f"{v:.9g}" for v in row) + "," + word for row, word in zip(x[rows], label[rows])]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    data = ["--train=train.csv", "--test=test.csv", "--label-column=last", "--scale=standard"]
    found = record(tulle, "recover", "--task=classify", *data, "--bias", "--hidden-width=6", "--nnz=12", "--starts=6")
    assert found["fresh_accuracy"] > 0.85
    model = tmp_path / "out/recover/model.safetensors"
    told = json.loads(tulle("eval", model, "--data=test.csv", "--label-column=last", "--json", check=True).out)
    assert told["accuracy"] == pytest.approx(found["fresh_accuracy"], abs=1e-9)


def test_several_classes_are_found_and_trained_on(tmp_path, tulle):
    random = np.random.default_rng(2)
    x = random.normal(size=(500, 10)).astype(np.float32)
    label = np.argmax(x[:, :3], axis=1)
    (tmp_path / "train.csv").write_text("\n".join(",".join(f"{v:.9g}" for v in row) + f",{c}" for row, c in zip(x, label)) + "\n")
    data = ["--train=train.csv", "--label-column=last"]
    found = record(tulle, "recover", "--task=classify", "--method=aiht", *data, "--hidden-width=8", "--nnz=30", "--steps=20")
    assert found["accuracy"] > 0.8 and found["nnz"] <= 30
    # It goes on under `train` with the connections that were found.
    model = tmp_path / "out/recover/model.safetensors"
    train = ["train", *data, f"--start-from={model}", "--rule=none", "--epochs=3", "--dropout=0", "--learning-rate=0.001", "--quiet",
             "--compare-dense=none"]
    assert_refused(tulle(*train, "--hidden=99"), 78, "layer sizes, found 10-")
    tulle(*train, f"--hidden={found['alive']}", check=True)
    before = json.loads(tulle("eval", model, "--data=train.csv", "--label-column=last", "--json", check=True).out)
    after = json.loads(
        tulle("eval", tmp_path / "out/run/model.safetensors", "--data=train.csv", "--label-column=last", "--json", check=True).out
    )
    assert after["loss"] <= before["loss"] + 0.02
    assert "nnz" in tulle("inspect", tmp_path / "out/run/model.safetensors", check=True).out


def test_a_trained_net_is_refined_on_fewer_connections(tmp_path, tulle):
    random = np.random.default_rng(1)
    x = random.normal(0, 1, (600, 10))
    y = 2 * np.maximum(x[:, 0] - x[:, 3] + 0.5, 0) - np.maximum(x[:, 2], 0) + 0.3
    np.savetxt(tmp_path / "data.csv", np.column_stack([x, y]), delimiter=",", fmt="%.9g")
    data = ["--train=data.csv", "--scale=none", "--set", "data.task=regression"]
    tulle(
        "train", *data, "--hidden=8", "--activation=relu", "--loss=mse", "--rule=none", "--density=0.9", "--dropout=0", "--epochs=40",
        "--optimizer=adam", "--learning-rate=0.01", "--batch-size=50", "--compare-dense=none", "--name=net", check=True,
    )
    words = ["recover", "--task=classify", *data, "--bias", "--method=htp", "--steps=2", "--nnz=60"]
    start = "--start-from=out/net/model.safetensors"
    refined = record(tulle, *words, "--hidden-width=9", start)
    assert refined["nnz"] <= 60 and refined["psnr"] > record(tulle, *words, "--hidden-width=9", "--name=alone")["psnr"] + 10
    assert_refused(
        tulle(*words, "--hidden-width=3", start), 78,
        "recover.start_from: hidden neurons, found 9, expected at most 3 (recover.hidden_width)",
    )


def test_an_image_is_written_as_it_is_represented(tmp_path, tulle, image):
    found = record(tulle, "recover", "--task=image", "--image=image.png", "--hidden-width=8", "--nnz=60", "--frequencies=100", "--starts=6")
    assert found["psnr"] > found["mean_psnr"] + 10
    assert found["bytes"]["png"] > 0 and found["bytes"]["jpeg"] > 0
    assert (tmp_path / "out/recover/reconstruction.png").read_bytes().startswith(b"\x89PNG")
    record(tulle, *PLANTED)  # in the same folder, which must not show another's pictures
    assert not list((tmp_path / "out/recover").glob("*.png"))


def test_a_sparse_vector_is_sensed_exactly(tulle):
    found = record(tulle, "recover", "--task=sensing", "--method=aiht", "--n=200", "--d=1000", "--nnz=10")
    assert found["exact"] and found["relative_error"] < 1e-6


def test_a_grid_goes_on_where_it_stopped(tmp_path, tulle):
    grid = ["recover", "grid", "--n=500", "--d=20", "--widths=2,4", "--budgets=4,8", "--seeds=0..1", "--methods=aiht,strong"]
    tulle(*grid, check=True)
    folder = tmp_path / "out/recover"
    lines = (folder / "grid.jsonl").read_text().splitlines()
    assert len(lines) == 16
    # What a crash left: half of the cells and a torn line, perhaps torn just before its end.
    for torn in (lines[8][:20], lines[8]):
        (folder / "grid.jsonl").write_text("\n".join(lines[:8]) + "\n" + torn)
        (folder / "grid.csv").unlink()
        tulle(*grid, check=True)
        again = (folder / "grid.jsonl").read_text()
        assert again.endswith("\n") and again.splitlines()[:8] == lines[:8]
        names = [tuple(json.loads(line)[key] for key in ("method", "hidden_width", "budget", "seed")) for line in again.splitlines()]
        assert len(names) == len(set(names)) == 16
    rows = list(csv.DictReader(io.StringIO((folder / "grid.csv").read_text())))
    assert len(rows) == 16 and all(float(row["psnr"]) > 0 for row in rows)
    page = (folder / "grid.html").read_text()
    assert page.count("<svg") == 2 and "aiht" in page and "src=" not in page
    assert_refused(tulle(*grid, "--signs=alternate"), 78, "other options")
    (tmp_path / "elsewhere").mkdir()
    folder.rename(tmp_path / "elsewhere/other")
    tulle(*grid, "--out=elsewhere", "--name=other", "--progress=none", check=True)  # what is shown and where does not matter


def test_a_grid_of_sensing_goes_on(tmp_path, tulle):
    grid = ["recover", "grid", "--task=sensing", "--method=iht", "--n=50", "--d=60", "--widths=1", "--budgets=3,4"]
    tulle(*grid, check=True)
    lines = (tmp_path / "out/recover/grid.jsonl").read_text()
    tulle(*grid, check=True)
    assert (tmp_path / "out/recover/grid.jsonl").read_text() == lines


@pytest.mark.parametrize("line", ["{", "[]", '{"method": "iht", "hidden_width": 2, "budget": 4}', '{"method": 1, "hidden_width": 2, "budget": 4, "seed": 0}'])
def test_a_damaged_line_of_a_grid_is_told_and_nothing_lost(tmp_path, tulle, line):
    grid = ["recover", "grid", "--method=iht", "--n=100", "--d=5", "--widths=2", "--budgets=4,5,6"]
    tulle(*grid, check=True)
    path = tmp_path / "out/recover/grid.jsonl"
    lines = path.read_text().splitlines()
    lines[1] = line
    path.write_text("\n".join(lines) + "\n")
    assert_refused(tulle(*grid), 65, "grid.jsonl:2: line of a grid, found another")
    assert path.read_text().splitlines() == lines


def test_a_grid_of_classes_tells_accuracy(tmp_path, tulle):
    random = np.random.default_rng(3)
    x = random.normal(size=(120, 4)).astype(np.float32)
    label = np.argmax(x[:, :3], axis=1)
    (tmp_path / "train.csv").write_text("\n".join(",".join(f"{v:.9g}" for v in row) + f",{c}" for row, c in zip(x, label)) + "\n")
    words = ["--train=train.csv", "--task=classify", "--method=aiht", "--widths=4", "--budgets=12,20", "--seeds=0"]
    told = tulle("recover", "grid", *words, check=True)
    assert told.err.count("accuracy") == 2
    assert "%" in (tmp_path / "out/recover/grid.html").read_text()


def test_on_a_terminal_one_line_tells_where_a_recovery_stands(tmp_path, tulle):
    words = ["--n=4000", "--d=100", "--steps=100", "--method=aiht", "--threads=1"]
    drawn, stays = redrawn(on_terminal(tulle, "recover", *words, "--hidden-width=50", "--nnz=100"))
    assert drawn, "the recovery was too fast to be seen"
    assert all(re.fullmatch(r"step +\d+  psnr -?\d+\.\d\d dB  nnz \d+  \d+:\d\d", line) for line in drawn)
    steps = [int(re.search(r"\d+", line)[0]) for line in drawn]
    assert steps == sorted(set(steps)) and 1 <= steps[0] and steps[-1] <= 100
    assert "step" not in stays and "recover planted by aiht" in stays
    grid = ["recover", "grid", *words, "--widths=50", "--budgets=100"]
    drawn, stays = redrawn(on_terminal(tulle, *grid, "--name=grid"))
    assert drawn and all(line.startswith("aiht  m 50  s 100  seed 0  step ") and len(line) < WIDTH for line in drawn)
    assert re.fullmatch(r"aiht +m 50 +s 100 +seed 0 +psnr +\d+\.\d\d dB   \d+\.\d\d s", stays.splitlines()[0])
    quiet = tulle(*grid, "--name=quiet", "--progress=none", check=True)
    assert "step" not in quiet.err


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["--nnz=0"], 78, "recover.nnz, found 0"),
        (["--hidden-width=0"], 78, "recover.hidden_width, found 0"),
        (["--method=lasso"], 78, "recover.method, found 'lasso'"),
        (["--task=planet"], 78, "did you mean 'planted'"),
        (["--gates=fixed"], 78, "recover.gates, found 'fixed'"),
        (["--nnz=2", "--hidden-layers=3"], 78, "recover.nnz, found 2"),
        (["--task=image"], 78, "recover.image, found none and no data.train"),
        (["--task=image", "--image=absent.png"], 66, "absent.png"),
        (["--task=classify", "--train=absent.csv"], 66, "absent.csv"),
        (["--workspace=0"], 78, "recover.workspace, found 0"),
        (["--seed=1..3"], 78, "recover grid"),
        (["--steps=x"], 2, "recover.steps"),
        (["--n=17592169267200", "--d=1048577"], 78, "recover.n, found 17592169267200, expected at least 1 and at most 2147483646"),
        (["--hidden-width=5000000000"], 78, "recover.hidden_width, found 5000000000"),
        (["--n=2147483646", "--d=2147483646"], 12, "out of memory"),
        (["--method=aiht", "--gates=fixed", "--hidden-layers=2"], 78, "recover.gates, found 'fixed'"),
        (["--nnz=1", "--outputs=2"], 78, "recover.nnz, found 1"),
        (["--task=sensing"], 78, "recover.method, found 'strong', expected iht, aiht or htp"),
        (["--task=sensing", "--method=iht", "--hidden-layers=2"], 78, "recover.hidden_layers, found 2, expected 1"),
        (["--task=sensing", "--method=iht", "--outputs=2"], 78, "recover.outputs, found 2, expected 1"),
        (["grid", "--widths=2,0", "--budgets=4"], 78, "recover.hidden_width, found 0"),
        (["grid", "--widths=2", "--budgets=4,0"], 78, "recover.nnz, found 0"),
        (["grid", "--widths=2", "--budgets=4", "--methods=aiht,lasso"], 78, "recover.method, found 'lasso'"),
        (["grid", "--widths=2", "--budgets=4", "--seeds=x"], 2, "--seed, found 'x'"),
        (["grid", "--task=sensing", "--method=iht", "--widths=2", "--budgets=4"], 78, "--widths, found 2, expected 1"),
    ],
)
def test_bad_options_are_refused(tulle, words, code, message):
    assert_refused(tulle("recover", *words), code, message)


@pytest.mark.parametrize(
    "words, code",
    [
        (["--task=classify", "--train=absent.csv"], 66),
        (["--task=image", "--image=absent.png"], 66),
        (["--task=sensing"], 78),
        (["grid", "--widths=2,0", "--budgets=4"], 78),
        (["grid", "--widths=2", "--budgets=4", "--seeds=x"], 2),
    ],
)
def test_a_refusal_leaves_no_folder(tmp_path, tulle, words, code):
    assert_refused(tulle("recover", *words), code, "")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name, owner", [("metrics.jsonl", "training"), ("ckpt-000010.safetensors", "training"), ("grid.jsonl", "grid")])
def test_a_folder_with_anything_else_is_left_alone(tmp_path, tulle, name, owner):
    folder = tmp_path / "out/recover"
    folder.mkdir(parents=True)
    (folder / name).write_text("{}\n")
    assert_refused(tulle(*PLANTED), 78, f"run folder, found {name} of a {owner}, expected none")
    if owner == "training":
        assert_refused(tulle("recover", "grid", "--n=100", "--d=5", "--widths=2", "--budgets=4"), 78, f"found {name} of a training")
    assert contents(folder) == {name: b"{}\n"} or set(contents(folder)) == {name}


def test_fixed_gates_are_those_that_predict(tmp_path, tulle):
    record(tulle, *PLANTED)
    found = record(tulle, *PLANTED, "--method=htp", "--gates=fixed", "--published")
    result = json.loads((tmp_path / "out/recover/result.json").read_text())
    assert found["psnr"] == pytest.approx(result["psnr_by_step"][-1], abs=1e-6)
    assert not (tmp_path / "out/recover/model.safetensors").exists()  # that of the first recovery


def test_very_wide_nets_are_not_matched(tulle):
    found = record(tulle, "recover", "--n=40", "--d=20", "--method=iht", "--steps=1", "--hidden-width=9000", "--nnz=3000")
    assert found["psnr"] is not None and "support_f1" not in found and "exact" not in found


def test_labels_and_inputs_that_no_net_can_have_are_refused(tmp_path, tulle):
    (tmp_path / "negative.csv").write_text("".join(f"{i},{-i - 1}\n" for i in range(9)))
    words = ["recover", "--task=classify", "--set=data.task=regression", "--train=negative.csv", "--label-column=last", "--hidden-width=2",
             "--nnz=1"]
    assert_refused(tulle(*words, "--signs=positive"), 78, "never negative")
    tulle(*words, check=True)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG but no picture")
    assert_refused(tulle("recover", "--task=image", "--image=bad.png"), 65, "bad.png")
