"""`tulle plan`, --memory-limit, synthetic data, and compact storage from the command line."""

import hashlib
import json

import pytest

from conftest import assert_a_full_disk_leaves_the_last_checkpoint

SYNTHETIC = ["--format=synthetic", "--set=data.features=500", "--scale=none", "--samples=200", "--test-samples=50"]
SMALL_NET = [*SYNTHETIC, "--hidden=300,200", "--epsilon=4", "--batch-size=16", "--compare-dense=none"]
SMALL = [*SMALL_NET, "--epochs=2"]
# 5 GB of network.
LARGE = ["--format=synthetic", "--samples=200", "--test-samples=50", "--hidden=20000000,20000000", "--epsilon=1", "--batch-size=16",
         "--dropout=0"]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_plan_tells_every_part_and_takes_nothing(tulle, tmp_path):
    plan = json.loads(tulle("plan", *LARGE, "--memory-limit=none", "--json", check=True).out)
    assert plan["neurons"] == 40_000_002 and plan["storage"] == "compact"
    assert plan["total"] == sum(plan["bytes"].values()) > 3e9
    assert plan["bytes"]["weights"] == 4 * plan["connections"]
    assert plan["fits"] and plan["step_seconds"] > 0.1
    assert list(tmp_path.iterdir()) == []


def test_a_plan_counts_small_batches_and_short_weights(tulle):
    def parts(batch, *more):
        arguments = [f"--batch-size={batch}" if a.startswith("--batch-size") else a for a in LARGE]
        return json.loads(tulle("plan", *arguments, "--memory-limit=none", "--json", *more, check=True).out)["bytes"]

    wide, small = parts(16), parts(4, "--set=model.weights=bf16", "--set=train.momentum=0")
    assert small["activations"] * 66 == wide["activations"] * 18  # 4 bytes a sample, and the word of sign bits
    assert small["weights"] * 2 == wide["weights"]
    assert wide["optimizer state"] == wide["weights"] and small["optimizer state"] == 0


def test_a_plan_that_does_not_fit_is_told_with_the_batch_that_would(tulle):
    result = tulle("plan", *SMALL, "--memory-limit=1M", "--json")
    plan = json.loads(result.out)
    assert result.code == 12 and not plan["fits"] and plan["largest_batch"] < 16
    result = tulle("plan", *SMALL, "--memory-limit=1M")
    assert result.code == 12 and result.err.count("\n") == 1 and "run.memory_limit" in result.err


def test_a_training_beyond_the_limit_is_refused_before_anything_is_there(tulle, tmp_path):
    result = tulle("train", *LARGE, "--memory-limit=2G")
    assert result.code == 12
    assert result.err.count("\n") == 1 and "activations" in result.err and "2.15 GB" in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["2X", "-1", "six"])
def test_a_limit_that_is_none_is_refused(tulle, text):
    result = tulle("train", *SMALL, f"--memory-limit={text}")
    assert result.code == 78 and "run.memory_limit" in result.err


def test_compact_storage_writes_the_same_model_for_any_number_of_threads(tulle, tmp_path):
    for name, more in {"fast": ["--storage=fast"], "one": ["--threads=1"], "three": ["--threads=3"]}.items():
        storage = more if name == "fast" else ["--storage=compact", *more]
        tulle("train", *SMALL, f"--name={name}", *storage, check=True)
    models = {digest(tmp_path / "out" / name / "model.safetensors") for name in ["fast", "one", "three"]}
    assert len(models) == 1


def test_compact_storage_is_refused_where_gradients_are_needed(tulle):
    result = tulle("train", *SMALL, "--storage=compact", "--rule=rigl")
    assert result.code == 78 and "expected 'fast'" in result.err


# 8 layers of 120,000 connections; without files the plan is 21 MB.
DEEP = ["--format=synthetic", "--set=data.features=2000", "--scale=none", "--samples=64", "--test-samples=16",
        "--hidden=" + ",".join(["30000"] * 8), "--epsilon=4", "--batch-size=16", "--compare-dense=none",
        "--storage=compact", "--save-every=1 epoch"]


@pytest.fixture
def limit(tulle):
    """One byte less than the plan of DEEP in memory."""
    plan = json.loads(tulle("plan", *DEEP, "--memory-limit=none", "--json", check=True).out)
    assert "spill" not in plan
    return f"--memory-limit={plan['total'] - 1}"


def test_a_plan_beyond_the_limit_goes_to_files_where_a_folder_is_given(tulle, limit, tmp_path):
    assert tulle("plan", *DEEP, limit).code == 12
    plan = json.loads(tulle("plan", *DEEP, limit, "--spill=spill", "--json", check=True).out)
    assert plan["fits"] and plan["total"] == sum(plan["bytes"].values()) < plan["limit"]
    files = plan["spill"]
    sparse = plan["connections"] - 60_000  # the output layer is dense
    assert files["bytes"] == 12 * sparse and files["read_bytes"] == 20 * sparse and files["written_bytes"] == 8 * sparse
    out = tulle("plan", *DEEP, limit, "--spill=spill", check=True).out
    assert "in files" in out and "a step reads" in out and "disk" in out
    assert list((tmp_path / "spill").iterdir()) == []
    assert tulle("plan", *DEEP, "--memory-limit=1M", "--spill=spill").code == 12


def test_a_training_from_files_writes_the_same_model_after_one_was_killed(tulle, limit, tmp_path):
    killed = tulle.start("train", *DEEP, "--epochs=1000", limit, "--spill=spill", "--name=killed")
    for line in killed.stderr:  # of the first epoch
        if "epoch" in line:
            break
    killed.kill()
    killed.wait()
    killed.stderr.close()
    assert list((tmp_path / "spill").iterdir()) == []
    tulle("train", *DEEP, "--epochs=1", limit, "--spill=spill", "--name=files", check=True)
    tulle("train", *DEEP, "--epochs=2", limit, "--spill=spill", "--name=files", "--resume=auto", check=True)
    tulle("train", *DEEP, "--epochs=1", "--name=memory", check=True)
    tulle("train", *DEEP, "--epochs=2", "--name=memory", "--resume=auto", check=True)
    models = {digest(tmp_path / "out" / name / "model.safetensors") for name in ["files", "memory"]}
    assert len(models) == 1
    assert list((tmp_path / "spill").iterdir()) == []


def test_a_disk_that_fills_up_under_a_checkpoint_leaves_the_one_before_it(tulle):
    deep = [word for word in DEEP if not word.startswith("--save-every")]
    assert_a_full_disk_leaves_the_last_checkpoint(tulle, *deep, "--epochs=1000")  # of 13 MB


def test_synthetic_data_need_no_file_and_take_none(tulle):
    assert tulle("train", *SMALL, "--train=x.csv").code == 78
    result = tulle("train", *SMALL, "--set=data.features=100")
    assert result.code == 78 and "data.features" in result.err


def test_a_synthetic_training_resumes_only_on_the_same_task(tulle):
    tulle("train", *SMALL, check=True)
    result = tulle("train", *SMALL_NET, "--resume=auto", "--epochs=3", "--separation=2")
    assert result.code == 78 and "synthetic.separation" in result.err
    tulle("train", *SMALL_NET, "--resume=auto", "--epochs=3", check=True)


RANKS = [*SMALL_NET, "--ranks=2", "--json"]


def test_the_bytes_of_a_sync_step_are_those_that_a_training_tells(tulle, tmp_path):
    planned = json.loads(tulle("plan", *RANKS, check=True).out)["modes"][0]
    assert planned["mode"] == "sync" and planned["batch_size"] == 8
    sent, steps = [], []
    for batch in (20, 40):  # what is sent at the end of an epoch is the same for both
        name = f"batch-{batch}"
        words = [word for word in SMALL if not word.startswith("--batch-size")]
        tulle("train", *words, "--ranks=2", f"--batch-size={batch}", "--rule=none", f"--name={name}", check=True)
        lines = [json.loads(line) for line in (tmp_path / f"out/{name}/metrics.jsonl").read_text().splitlines()]
        told = [line for line in lines if line["event"] == "parallel"]
        sent.append(told[1]["sent"] - told[0]["sent"])
        steps.append(next(line["step"] for line in lines if line["event"] == "epoch"))
    assert steps == [10, 5]
    assert sent[0] - sent[1] == 5 * planned["sent_bytes"]


def test_a_plan_of_ranks_follows_the_links(tulle, tmp_path):
    fast = json.loads(tulle("plan", *RANKS, "--bw=1e15", "--lat=0", check=True).out)
    assert fast["ranks"] == 2 and fast["recommended"] == {"mode": "sync"}
    slow = json.loads(tulle("plan", *RANKS, "--bw=1e4", "--lat=0.1", check=True).out)
    assert slow["recommended"] == {"mode": "local-sgd", "local_steps": 500}
    for a, b in zip(fast["modes"], slow["modes"]):
        assert a["mode"] == b["mode"] and a["sent_bytes"] == b["sent_bytes"] and a["step_seconds"] < b["step_seconds"]
    assert fast["total"] == sum(fast["bytes"].values()) == fast["modes"][0]["rank_bytes"]
    out = tulle("plan", *RANKS[:-1], check=True).out
    assert "each of 2 ranks takes" in out and "recommended: " in out
    assert list(tmp_path.iterdir()) == []


def test_ranks_that_need_more_than_they_may_are_refused(tulle):
    result = tulle("plan", *RANKS[:-1], "--memory-limit=1M")
    assert result.code == 12 and result.err.count("\n") == 1 and "run.memory_limit" in result.err
    assert tulle("plan", *RANKS, "--bw=0").code == 2
    assert tulle("plan", *RANKS, "--lat=-1").code == 2
