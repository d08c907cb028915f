"""The journeys in docs/journeys run as they are written: every sh and python block in order, in one folder, toml blocks as
the files they are named after. A block marked `skip` sets up a machine and is for people."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("TULLE_BINARY", REPOSITORY / "build" / "release" / "tulle"))
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.M | re.S)


def blocks(text):
    for kind, words, body in BLOCK.findall(text):
        if kind in ("sh", "python", "toml", "c") and "skip" not in words.split():
            yield kind, words.strip(), body


@pytest.mark.parametrize("journey", sorted((REPOSITORY / "docs" / "journeys").glob("*.md")), ids=lambda path: path.stem)
def test_the_journey_runs_as_it_is_written(journey, tmp_path):
    environment = {**os.environ, "PATH": f"{BINARY.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    steps = list(blocks(journey.read_text()))
    assert any(kind in ("sh", "python") for kind, _, _ in steps)
    session = ""  # python blocks go on where the last one ended
    for kind, words, body in steps:
        if kind in ("toml", "c") and words:
            (tmp_path / words).write_text(body)
            continue
        if kind == "sh":
            command = ["bash", "-euo", "pipefail", "-c", body]
        elif kind == "python":
            session += body
            command = [sys.executable, "-c", session]
        else:
            continue
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{journey.name}:\n{body}\n{done.stdout}\n{done.stderr}"
