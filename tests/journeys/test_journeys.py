"""The journeys in docs/journeys run as they are written: every sh and python block in order, in one folder, toml blocks as
the files they are named after. A block marked `skip` sets up a machine and is for people."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("TULLE_BINARY", REPOSITORY / "build" / "release" / "tulle"))
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.M | re.S)


# One interpreter for all python blocks of a page, as a reader would have; it runs a block for each line it is sent.
INTERPRETER = """
import json, sys
space = {"__name__": "__main__"}
for line in sys.stdin:
    exec(compile(json.loads(line), "journey", "exec"), space)
    print("\\0", flush=True)
"""


def blocks(text):
    for kind, words, body in BLOCK.findall(text):
        if kind in ("sh", "python", "toml", "c") and "skip" not in words.split():
            yield kind, words.strip(), body


@pytest.mark.parametrize("journey", sorted((REPOSITORY / "docs" / "journeys").glob("*.md")), ids=lambda path: path.stem)
def test_the_journey_runs_as_it_is_written(journey, tmp_path):
    environment = {**os.environ, "PATH": f"{BINARY.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    steps = list(blocks(journey.read_text()))
    assert any(kind in ("sh", "python") for kind, _, _ in steps)
    python = subprocess.Popen(
        [sys.executable, "-c", INTERPRETER], cwd=tmp_path, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(tmp_path / "errors").open("w"),
    )  # fmt: skip
    with python:
        for kind, words, body in steps:
            if kind in ("toml", "c") and words:
                (tmp_path / words).write_text(body)
            elif kind == "sh":
                command = ["bash", "-euo", "pipefail", "-c", body]
                done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
                assert done.returncode == 0, f"{journey.name}:\n{body}\n{done.stdout}\n{done.stderr}"
            elif kind == "python":
                python.stdin.write(json.dumps(body) + "\n")
                python.stdin.flush()
                told = iter(python.stdout.readline, "\0\n")
                ended = all(line != "" for line in told)
                assert ended, f"{journey.name}:\n{body}\n{(tmp_path / 'errors').read_text()}"
        python.stdin.close()
