"""Ray's containers on the other nodes of a training with slime: started as the job's own, and taken down with it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from project_copy import PROJECT
from slime_stand_ins import SOURCES, build
from slurm import Cluster, Folder, Minimal, wait_for

from images import image_path, root_arguments
from isolation import HOME, START, arguments, handed_on

ENTER = [sys.executable, PROJECT / "rules" / "enter.py"]
KEEPER = PROJECT / "scripts" / "slime_engine" / "keeper.py"
LOOK = """
import importlib.util, json, os, sys
from pathlib import Path
seen = {name: Path(path).exists() for name, path in json.loads(sys.argv[1]).items()}
seen |= {name: os.environ.get(name) for name in ("HOME", "SECRET", "CUDA_VISIBLE_DEVICES", "MINE", "CONTAINER_START")}
seen |= {"package": importlib.util.find_spec("planted") is not None, "here": os.getcwd()}
(Path.home() / "cache").write_text("of the program")
print(json.dumps(seen))
"""


def alive(process: int) -> bool:
    """Whether a process runs; one that ended may wait for its parent to hear of it."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Node:
    """Another node of a job that runs in a container, as far as Apptainer sees it: folders, and a task's variables."""

    def __init__(self, folder: Path, image: Path, apptainer: Mapping[str, str]) -> None:
        self.folder, self.image = folder, image
        self.project, self.model, self.foreign, self.packages, self.scratch, self.home = (
            folder / name for name in ("project", "my model", "foreign", "packages", "scratch", "home")
        )
        for one in (self.project, self.model, self.foreign, self.packages, self.home):
            one.mkdir()
        (self.packages / "planted.py").write_text("")
        job = dict(apptainer) | {"CUDA_VISIBLE_DEVICES": "0,1", "APPTAINERENV_MINE": 'it\'s "mine", $HOME'}
        given = arguments("--bind /dev/shm", self.project, self.scratch, [self.model], gpu=False)
        start = handed_on(given, self.scratch, job)[f"APPTAINERENV_{START}"]
        task = {"SLURMD_NODENAME": "n2", "CUDA_VISIBLE_DEVICES": "4,5", "SECRET": "x", "HOME": str(self.home)}
        task |= {"PYTHONPATH": str(self.packages)}
        self.task, self.bare = task | {START: start}, dict(apptainer) | task

    def start(self, *command: str | Path, bare: bool = False) -> subprocess.Popen[str]:
        """Start a program as the other node does; bare: with nothing but the project."""
        begin = ["apptainer", "exec", "--bind", self.project] if bare else ENTER
        return subprocess.Popen(
            [*begin, self.image, *command],
            env=self.bare if bare else self.task,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def look(self, bare: bool = False) -> dict[str, Any]:
        """What a program sees there."""
        places = {name: str(getattr(self, name)) for name in ("project", "model", "foreign")}
        said, errors = self.start("python", "-c", LOOK, json.dumps(places), bare=bare).communicate(timeout=60)
        assert said, errors
        return json.loads(said)


@pytest.fixture
def node(images: Path, apptainer: Mapping[str, str], debian: dict[str, str], tmp_path: Path) -> Node:
    image = PROJECT / image_path(PROJECT, "market", root_arguments(**debian))
    return Node(tmp_path, image, {"PATH": os.environ["PATH"], **apptainer})


def test_a_container_on_another_node_sees_what_the_jobs_own_does_and_no_more(node: Node) -> None:
    assert node.look() == {
        **{"project": True, "model": True, "foreign": False, "package": False, "SECRET": None, "HOME": HOME},
        **{"CUDA_VISIBLE_DEVICES": "4,5", "MINE": f'it\'s "mine", {HOME}', START: None, "here": str(node.project)},
    }
    assert (node.scratch / "n2" / "home" / "cache").read_text() == "of the program"
    assert not (node.home / "cache").exists()
    # The control: without the job's arguments.
    seen = node.look(bare=True)
    assert (seen["foreign"], seen["package"], seen["SECRET"]) == (True, True, "x")
    assert seen["HOME"] == str(node.home) or seen["HOME"] == str(Path("~").expanduser())


def test_a_signal_to_the_task_reaches_the_keeper_in_the_container(node: Node) -> None:
    for name, source in (("keeper.py", KEEPER), ("stray.py", SOURCES / "stray.py")):
        (node.project / name).write_text(source.read_text())
    strays = node.project / "strays"
    command = f"python stray.py {shlex.quote(str(strays))}; sleep 600"
    running = node.start("python", node.project / "keeper.py", "0", "sh", "-c", command)
    try:
        stray = int(wait_for(lambda: strays.exists() and strays.read_text(), 60))
        assert alive(stray)
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 128 + signal.SIGTERM
    finally:
        running.kill()
        running.communicate()
    assert not alive(stray)


MANIFEST = "results/minimal/train/checkpoint.json"
# What a container lacks of Slurm, beside its configuration.
SLURM = (
    *("/usr/bin/srun", "/usr/bin/scontrol", "/usr/lib/x86_64-linux-gnu/slurm-wlm"),
    *("/usr/lib/x86_64-linux-gnu/libmunge.so.2", "/etc/slurm"),
)
SLIME = {
    **{"engine": "slime", "data": 2, "slime": {"nodes": 2}, "iterations": 2, "updates_per_iteration": 1},
    **{"max_new_tokens": 8, "spike_action": "log", "save_every": 2, "validate_every": 2, "decay_iterations": 0},
    **{"precision": "bf16", "optimizer": "distributed", "recompute": True},
}
# What differs between a task and a shell; what torch sets for itself; Snakemake mounts its cache for the rule's shell.
NOT_SHARED = (
    "_",
    "SHLVL",
    "TERM",
    "PS1",
    "PROMPT_COMMAND",
    "TORCHINDUCTOR_CACHE_DIR",
    "APPTAINER_BIND",
    "SINGULARITY_BIND",
)
NOT_SHARED += (START,)  # only this container needs it
OF_THE_NODE = ("SLURM", "CUDA_VISIBLE_DEVICES", "HOST_FACTS")


def own_address() -> str:
    """This machine's address in its network: the head of a job on several nodes is not on the loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        try:
            way.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine is in no network")
        return way.getsockname()[0]


def test_ray_on_the_other_node_has_a_container_like_the_jobs_own_and_ends_with_it(
    finished: Minimal, apptainer: Mapping[str, str], debian: dict[str, str], cluster: Cluster, tmp_path: Path
) -> None:
    hosts, named, foreign = tmp_path / "hosts", tmp_path / "named", tmp_path / "foreign"
    hosts.write_text(f"127.0.0.1 localhost\n{own_address()} n1 n2\n")
    named.write_text("")
    foreign.write_text("")
    mounts = [*SLURM, str(cluster.folder), f"{hosts}:/etc/hosts"]
    settings = {
        "apptainer-args": " ".join(f"--bind {mount}" for mount in mounts),
        "set-resources": {"train": {"slurm_partition": "'wide'", "nodes": 2, "gpu": 0, "gres": "'gpu:1'"}},
    }
    folder = finished.folder.copied(tmp_path / "project", settings)
    (folder.path / "results/minimal/logs/train.log").unlink()
    stand_ins = folder.path / "stand-ins"
    told = build(stand_ins, "/opt/venv/bin/python") | {"PREPEND_PATH": str(stand_ins / "bin")}
    told |= {"STAND_IN_WAITS_FOR": "n2", "STAND_IN_LOOKS_FOR": f"{named} {foreign} {folder.path}"}
    users = {f"APPTAINERENV_{name}": value for name, value in told.items() if name != "PATH"}
    given = root_arguments(**debian)
    # Instead of slime's own image one with PyTorch, Megatron-core and SGLang.
    infer, train = (folder.path / image_path(folder.path, name, given) for name in ("infer", "train-slime"))
    os.link(infer, train)
    slime = folder.configuration("slime", device="cuda", train=SLIME, evaluate={"variants": [f"other={named}"]})
    on_nodes = Folder(folder.path, dict(folder.environment) | users | {"SECRET": "x"})
    run = on_nodes.end(on_nodes.start(MANIFEST, "--retries", "0", "--configfile", slime))
    assert run.code == 0, (folder.path / "results/minimal/logs/train.log").read_text() + run.text[-3000:]
    assert json.loads((folder.path / MANIFEST).read_text())["engine"] == "slime"

    head, worker = (json.loads((stand_ins / f"{name}.json").read_text()) for name in ("ray", "ray-n2"))
    assert head["there"] == worker["there"] == [str(named), str(folder.path)]
    assert worker["cwd"] == str(folder.path)
    theirs = worker["environment"]
    assert (theirs["SLURMD_NODENAME"], theirs["CUDA_VISIBLE_DEVICES"], theirs["HOME"]) == ("n2", "0", HOME)
    assert theirs["SLIME_HOST_IP"] == own_address()  # both nodes are this machine
    assert {"PYTHONPATH", "CUDA_DEVICE_MAX_CONNECTIONS", "RAY_ADDRESS", "no_proxy", "OMP_NUM_THREADS"} <= set(theirs)
    shared = [
        {name: value for name, value in one["environment"].items()
         if name not in NOT_SHARED and not name.startswith(OF_THE_NODE)}
        for one in (head, worker)
    ]  # fmt: skip
    assert shared[1] == shared[0]
    assert "SECRET" not in theirs
    (cache,) = Path(folder.environment["TMPDIR"]).glob("containers-*/n2/home/cache")
    assert cache.read_text() == "of Ray"
    # One of each Ray and one of slime; the training waited until all were there.
    strays = [int(number) for number in (stand_ins / "strays").read_text().split()]
    assert len(strays) == 3
    assert [number for number in strays if alive(number)] == []
