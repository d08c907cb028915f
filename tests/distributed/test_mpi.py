"""Ranks of an MPI job: the same bits as ranks that are threads, and what happens when one of them goes.

TULLE_KILLS sets how many times a rank is killed (3)."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from conftest import BINARY, Result, Tulle, blobs, checkpoints, csv_text, read_safetensors, temporaries, write_problem

KILLS = int(os.environ.get("TULLE_KILLS", "3"))
ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


@pytest.fixture(autouse=True)
def mpi():
    missing = [what for what, there in
               [("mpirun", shutil.which("mpirun")), ("libtulle_mpi.so", (BINARY.parent / "libtulle_mpi.so").is_file())]
               if not there]
    if missing:
        reason = f"no {' and no '.join(missing)}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


class Job:
    """tulle under mpirun, in one folder."""

    def __init__(self, folder):
        self.folder = folder

    def start(self, *words, environment=None):
        return subprocess.Popen(["mpirun", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1", *map(str, words)],
                                cwd=self.folder, env={**ENVIRONMENT, **(environment or {})}, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def __call__(self, *words, environment=None):
        job = self.start(*words, environment=environment)
        try:
            out, err = job.communicate(timeout=120)
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
        return Result(job.returncode, out, err)


@pytest.fixture
def mpirun(tmp_path):
    return Job(tmp_path)


def lines_of_tulle(result):
    return [line for line in result.err.splitlines() if line.startswith("tulle: ")]


def model(folder, name):
    return (folder / "out" / name / "model.safetensors").read_bytes()


def traffic(folder, name):
    """Bytes that rank 0 sent and received in each epoch after the first. (In the first, processes also agree on having read.)"""
    records = map(json.loads, open(folder / "out" / name / "metrics.jsonl"))
    totals = np.array([(r["sent"], r["received"]) for r in records if r["event"] == "parallel"])
    assert len(totals) > 1
    return np.diff(totals, axis=0).tolist()


def assert_same_arrays(run, other):
    arrays, expected = (read_safetensors(path / "model.safetensors")[1] for path in (run, other))
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        if name.startswith("tulle."):  # checksums, of the config too
            continue
        assert np.array_equal(array, expected[name]), name


MODES = {
    "sync": ["--virtual-shards=4"],
    "sync-bf16": ["--wire=bf16", "--rule=rigl"],
    "wasap": ["--order=round-robin"],
    "wassp": [],
    "local-sgd": ["--local-steps=3"],
    "rows": [],
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_of_a_job_give_the_bits_of_threads(mode, ranks, tmp_path, tulle, mpirun):
    write_problem(tmp_path, train__batch_size=64, evolve__update_every="1 epoch")
    flags = [f"--mode={mode.removesuffix('-bf16')}", *MODES[mode]]
    # Names of the same length: ranks of "rows" are told where to write.
    tulle("train", "config.toml", "--name=run-1", f"--ranks={ranks}", *flags, check=True)
    job = mpirun("-n", ranks, BINARY, "train", "config.toml", "--name=run-2", "--transport=mpi", *flags)
    assert job.code == 0, job.err
    assert model(tmp_path, "run-2") == model(tmp_path, "run-1")
    assert traffic(tmp_path, "run-2") == traffic(tmp_path, "run-1")
    assert job.err.count("tulle 0.") == 1, "only rank 0 prints"


def test_wasap_of_one_worker_as_a_job_is_training_alone(problem, tulle, mpirun):
    every = "--update-every=1 epoch"
    tulle("train", "config.toml", every, "--name=alone", check=True)
    for phase1 in ("1", "0.5"):
        flags = [every, "--mode=wasap", "--transport=mpi", f"--phase1={phase1}", f"--name={phase1}"]
        assert mpirun("-n", 1, BINARY, "train", "config.toml", *flags).code == 0
        assert_same_arrays(problem / "out" / phase1, problem / "out/alone")


def test_rows_of_a_job_go_on_with_other_ranks_to_an_ordinary_model(problem, tulle, mpirun):
    flags = ["--mode=rows", "--save-every=1 epoch"]
    assert mpirun("-n", 2, BINARY, "train", "config.toml", "--epochs=2", *flags).code == 0
    job = mpirun("-n", 3, BINARY, "train", "config.toml", "--epochs=3", "--resume=auto", *flags)
    assert job.code == 0, job.err
    assert "3 ranks (rows)" in job.err and "resume  after epoch 2" in job.err
    tulle("train", "config.toml", "--epochs=4", "--resume=auto", *flags, check=True)
    tulle("eval", "out/run/model.safetensors", "--data=test.csv", check=True)
    assert temporaries(problem) == []


def test_a_job_shares_the_work_without_being_told_to(problem, mpirun):
    result = mpirun("-n", 2, BINARY, "train", "config.toml")
    assert result.code == 0, result.err
    assert "2 ranks (sync)" in result.err
    assert '"ranks":2' in (problem / "out/run/metrics.jsonl").read_text()


@pytest.mark.parametrize("words, code, expected", [
    ([["train", "config.toml"], ["train", "config.toml", "--learning-rate=0.5"]], 78, "rank 1: config, found hash"),
    ([["train", "config.toml"], ["train", "config.toml", "--train=other.csv"]], 78, "rank 1: training data"),
    ([["train", "config.toml"], ["train", "config.toml", "--train=absent.csv"]], 66, "rank 1: "),
    ([["train", "config.toml"], ["train", "absent.toml"]], 66, "rank 1: "),
    ([["train", "config.toml", "--max-rows=5"]] * 6, 78, "expected at most 5, the training samples"),
    ([["train", "config.toml", "--early-stopping=3"]] * 2, 78, "data.valid_fraction"),
    ([["train", "config.toml", "--seed=1..3"]] * 2, 78, "several seeds"),
])
def test_ranks_that_do_not_fit_together_are_refused_in_one_line(words, code, expected, problem, mpirun):
    text = (problem / "train.csv").read_text()
    (problem / "other.csv").write_text(text.replace("1", "2", 1))
    job = []
    for rank in words:
        job += [":"] * bool(job) + ["-n", "1", str(BINARY), *rank]
    result = mpirun(*job)
    assert result.code == code, result.err
    assert len(lines_of_tulle(result)) == 1, result.err
    assert expected in lines_of_tulle(result)[0]
    assert not list(problem.glob("out/*/ckpt-*"))


def test_without_the_plug_in_a_job_is_refused_and_one_process_works(problem, tulle, mpirun):
    missing = {"TULLE_MPI": "/nonexistent/libtulle_mpi.so"}
    result = mpirun("-n", 1, BINARY, "train", "config.toml", "--transport=mpi", environment=missing)
    assert result.code == 78
    assert "MPI, found no libtulle_mpi.so" in result.err
    tulle("train", "config.toml", env={**os.environ, **missing}, check=True)


def long(epochs=60, save="7 step", mode="sync", timeout=10):
    return [f"--mode={mode}", f"--epochs={epochs}", f"--save-every={save}", f"--timeout={timeout}"]


def ranks_in(folder):
    """Processes of a job at work in this folder, by rank."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = open(f"/proc/{pid}/environ", "rb").read()
            here = os.readlink(f"/proc/{pid}/cwd") == str(folder)
        except OSError:
            continue
        rank = re.search(rb"OMPI_COMM_WORLD_RANK=(\d+)", environment)
        if rank and here:
            found[int(rank[1])] = int(pid)
    return found


def wait_for(condition, seconds=30):
    end = time.time() + seconds
    while not (value := condition()):
        assert time.time() < end
        time.sleep(0.01)
    return value


def started(mpirun, folder, *flags):
    job = mpirun.start("-n", 2, BINARY, "train", "config.toml", "--resume=auto", *flags)
    wait_for(lambda: checkpoints(folder / "out/run") or job.poll() is not None)
    return job, ranks_in(folder)


def test_a_killed_rank_ends_the_job_and_the_next_one_goes_on_to_the_same_bits(problem, mpirun):
    assert mpirun("-n", 2, BINARY, "train", "config.toml", "--name=straight", *long()).code == 0
    moments = random.Random(1)
    killed = 0
    for _ in range(KILLS):
        job, ranks = started(mpirun, problem, *long())
        time.sleep(moments.uniform(0, 0.3))
        if job.poll() is None and len(ranks) == 2:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself
                os.kill(ranks[moments.randrange(2)], signal.SIGKILL)
                killed += 1
        before = time.time()
        job.communicate(timeout=300)  # one that was not hit goes on to its end
        assert time.time() - before < 10 or job.returncode == 0
        if job.returncode == 0:
            assert model(problem, "run") == model(problem, "straight")
            shutil.rmtree(problem / "out/run")
            continue
        assert job.returncode in (137, 75)
        assert checkpoints(problem / "out/run")
        assert ranks_in(problem) == {}
    assert killed > 0
    assert mpirun("-n", 2, BINARY, "train", "config.toml", "--resume=auto", *long()).code == 0
    assert model(problem, "run") == model(problem, "straight")
    assert temporaries(problem) == []


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("mode", ["sync", "wasap", "wassp", "local-sgd", "rows"])
def test_a_killed_rank_ends_a_job_of_any_mode_and_the_last_checkpoint_loads(mode, rank, problem, mpirun):
    # A rate at which no mode diverges before it is killed, however fast the machine is.
    flags = [*long(epochs=4000, save="1 epoch", mode=mode), "--phase1=1", "--update-every=1 epoch", "--learning-rate=1e-4"]
    job, ranks = started(mpirun, problem, *flags)
    time.sleep(random.Random(f"{mode} {rank}").uniform(0, 0.2))
    os.kill(ranks[rank], signal.SIGKILL)
    before = time.time()
    job.communicate(timeout=60)
    assert time.time() - before < 10
    assert job.returncode in (137, 75)
    assert ranks_in(problem) == {}
    Tulle(problem)("inspect", checkpoints(problem / "out/run")[0], check=True)


@pytest.mark.parametrize("batch, save, test_rows", [
    (20, "7 step", 60),  # mostly takes steps and saves
    (200, "50 step", 60000),  # mostly evaluates
])
def test_a_rank_that_hangs_is_noticed_within_the_time_limit_and_named(batch, save, test_rows, problem, mpirun):
    (problem / "test.csv").write_text(csv_text(*blobs(test_rows, seed=2)))
    job, ranks = started(mpirun, problem, *long(epochs=4000, save=save), f"--batch-size={batch}")
    time.sleep(0.2)  # away from the save
    os.kill(ranks[1], signal.SIGSTOP)
    before = time.time()
    _, err = job.communicate(timeout=60)
    assert 8 < time.time() - before < 10 + 10
    assert job.returncode == 75
    assert re.search(r"rank 0: found no message from rank 1 for 1\d\.\d s", err), err
    Tulle(problem)("inspect", checkpoints(problem / "out/run")[0], check=True)


@pytest.mark.parametrize("mode", ["sync", "wasap", "wassp", "local-sgd", "rows"])
def test_a_save_that_takes_longer_than_the_time_limit_is_waited_for(mode, problem, mpirun):
    (problem / "slow.c").write_text("""
        #include <string.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int renameat(int from, const char* old, int to, const char* name) {
            static int calls;
            if (strncmp(name, "ckpt-", 5) == 0 && calls++ == 0) sleep(5);
            return syscall(SYS_renameat, from, old, to, name);
        }""")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "slow.so", "slow.c"], cwd=problem, check=True)
    flags = [*long(epochs=2, save="1 epoch", mode=mode, timeout=2), "--phase1=1", "--update-every=1 epoch"]
    before = time.time()
    job = mpirun("-n", 2, BINARY, "train", "config.toml", *flags,
                 environment={"LD_PRELOAD": str(problem / "slow.so")})
    assert job.code == 0, job.err
    assert time.time() - before > 5


@pytest.mark.parametrize("mode", ["sync", "wasap"])
def test_ranks_read_samples_from_files_of_their_own_to_the_same_bits(mode, problem, mpirun):
    (problem / "train.csv").write_text(csv_text(*blobs(3000, seed=1)))  # smaller arrays stay in memory
    flags = [f"--mode={mode}", "--order=round-robin", "--update-every=1 epoch", "--epochs=60"]
    assert mpirun("-n", 2, BINARY, "train", "config.toml", "--name=memory", *flags).code == 0
    job, ranks = started(mpirun, problem, "--scratch=scratch", *flags)
    folder = str(problem / "scratch").encode()
    mapped = {rank: folder in open(f"/proc/{pid}/maps", "rb").read() for rank, pid in ranks.items()}
    _, err = job.communicate(timeout=60)
    assert job.returncode == 0, err
    assert mapped == {0: True, 1: True}
    assert model(problem, "run") == model(problem, "memory")


def test_a_job_that_is_asked_to_stop_ends_with_a_checkpoint_and_goes_on_with_other_ranks(problem, mpirun):
    flags = ["--virtual-shards=4", *long(epochs=200, save="never")]
    job = mpirun.start("-n", 2, BINARY, "train", "config.toml", *flags, "--progress=line")
    for line in job.stderr:
        if line.startswith("epoch"):
            break
    job.send_signal(signal.SIGUSR2)
    job.communicate(timeout=60)
    assert job.returncode == 143
    assert len(checkpoints(problem / "out/run")) == 1
    assert mpirun("-n", 4, BINARY, "train", "config.toml", "--resume=auto", *flags).code == 0
    assert mpirun("-n", 1, BINARY, "train", "config.toml", "--name=straight", *flags).code == 0
    assert model(problem, "run") == model(problem, "straight")


@pytest.fixture
def launch(problem):
    """Starts a job of two ranks with signs of life every second, until there is a checkpoint."""
    started = []

    def start(*flags):
        words = ["launch", "--np=2", "--mpi=--oversubscribe", "--max-restarts=2", "--heartbeat=1", "--", "train", "config.toml"]
        job = subprocess.Popen([BINARY, *words, "--virtual-shards=2", *flags], cwd=problem, env=ENVIRONMENT,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        started.append(job)
        wait_for(lambda: checkpoints(problem / "out/run"))
        return job, ranks_in(problem)

    yield start
    for job in started:
        if job.poll() is None:
            job.kill()
    for rank in ranks_in(problem).values():
        os.kill(rank, signal.SIGKILL)


def test_launch_starts_a_job_again_until_it_is_done(problem, launch, mpirun):
    assert mpirun("-n", 2, BINARY, "train", "config.toml", "--name=straight", *long()).code == 0
    job, ranks = launch(*long())
    os.kill(ranks[1], signal.SIGKILL)
    _, err = job.communicate(timeout=100)
    assert job.returncode == 0, err
    assert err.count("launch  2 ranks") == 2, err
    assert "launch  exit status 137; again in 1 s (1 of 2)" in err
    assert "last heard" not in err
    assert model(problem, "run") == model(problem, "straight")


def test_launch_names_a_rank_that_hangs_and_starts_again(problem, launch):
    job, ranks = launch(*long(epochs=150, timeout=5))
    os.kill(ranks[1], signal.SIGSTOP)
    _, err = job.communicate(timeout=100)
    assert job.returncode == 0, err
    assert re.search(r"rank 0: found no message from rank 1 for 5\.\d s", err), err
    assert re.search(r"launch  rank 1 was last heard [456] s ago, at step \d+\n", err), err
    assert "launch  exit status 75; again in 1 s (1 of 2)" in err
    assert "\x02" not in err and "\x03" not in err


def test_launch_ends_a_job_whose_ranks_all_hang_and_starts_again(problem, launch):
    job, ranks = launch(*long(epochs=150, timeout=3))
    for rank in ranks.values():
        os.kill(rank, signal.SIGSTOP)
    before = time.time()
    wait_for(lambda: not any(os.path.exists(f"/proc/{rank}") for rank in ranks.values()))
    assert 5 < time.time() - before < 25
    _, err = job.communicate(timeout=100)
    assert job.returncode == 0, err
    assert re.search(r"launch  rank [01] was last heard [78] s ago, at step \d+\n", err), err
    assert "launch  exit status 75; again in 1 s (1 of 2)" in err


@pytest.mark.parametrize("words, code, expected", [
    (["launch", "--np=3:2", "--", "train", "config.toml"], 2, "MIN:MAX"),
    (["launch", "--np=x", "--", "train", "config.toml"], 2, "--np"),
    (["launch", "--np=2"], 78, "-- train CONFIG"),
    (["launch", "--np=2", "--", "eval", "x"], 78, "found 'eval', expected -- train CONFIG"),
    (["launch", "--np=2", "--hosts=absent", "--", "train", "config.toml"], 66, "absent"),
    (["launch", "--np=2", "--hosts=odd_hosts", "--", "train", "config.toml"], 78, "odd_hosts: 'slots=x'"),
    (["launch", "--np=2", "--", "train", "absent.toml"], 66, "absent.toml"),
    (["launch", "--np=2", "--", "train", "config.toml", "--nam=x"], 2, "train: The following argument was not expected: --nam"),
])
def test_launch_refuses_what_it_cannot_start(words, code, expected, problem, tulle):
    (problem / "odd_hosts").write_text("localhost slots=x\n")
    result = tulle(*words)
    assert result.code == code, result.err
    assert expected in result.err


def test_launch_does_not_start_a_job_again_that_cannot_work(problem, tulle):
    result = tulle("launch", "--np=2", "--mpi=--oversubscribe", "--", "train", "config.toml", "--train=absent.csv",
                   env=ENVIRONMENT)
    assert result.code == 66
    assert "again" not in result.err
