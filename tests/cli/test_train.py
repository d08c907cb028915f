"""`tulle train`: ways to say the same thing give the same bytes, and what a run leaves behind."""

import json

import pytest

from conftest import config_text, contents


def model(folder, name="run"):
    return (folder / "out" / name / "model.safetensors").read_bytes()


FLAGS = (
    "--name=flags --threads=1 --train=train.csv --test=test.csv --hidden=16,12 --dropout=0.1 --epsilon=3"
    " --epochs=4 --batch-size=20 --learning-rate=0.02 --compare-dense=none --save-every".split()
    + ["1 epoch", "--update-every", "3 step"]
)


def test_flags_and_a_file_train_the_same_model(trained, tulle):
    tulle("train", *FLAGS, check=True)
    assert model(trained, "flags") == model(trained)


def test_set_overrides_the_file_and_a_flag_overrides_set(trained, tulle):
    settings = ["--set", "train.learning_rate=0.5", "--set", 'evolve.update_every="2 step"']
    tulle("train", "config.toml", "--name=set", *settings, "--learning-rate=0.02", check=True)
    (trained / "config.toml").write_text(config_text(evolve__update_every="2 step"))
    tulle("train", "config.toml", "--name=file", check=True)
    assert model(trained, "set") == model(trained, "file") != model(trained)


def test_a_preset_gives_way_to_every_key_that_is_given(problem, tulle):
    tulle("train", "config.toml", "--preset=published", check=True)
    effective = (problem / "out/run/config.toml").read_text()
    assert 'rule = "set-published"' in effective and 'last_batch = "drop"' in effective
    assert "epsilon = 3.0" in effective and "learning_rate = 0.02" in effective


def test_the_effective_config_repeats_the_run_from_another_folder(trained, tulle):
    (trained / "elsewhere").mkdir()
    tulle.folder = trained / "elsewhere"
    tulle("train", "../out/run/config.toml", "--name=again", check=True)
    assert model(trained, "again") == model(trained)
    first, again = (
        (trained / "out" / name / "config.toml").read_text() for name in ["run", "again"]
    )
    assert first.replace('name = "run"', "") == again.replace('name = "again"', "")


def test_paths_in_a_config_file_are_relative_to_it(problem, tulle):
    tulle.folder = problem / "below"
    tulle.folder.mkdir()
    (problem / "config.toml").write_text(config_text(run__out="out"))
    tulle("train", "../config.toml", check=True)
    assert model(problem)
    assert contents(tulle.folder) == {}


def test_two_threads_train_the_same_model_as_one(trained, tulle):
    tulle("train", "config.toml", "--name=two", "--threads=2", check=True)
    assert model(trained, "two") == model(trained)


def test_another_seed_trains_another_model(trained, tulle):
    tulle("train", "config.toml", "--name=other", "--seed=2", check=True)
    assert model(trained, "other") != model(trained)


def test_resumed_in_the_middle_a_training_ends_with_the_same_model(trained, tulle):
    tulle("train", "config.toml", "--name=cut", "--epochs=2", check=True)
    tulle("train", "--resume=out/cut", "--epochs=4", "--threads=2", check=True)
    assert model(trained, "cut") == model(trained)


def test_resumed_from_a_file_a_training_goes_on_from_that_one(trained, tulle):
    result = tulle("train", "--resume=out/run/ckpt-000030.safetensors", check=True)
    assert "resume  after epoch 3, step 30" in result.err


def test_resume_takes_the_newest_good_checkpoint_and_names_what_it_skipped(trained, tulle):
    before = model(trained)
    newest = trained / "out/run/ckpt-000040.safetensors"
    result = tulle("train", "--resume=out/run", check=True)
    assert "resume  after epoch 4, step 40" in result.err and "skipped" not in result.err
    newest.write_bytes(newest.read_bytes()[:-1])
    result = tulle("train", "--resume=out/run", check=True)
    skipped, rest = result.err.split("\n", 1)
    assert skipped.startswith("tulle: warning: skipped ") and "ckpt-000040.safetensors" in skipped
    assert "resume  after epoch 3, step 30" in rest
    assert model(trained) == before


def test_resume_auto_starts_a_training_that_has_no_checkpoint(problem, tulle):
    result = tulle("train", "config.toml", "--resume=auto", check=True)
    assert "resume" not in result.err
    assert model(problem)


def test_a_run_that_was_moved_resumes_where_it_is(trained, tulle):
    (trained / "out/run").rename(trained / "moved")
    tulle("train", "--resume=moved/", "--epochs=5", check=True)
    assert (trained / "moved/ckpt-000050.safetensors").exists()
    assert not (trained / "out/run").exists()


def test_several_seeds_make_a_folder_each_and_one_document(problem, tulle):
    result = tulle("train", "config.toml", "--seed=1..3", "--json", check=True)
    together = json.loads(result.out)
    assert [entry["seed"] for entry in together["seeds"]] == [1, 2, 3]
    accuracies = []
    for entry in together["seeds"]:
        alone = tulle(
            "train", "config.toml", f"--seed={entry['seed']}", f"--name={entry['seed']}", "--json", check=True
        )
        assert model(problem, f"run/seed-{entry['seed']}") == model(problem, str(entry["seed"]))
        rows = {row["name"]: row["sparse"] for row in json.loads(alone.out)["rows"]}
        assert rows["test accuracy"] == {row["name"]: row["sparse"] for row in entry["result"]["rows"]}[
            "test accuracy"
        ]
        accuracies.append(rows["test accuracy"])
    mean = sum(accuracies) / 3
    deviation = (sum((a - mean) ** 2 for a in accuracies) / 2) ** 0.5
    assert together["test_accuracy"]["mean"] == pytest.approx(mean)
    assert together["test_accuracy"]["deviation"] == pytest.approx(deviation, abs=1e-9)


def test_seeds_may_be_a_list(problem, tulle):
    result = tulle("train", "config.toml", "--seed=7,9", check=True)
    assert sorted(path.name for path in (problem / "out/run").iterdir()) == ["report.html", "seed-7", "seed-9"]
    assert "2 seeds: test accuracy" in result.out


def test_json_is_one_document_with_the_figures_of_the_run(problem, tulle):
    result = tulle("train", "config.toml", "--json", check=True)
    rows = {row["name"]: row["sparse"] for row in json.loads(result.out)["rows"]}
    evaluated = json.loads(
        tulle("eval", "out/run/model.safetensors", "--data=test.csv", "--json", check=True).out
    )
    assert rows["test accuracy"] == evaluated["accuracy"] > 0.8
    assert rows["loss"] == pytest.approx(evaluated["loss"])
    assert rows["model file"] == len(model(problem))


def test_a_finished_training_that_is_resumed_repeats_its_result(trained, tulle):
    def figures(*arguments):
        rows = json.loads(tulle("train", *arguments, "--json", check=True).out)["rows"]
        return {row["name"]: row["sparse"] for row in rows if row["name"] in ("test accuracy", "loss")}

    assert figures("--resume=out/run") == figures("config.toml", "--name=again")
    no_test = ["config.toml", "--test=", "--name=no_test"]
    assert figures(*no_test).keys() == {"loss"}  # what is not known is left out
    assert figures("--resume=out/no_test") == figures(*no_test[:2], "--name=no_test_again")


def test_quiet_prints_nothing(problem, tulle):
    result = tulle("train", "config.toml", "-q", "--compare-dense=timing", check=True)
    assert (result.out, result.err) == ("", "")


def test_verbose_tells_of_every_checkpoint(problem, tulle):
    result = tulle("train", "config.toml", "-v", check=True)
    saved = [line for line in result.err.splitlines() if line.startswith("saved   out/run/ckpt-")]
    assert len(saved) == 4


def test_the_comparison_with_a_dense_network_adds_its_column(problem, tulle):
    result = tulle("train", "config.toml", "--compare-dense=train", "--json", check=True)
    rows = {row["name"]: row for row in json.loads(result.out)["rows"]}
    assert rows["test accuracy"]["dense"] > 0.8
    assert rows["connections"]["dense"] == 6 * 16 + 16 * 12 + 12 * 3 > rows["connections"]["sparse"]


def test_the_dense_network_has_features_that_the_first_rows_lack(tulle):
    rows = [f"{i % 2} 1:{i % 5} 2:{1 + i % 3}" + (" 9:1" if i > 90 else "") for i in range(100)]
    (tulle.folder / "rows.svm").write_text("\n".join(rows) + "\n")
    (tulle.folder / "test.svm").write_text("0 1:1 9:2\n1 2:1\n")
    flags = ["--format=libsvm", "--train=rows.svm", "--test=test.svm", "--hidden=8", "--epochs=1", "--batch-size=2"]
    result = tulle("train", *flags, check=True)
    assert "no dense comparison" not in result.err + result.out
    assert "dense" in result.out


def test_timing_the_dense_network_needs_no_learning(problem, tulle):
    (problem / "config.toml").write_text(config_text(train__learning_rate=4.0, model__hidden=[4]))
    (problem / "train.csv").write_text("".join(f"{i % 7},{i % 5},{i % 2}\n" for i in range(40)))
    (problem / "test.csv").write_text("1,2,0\n3,4,1\n")
    weak = ["--optimizer=sgd", "--momentum=0", "--epochs=1", "--epsilon=0.5"]
    result = tulle("train", "config.toml", *weak, "--compare-dense=timing", "--json", check=True)
    assert "warning" not in result.err
    rows = {row["name"]: row for row in json.loads(result.out)["rows"]}
    assert rows["seconds per batch"]["dense"] > 0
    assert "dense" not in rows["loss"] and "dense" not in rows["test accuracy"]


def test_a_training_outlives_its_dense_comparison(problem, tulle):
    diverging = ["--compare-dense=train", "--dense-learning-rate=1e30"]
    result = tulle("train", "config.toml", *diverging, "--json", check=True)
    warnings = [line for line in result.err.splitlines() if line.startswith("tulle: ")]
    assert len(warnings) == 1
    assert "warning: no dense comparison: found exit status 70, expected 0: " in warnings[0]
    rows = json.loads(result.out)["rows"]
    assert all("dense" not in row and row["dense_text"] == "" for row in rows)
    assert model(problem)


def test_the_dense_network_learns_at_a_rate_of_its_own(problem, tulle):
    tulle("train", "config.toml", "--compare-dense=train", "--dense-learning-rate=0.125", check=True)
    assert "\nlearning_rate = 0.125\n" in (problem / "out/run/dense/config.toml").read_text()
    assert "\nlearning_rate = 0.02\n" in (problem / "out/run/config.toml").read_text()


KEYS = {
    "start": "time tulle isa threads ranks seed nnz dense config",
    "epoch": "epoch step train_loss test_loss test_acc lr nnz density exploration seconds conn_per_s peak_rss phase_s",
    "evolve": "epoch step layer before after dropped grown regrown no_inputs no_outputs explored",
    "checkpoint": "step path bytes seconds",
    "end": "reason best_epoch exit",
}
PHASES = {"data", "forward", "backward", "update", "evolve", "eval", "exchange"}


def test_the_metrics_file_has_the_documented_keys(trained):
    lines = (trained / "out/run/metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert {record["event"] for record in records} >= KEYS.keys()
    for record in records:
        assert set(KEYS.get(record["event"], "").split()) <= record.keys()
    epochs = [record for record in records if record["event"] == "epoch"]
    assert [record["step"] for record in epochs] == [10, 20, 30, 40]
    assert all(record["phase_s"].keys() == PHASES for record in epochs)
    assert records[-1] == {"event": "end", "reason": "finished", "best_epoch": 4, "exit": 0}


def test_the_report_is_written_unless_it_is_not_wanted(trained, tulle):
    assert (trained / "out/run/report.html").exists()
    tulle("train", "config.toml", "--name=plain", "--report=false", check=True)
    assert not (trained / "out/plain/report.html").exists()


def test_real_digits_are_learnt(data, tulle):
    digits = data / "small" / "digits.csv.gz"
    arguments = ["--hidden=64,32", "--epsilon=8", "--epochs=30", "--batch-size=50", "--valid-fraction=0.2"]
    tulle("train", f"--train={digits}", *arguments, "--compare-dense=none", check=True)
    lines = (tulle.folder / "out/run/metrics.jsonl").read_text().splitlines()
    epochs = [json.loads(line) for line in lines if '"event":"epoch"' in line]
    assert epochs[-1]["valid_acc"] > 0.9  # chance is 0.1
