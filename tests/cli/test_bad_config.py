"""Configurations that cannot be: exit 78 from a file, exit 2 for what is malformed on the command line."""

import pytest

from conftest import assert_refused, config_text, contents

# name: (changes to a good config, what the line must say besides FILE)
VALUES = {
    "typo_in_key": ({"train__momentun": 0.5}, ["config.toml:", "train.momentun", "train.momentum?"]),
    "typo_in_section": ({"modell__hidden": [4]}, ["config.toml:", "modell.hidden", "model.hidden?"]),
    "text_for_number": (
        {"train__epochs": "ten"},
        ["config.toml:", "train.epochs", "found", "ten", "expected a whole number"],
    ),
    "fraction_for_whole": (
        {"train__batch_size": 1.5},
        ["config.toml:", "train.batch_size", "found 1.5", "expected a whole number"],
    ),
    "number_for_text": (
        {"model__activation": 3},
        ["config.toml:", "model.activation", "found 3", "expected a text"],
    ),
    "number_for_flag": (
        {"log__report": 1},
        ["config.toml:", "log.report", "found 1", "expected true or false"],
    ),
    "number_for_list": (
        {"model__hidden": 16},
        ["config.toml:", "model.hidden", "found 16", "expected a list"],
    ),
    "text_in_list": (
        {"model__hidden": [16, "x"]},
        ["config.toml:", "model.hidden", "found", "expected a list"],
    ),
    "negative_rate": (
        {"train__learning_rate": -0.1},
        ["config.toml:", "train.learning_rate", "found -0.1", "expected at least 0"],
    ),
    "no_epochs": (
        {"train__epochs": 0},
        ["config.toml:", "train.epochs", "found 0", "expected at least 1"],
    ),
    "whole_dropout": (
        {"model__dropout": 1.0},
        ["config.toml:", "model.dropout", "found 1", "expected"],
    ),
    "density_above_one": (
        {"topology__density": 2},
        ["config.toml:", "topology.density", "found 2", "at most 1"],
    ),
    "layer_without_neurons": (
        {"model__hidden": [16, 0]},
        ["config.toml:", "model.hidden", "found 0", "expected at least 1"],
    ),
    "one_checkpoint": (
        {"checkpoint__keep": 1},
        ["config.toml:", "checkpoint.keep", "found 1", "expected at least 2"],
    ),
    "unknown_choice": (
        {"train__optimizer": "adamm"},
        ["config.toml:", "train.optimizer", "found 'adamm'", "expected one of", "'adam'?"],
    ),
    "budget_too_large": (
        {"topology__distribution": "explicit", "topology__budgets": [97, 12, 12]},
        ["topology.budgets", "found 97", "expected 1 to 96"],
    ),
    "budgets_of_other_layers": (
        {"topology__distribution": "explicit", "topology__budgets": [10, 10]},
        ["topology.budgets", "found 2 numbers", "expected 3"],
    ),
    "update_by_the_clock": (
        {"evolve__update_every": "5 min"},
        ["evolve.update_every", "found '5 min'", "expected"],
    ),
    "save_sometimes": (
        {"checkpoint__save_every": "sometimes"},
        ["checkpoint.save_every", "found 'sometimes'", "expected"],
    ),
    "name_of_several_folders": (
        {"run__name": "a/b"},
        ["run.name", "found 'a/b'", "expected the name of one folder"],
    ),
    "no_data": ({"data__train": ""}, ["data.train", "found nothing", "expected a file"]),
}


@pytest.mark.parametrize("row", VALUES.values(), ids=VALUES.keys())
def test_a_config_file_is_refused(row, problem, tulle):
    changes, words = row
    (problem / "config.toml").write_text(config_text(**changes))
    before = contents(problem)
    assert_refused(tulle("train", "config.toml"), 78, *words)
    assert contents(problem) == before


def test_a_place_in_the_config_file_is_the_line_of_the_mistake(problem, tulle):
    text = config_text(train__epohcs=3)
    (problem / "config.toml").write_text(text)
    line = 1 + [entry.split(" ")[0] for entry in text.splitlines()].index("epohcs")
    assert_refused(tulle("train", "config.toml"), 78, f"config.toml:{line}: ")


FILES = {
    "no_toml": (b"[run\nname = 1", 78, "config.toml:1"),
    "twice": (b"[run]\nseed = 1\nseed = 2\n", 78, "config.toml:3"),
    "binary": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 78, "config.toml"),
    "key_outside_sections": (b"seed = 1\n", 78, "config.toml:1: unknown key seed"),
    "number_too_large": (b"[run]\nseed = 9223372036854775808\n", 78, "config.toml:2"),
}


@pytest.mark.parametrize("row", FILES.values(), ids=FILES.keys())
def test_a_file_that_is_no_config_is_refused(row, problem, tulle):
    content, code, word = row
    (problem / "config.toml").write_bytes(content)
    assert_refused(tulle("train", "config.toml"), code, word)
    assert not (problem / "out").exists()


def test_a_config_file_that_is_not_there_is_a_missing_input(tulle):
    assert_refused(tulle("train", "none.toml"), 66, "none.toml")


def test_a_folder_is_no_config_file(tulle):
    assert_refused(tulle("train", "."), 78, "found", "expected a file")


# name: (arguments, exit code, what the line must say)
LINES = {
    "no_verb": ([], 2, []),
    "unknown_verb": (["trian"], 2, ["verb", "found 'trian'", "expected one of train", "'train'?"]),
    "unknown_flag": (["train", "--epohcs=3"], 2, ["unknown flag --epohcs", "--epochs?"]),
    "unknown_flag_before_a_value": (
        ["train", "config.toml", "--epohcs", "3"],
        2,
        ["unknown flag --epohcs", "--epochs?"],
    ),
    "unknown_short_flag": (["train", "-x"], 2, ["-x"]),
    "device": (["train", "--device=gpu"], 2, ["--device"]),
    "word_too_many": (["inspect", "a", "b"], 2, ["argument", "found 'b'", "expected none"]),
    "no_model": (["predict"], 2, ["model"]),
    "unknown_topic": (["list", "rule"], 2, ["topic", "rule"]),
    "unknown_form": (["predict", "m", "--as=xml"], 2, ["--as", "xml"]),
    "text_for_whole": (["train", "--epochs=x"], 2, ["train.epochs", "found 'x'", "expected a whole"]),
    "negative": (["train", "--epochs=-1"], 2, ["train.epochs", "found '-1'", "expected a whole"]),
    "beyond_64_bits": (["train", "--epochs=9223372036854775808"], 2, ["train.epochs", "expected"]),
    "exponent": (["train", "--epochs=1e9"], 2, ["train.epochs", "found '1e9'", "expected"]),
    "empty": (["train", "--epochs", ""], 2, ["train.epochs", "found ''", "expected"]),
    "letter_behind": (["train", "--epochs=3x"], 2, ["train.epochs", "found '3x'", "expected"]),
    "two_values": (["train", "--epochs=3\nnesterov=true"], 2, ["train.epochs", "expected"]),
    "text_for_number": (["train", "--alpha=big"], 2, ["model.alpha", "found 'big'", "expected"]),
    "text_for_flag": (["train", "--report=7"], 2, ["log.report", "found '7'", "expected true or"]),
    "text_for_list": (["train", "--hidden=a,b"], 2, ["model.hidden", "found 'a,b'", "expected"]),
    "set_without_value": (["train", "--set", "epochs"], 2, ["--set", "found 'epochs'", "expected"]),
    "set_malformed": (["train", "--set", "train.epochs=x"], 2, ["train.epochs", "found 'x'"]),
    "seed": (["train", "--seed=a"], 2, ["--seed", "found 'a'", "expected"]),
    "seeds_backwards": (["train", "--seed=5..1"], 2, ["--seed", "found '5..1'", "expected"]),
    "density_above_one": (["train", "--density=2"], 78, ["topology.density", "found 2", "expected"]),
    "no_neurons": (["train", "--hidden=0"], 78, ["model.hidden", "found 0", "expected at least 1"]),
    "unknown_choice": (["train", "--rule=sett"], 78, ["evolve.rule", "found 'sett'", "'set'?"]),
    "set_unknown_key": (["train", "--set", "train.momentun=1"], 78, ["train.momentun", "momentum?"]),
    "set_leaf_alone": (["train", "--set", "momentum=1"], 78, ["unknown key momentum"]),
}


@pytest.mark.parametrize("row", LINES.values(), ids=LINES.keys())
def test_a_command_line_is_refused(row, problem, tulle):
    arguments, code, words = row
    before = contents(problem)
    assert_refused(tulle(*arguments), code, *words)
    assert contents(problem) == before
