"""The files for clusters under examples/ say what the programs that read them expect."""

import re
import subprocess
from pathlib import Path

import yaml

from conftest import BINARY, REPOSITORY, assert_refused

CLUSTER = REPOSITORY / "examples" / "cluster"


def flags_of_train():
    return set(re.findall(r"--[a-z0-9-]+", subprocess.run([BINARY, "train", "--help"], capture_output=True, text=True).stdout))


def test_the_slurm_script_is_valid_and_its_flags_exist():
    script = CLUSTER / "slurm.sh"
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text()
    options = re.findall(r"^#SBATCH (--[a-z-]+)=?", text, re.M)
    assert {"--nodes", "--ntasks-per-node", "--cpus-per-task", "--time", "--requeue", "--signal"} <= set(options)
    command = text[text.index("tulle train"):]
    assert set(re.findall(r"--[a-z-]+", command)) <= flags_of_train()


def test_the_manifest_is_an_mpi_job_whose_volumes_and_flags_exist():
    job = yaml.safe_load((CLUSTER / "mpijob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v2beta1", "MPIJob")
    replicas = job["spec"]["mpiReplicaSpecs"]
    assert set(replicas) == {"Launcher", "Worker"}
    assert replicas["Launcher"]["restartPolicy"] == "OnFailure"
    for replica in replicas.values():
        spec = replica["template"]["spec"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        for container in spec["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert container["image"]
    arguments = replicas["Launcher"]["template"]["spec"]["containers"][0]["args"]
    words = arguments[arguments.index("train"):]
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= flags_of_train()


def test_the_list_of_hosts_is_one_that_launch_reads(problem, tulle):
    # Its hosts do not exist: each is asked, and none answers.
    result = tulle("launch", "--np=9:9", "--max-restarts=0", f"--hosts={CLUSTER / 'hosts'}", "--", "train", "config.toml")
    assert result.code == 75
    for line in (CLUSTER / "hosts").read_text().splitlines():
        if line and not line.startswith("#"):
            assert f"launch  {line.split()[0]} does not answer" in result.err
    assert "hosts that answer have 0 slots, expected at least 9 (--np)" in result.err
    (problem / "none").write_text("# nobody\n")
    assert_refused(tulle("launch", "--np=1", "--hosts=none", "--", "train", "config.toml"), 78, "none", "hosts, found none")
