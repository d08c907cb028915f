"""The journeys in docs/journeys run as they are written: every sh and python block in order, in one folder, toml blocks as
the files they are named after. A text block is what the block before it prints: line by line the same but for numbers
and their units, "..." for any lines. A block marked `skip` sets up a machine and is for people."""

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


# What differs between machines and runs: the instruction set, and how two figures compare.
MACHINE = re.compile(r"\b(?:avx\w*|sse4|ssse3|scalar)\b|(?<= x )\(?(?:smaller|larger|faster|slower|fewer|more)\)?")
NUMBER = re.compile(r"[-+]?\d(?:[\d.,]| (?=\d{3}\b))*(?:e[-+]?\d+)?(?: ?[kMGm]?(?:B|s)\b)?")


def shape(line):
    """A line without its figures, and as wide as it needs to be."""
    return " ".join(NUMBER.sub("#", MACHINE.sub("#", line)).split())


def unlike(shown, printed):
    """The first line of `shown` that `printed` does not have where it should, None if it has them all and no more."""
    printed = [shape(line) for line in printed.splitlines()]
    place, anywhere = 0, False
    for line in shown.splitlines():
        if line == "...":
            anywhere = True
            continue
        found = shape(line) in (printed[place:] if anywhere else printed[place : place + 1])
        if not found:
            return line
        place, anywhere = printed.index(shape(line), place) + 1, False
    return None if anywhere or place == len(printed) else "(the end)"


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
        if kind in ("sh", "python", "toml", "c", "text") and "skip" not in words.split():
            yield kind, words.strip(), body


@pytest.mark.parametrize("journey", sorted((REPOSITORY / "docs" / "journeys").glob("*.md")), ids=lambda path: path.stem)
def test_the_journey_runs_as_it_is_written(journey, tmp_path):
    environment = {**os.environ, "PATH": f"{BINARY.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    steps = list(blocks(journey.read_text()))
    assert any(kind in ("sh", "python") for kind, _, _ in steps)
    python = subprocess.Popen(
        [sys.executable, "-u", "-c", INTERPRETER], cwd=tmp_path, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    printed = ""
    with python:
        for kind, words, body in steps:
            if kind in ("toml", "c") and words:
                (tmp_path / words).write_text(body)
            elif kind == "sh":
                command = ["bash", "-euo", "pipefail", "-c", body]
                done = subprocess.run(
                    command, cwd=tmp_path, env=environment, text=True, timeout=300,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                )  # fmt: skip
                printed = done.stdout.replace(str(tmp_path), "/home/you")
                assert done.returncode == 0, f"{journey.name}:\n{body}\n{printed}"
            elif kind == "python":
                python.stdin.write(json.dumps(body) + "\n")
                python.stdin.flush()
                printed, line = "", python.stdout.readline()
                while line not in ("", "\0\n"):
                    printed, line = printed + line, python.stdout.readline()
                assert line, f"{journey.name}:\n{body}\n{printed}"
            elif kind == "text":
                assert (missing := unlike(body, printed)) is None, f"{journey.name}: {missing}, not so in:\n{printed}"
        python.stdin.close()
