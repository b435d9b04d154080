"""Ray on the machines of this job: its commands, its environment, up and down."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from slime_engine.address import variables_of
from slime_engine.nodes import Nodes
from slime_engine.processes import process

SCRIPTS = Path(__file__).parents[1]
# The packages that slime's processes import, by links of their own: the folder of all programs would put modules
# with common names (train, evaluate, inference) before those of the image.
IMPORTED = ("slime_engine", "trading", "grpo")
# Nothing here needs a network, and a proxy would swallow what the processes say to each other.
PROXIES = tuple(
    case(f"{kind}_proxy") for kind in ("http", "https", "ftp", "all", "grpc") for case in (str.lower, str.upper)
)
READY_S = 180  # for Ray's head to listen
START = "CONTAINER_START"  # set by rules/isolation.py in a job on several nodes


@dataclass(frozen=True)
class Programs:
    """What is started.

    Attributes
    ----------
    train
        slime's train.py.
    megatron
        Folder that holds Megatron-LM's packages, of which ``megatron.training`` is not installed in the image.
    ray
        The program.
    """

    train: Path
    megatron: Path
    ray: str


def find_programs() -> Programs:
    """slime, Megatron-LM and Ray as the image has them.

    Raises
    ------
    InputError
        Names what is missing.
    """
    hint = "Run with --software-deployment-method apptainer: the image train-slime has it."
    slime, megatron = package_folder("slime"), package_folder("megatron.core")
    if slime is None or not (slime.parent / "train.py").is_file():
        raise InputError(f"slime: no package of that name with a train.py beside it. {hint}")
    if megatron is None:
        raise InputError(f"Megatron-LM: megatron.core is not installed. {hint}")
    ray = shutil.which("ray", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if ray is None:
        raise InputError(f"ray: no such program. {hint}")
    return Programs(slime.parent / "train.py", megatron.parents[1], ray)


def package_folder(package: str) -> Path | None:
    """Where a package lies, without importing it (its parents are)."""
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return None
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def own_variables(base: Mapping[str, str], programs: Programs, imports: Path, head: str) -> dict[str, str]:
    """What Ray and slime, and so all their processes, on all machines, have beside a container's own environment.

    Parameters
    ----------
    base
        This process's.
    imports
        Folder from which the hooks are imported.
    head
        Address of Ray's head, host:port.
    """
    path = os.pathsep.join(filter(None, [str(imports), str(programs.megatron), base.get("PYTHONPATH")]))
    # The rule says how many threads a process has.
    threads = {name: value for name, value in base.items() if name == "OMP_NUM_THREADS"}
    # Empty is no proxy for all that is asked here; the other machines may have set their own.
    direct = dict.fromkeys(PROXIES, "") | {"no_proxy": "*", "NO_PROXY": "*"}
    return (
        threads
        | direct
        | {
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            # slime's parser asks for it where the model is split; read in the driver and in each process.
            "CUDA_DEVICE_MAX_CONNECTIONS": "1",
            # This job's Ray, not another one on the machine.
            "RAY_ADDRESS": head,
            "RAY_DEDUP_LOGS": "0",
            "RAY_COLOR_PREFIX": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            # It would kill actors when the machine's memory is short, of which this job has a part that Slurm guards.
            "RAY_memory_monitor_refresh_ms": "0",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
    )


def link_imports(folder: Path) -> Path:
    """Make the folder from which slime imports this project's hooks."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in IMPORTED:
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(SCRIPTS / name)
    return folder


def head_command(programs: Programs, nodes: Nodes, host: str, ports: Sequence[int], temporary: Path) -> list[str]:
    """Ray's head, in the foreground: its processes end with it."""
    port, client_port = ports
    # Where gRPC is installed Ray has a server for clients, by default on the same port for all jobs of a machine.
    client = [f"--ray-client-server-port={client_port}"] if importlib.util.find_spec("grpc") else []
    return [
        *(programs.ray, "start", "--head", "--block"),
        *(f"--node-ip-address={host}", f"--port={port}", *client),
        *(f"--temp-dir={temporary}", "--include-dashboard=false", "--disable-usage-stats"),
        *_resources(nodes),
    ]


def worker_command(
    programs: Programs, nodes: Nodes, variables: Mapping[str, str], environment: Mapping[str, str]
) -> list[str]:
    """Ray on the other machines, one task on each, in a container like this job's own.

    Parameters
    ----------
    variables
        Those of :func:`own_variables`.
    environment
        This process's.

    Raises
    ------
    InputError
        If this is a container, and nothing says how it was started.
    """
    others = len(nodes.others)
    step = ["srun", "--overlap", "--kill-on-bad-exit=1", f"--nodes={others}", f"--ntasks={others}"]
    step += ["--ntasks-per-node=1", f"--nodelist={','.join(nodes.others)}", f"--gres=gpu:{nodes.gpus}"]
    ray = [programs.ray, "start", f"--address={variables['RAY_ADDRESS']}", "--block", "--disable-usage-stats"]
    given = [f"{name}={value}" for name, value in variables.items()]
    # A keeper there, too. Ended, srun has Slurm kill all that descends from its task: what lost its parent does so
    # from the keeper. When the task itself gets SIGTERM (scancel, a time limit), the keeper ends it all.
    keeper = ["env", *given, sys.executable, str(SCRIPTS / "slime_engine" / "keeper.py"), "0"]
    # Only there is it known under which address the others reach that machine.
    host = variables["RAY_ADDRESS"].rpartition(":")[0]
    there = [sys.executable, str(SCRIPTS / "slime_engine" / "address.py"), host]
    return [*step, *_container(environment), *keeper, *there, *ray, *_resources(nodes)]


def _container(environment: Mapping[str, str]) -> list[str]:
    """The beginning of a command that runs in a container on another machine; nothing if this is none."""
    image, start = environment.get("APPTAINER_CONTAINER"), environment.get(START)
    if not image:
        return []
    if not start:
        raise InputError(
            f"train.slime.nodes: {START} is not set, which says how containers are started on the other machines. "
            "Start the training with Snakemake, in a job on several nodes."
        )
    # Of this container's environment nothing else (but SLURM_) gets out to the machine, whose programs those are.
    python = json.loads(base64.b64decode(start))["python"]
    return [f"--export={START}", python, str(SCRIPTS.parent / "rules" / "enter.py"), image]


def _resources(nodes: Nodes) -> list[str]:
    # slime asks Ray for a CPU a GPU and two more, whatever Slurm gave; with fewer it would wait for ever. Ports 0: any.
    cpus = nodes.gpus + 2
    return [f"--num-gpus={nodes.gpus}", f"--num-cpus={cpus}", "--min-worker-port=0", "--max-worker-port=0"]


@contextlib.contextmanager
def ray(
    programs: Programs, nodes: Nodes, variables: Mapping[str, str], ports: Sequence[int], log: Path
) -> Iterator[Ray]:
    """Ray on all machines of the job, for as long as the block lasts; `variables` are those of :func:`own_variables`.

    Raises
    ------
    InputError
        If it does not come up; names its log.
    """
    host = variables["RAY_ADDRESS"].rpartition(":")[0]
    with contextlib.ExitStack() as stack:
        # Short, because sockets lie below it, and on this machine.
        temporary = Path(stack.enter_context(_temporary()))
        handle = stack.enter_context(open(log, "ab"))
        command = head_command(programs, nodes, host, ports, temporary)
        here = {**variables, **variables_of(host, os.environ)}
        started = [stack.enter_context(process(command, here, handle))]
        _wait_for_port(host, ports[0], started[0], log)
        if nodes.others:
            command = worker_command(programs, nodes, variables, os.environ)
            started.append(stack.enter_context(process(command, variables, handle)))
        yield Ray(started, log)


@dataclass(frozen=True)
class Ray:
    """Ray's running processes."""

    processes: list[subprocess.Popen[bytes]]
    log: Path

    def check(self) -> None:
        """Raise InputError if one of them has ended: slime would wait for ever."""
        for one in self.processes:
            if one.poll() is not None:
                raise InputError(f"ray: ended with exit code {one.returncode} during the training; see {self.log}.")


@contextlib.contextmanager
def _temporary() -> Iterator[str]:
    base = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="ray-", dir=base if len(base) <= 20 else "/tmp")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_port(host: str, port: int, started: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if started.poll() is not None:
            raise InputError(f"ray: ended with exit code {started.returncode} before it was ready; see {log}.")
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        time.sleep(0.2)
    raise InputError(f"ray: does not listen on {host}:{port} after {READY_S} s; see {log}.")
