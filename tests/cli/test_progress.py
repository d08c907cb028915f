"""How a training shows itself: whole lines in files and pipes, one redrawn line on a terminal."""

import re

import pytest

from terminal import WIDTH, on_terminal, redrawn

SLOW = ["train", "config.toml", "--epochs=12", "--save-every=1 step", "--hidden=1500,1500", "--epsilon=60"]  # epochs last


def test_elsewhere_than_on_a_terminal_every_epoch_is_one_whole_line(problem, tulle):
    result = tulle("train", "config.toml", check=True)
    assert "\r" not in result.err and "\x1b" not in result.err
    epochs = re.findall(
        r"^epoch +(\d)/4  loss \d\.\d{4}  test \d+\.\d\d %  nnz \d+ \(\d+\.\d\d %\)  \d+ M conn/s  [\d.]+ s$",
        result.err,
        re.MULTILINE,
    )
    assert epochs == ["1", "2", "3", "4"]
    assert result.err.isascii()


def test_progress_can_be_switched_off(problem, tulle):
    result = tulle("train", "config.toml", "--progress=none", check=True)
    assert "epoch " not in result.err and "layer 0" in result.err


def test_on_a_terminal_one_line_is_redrawn_within_its_width(problem, tulle):
    drawn, stays = redrawn(on_terminal(tulle, *SLOW))
    assert len(drawn) >= 2, "the training was too fast to be seen"
    assert all(line.startswith("epoch ") and len(line) < WIDTH for line in drawn)
    assert any(len(line) == WIDTH - 1 for line in drawn)
    assert "\r" not in stays and "\x1b" not in stays
    assert re.search(r"^epoch +1/12", stays, re.MULTILINE)  # the first epoch improved


def test_the_redrawn_line_is_gone_before_anything_else_is_written(problem, tulle):
    text = on_terminal(tulle, *SLOW, "-v", "--compare-dense=timing")
    _, stays = redrawn(text)
    for line in stays.splitlines():
        assert re.match(r"(tulle|data|layer|total|epoch|saved|dense) ", line), line
    for line in text.split("\n"):  # nothing visible stands before a message on its line
        assert not re.search(r"\x1b\[K(?!\r).*\r", line) or "saved" not in line
        if "saved" in line or line.startswith("dense"):
            assert line.endswith(line[line.index("saved") if "saved" in line else 0 :])
            before = line[: line.index("saved")] if "saved" in line else ""
            assert before == "" or before.endswith("\r\x1b[K")


def test_only_improving_epochs_stay_unless_verbose(problem, tulle):
    def epochs(text):
        return re.findall(r"^epoch +\d+/12", redrawn(text)[1], re.MULTILINE)

    assert len(epochs(on_terminal(tulle, *SLOW, "-v"))) == 12
    assert 1 <= len(epochs(on_terminal(tulle, *SLOW, "--name=brief", "--learning-rate=0"))) < 12


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}], ids=["dumb"])
def test_a_dumb_terminal_gets_whole_lines(environment, problem, tulle):
    text = on_terminal(tulle, *SLOW, **environment)
    assert "\r" not in text and "\x1b" not in text
    assert len(re.findall(r"^epoch +\d+/12", text, re.MULTILINE)) == 12


def test_names_of_folders_cannot_draw_on_the_terminal(problem, tulle):
    result = tulle("train", "config.toml", "--name=a\x1b[31m\nb", check=True)
    assert "\x1b" not in result.err + result.out
    assert "a\\x1b[31m\\nb" in result.err and "a\\x1b[31m\\nb" in result.out
