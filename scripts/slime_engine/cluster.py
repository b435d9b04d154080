"""Ray on the machines of this job, and slime's train.py on it: started and taken down by their own handles."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import ipaddress
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from common.errors import InputError
from slime_engine.keeper import GRACE_S, kept

SCRIPTS = Path(__file__).parents[1]
# The packages that slime's processes import, by links of their own: the folder of all programs would put modules
# with common names (train, evaluate, inference) before those of the image.
IMPORTED = ("slime_engine", "trading", "grpo")
# Nothing here needs a network, and a proxy would swallow what the processes say to each other.
PROXIES = tuple(
    case(f"{kind}_proxy") for kind in ("http", "https", "ftp", "all", "grpc") for case in (str.lower, str.upper)
)
CHECK_S = 5.0  # between two looks at whether all is well
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
    slime, megatron = _folder("slime"), _folder("megatron.core")
    if slime is None or not (slime.parent / "train.py").is_file():
        raise InputError(f"slime: no package of that name with a train.py beside it. {hint}")
    if megatron is None:
        raise InputError(f"Megatron-LM: megatron.core is not installed. {hint}")
    ray = shutil.which("ray", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if ray is None:
        raise InputError(f"ray: no such program. {hint}")
    return Programs(slime.parent / "train.py", megatron.parents[1], ray)


def _folder(package: str) -> Path | None:
    """Where a package lies, without importing it (its parents are)."""
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return None
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


@dataclass(frozen=True)
class Nodes:
    """The machines of this job.

    Attributes
    ----------
    count
        Machines.
    gpus
        GPUs on each.
    others
        Names of all but this one.
    """

    count: int
    gpus: int
    others: tuple[str, ...]


def nodes_of_job(count: int, gpus: int, environment: Mapping[str, str]) -> Nodes:
    """The machines that Slurm gave, checked against what the configuration says.

    Raises
    ------
    InputError
        If they are not as many, or the others cannot be reached.
    """
    if count == 1:
        _check_count(count, int(environment.get("SLURM_JOB_NUM_NODES", "1")))
        return Nodes(1, gpus, ())
    if "SLURM_JOB_ID" not in environment:
        raise InputError(f"train.slime.nodes: {count} machines, but this is no job of Slurm.")
    for program in ("srun", "scontrol"):
        if shutil.which(program) is None:
            raise InputError(
                f"train.slime.nodes: {program} is not found, by which the other machines are reached. "
                "Bind Slurm's programs, libraries and configuration into the container (apptainer-args)."
            )
    # Snakemake starts the rule as a step on the first node, in whose environment the job's other nodes are not named.
    job = dict(
        field.partition("=")[::2] for field in _scontrol("--oneliner", "show", "job", environment["SLURM_JOB_ID"])
    )
    names = _scontrol("show", "hostnames", job.get("NodeList", ""))
    _check_count(count, len(names))
    here = environment.get("SLURMD_NODENAME", socket.gethostname())
    return Nodes(count, gpus, tuple(name for name in names if name != here))


def _check_count(count: int, given: int) -> None:
    if given != count:
        raise InputError(
            f"train.slime.nodes: {count} machines, but the job has {given}. Set `nodes: {count}` for train in "
            "slurm/config.yaml, with the GPUs of one node as gres."
        )


def _scontrol(*arguments: str) -> list[str]:
    """The words that scontrol says."""
    done = subprocess.run(["scontrol", *arguments], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise InputError(f"train.slime.nodes: scontrol fails ({said[-1] if said else done.returncode}).")
    return done.stdout.split()


def address_of(nodes: Nodes) -> str:
    """The IP address under which the others reach this machine; nobody else does if there are no others.

    It is the one on the way to another machine: this machine's own name may stand for a loopback address.

    Raises
    ------
    InputError
        If there is no way, or it does not leave this machine.
    """
    if not nodes.others:
        return "127.0.0.1"
    other = nodes.others[0]
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.connect((other, 9))  # sends nothing
            address = way.getsockname()[0]
    except OSError as error:
        raise InputError(
            f"train.slime.nodes: no way to the machine {other} ({error.strerror}). Have its name resolved on all nodes."
        ) from None
    if ipaddress.ip_address(address).is_loopback:
        raise InputError(
            f"train.slime.nodes: the name {other} stands for this machine itself ({address}). "
            "Have names of other nodes resolved to their addresses in the network."
        )
    return address


def free_ports(count: int) -> list[int]:
    """Different ports that are free here: two jobs on one machine do not meet."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


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
    host = head.rpartition(":")[0]
    path = os.pathsep.join(filter(None, [str(imports), str(programs.megatron), base.get("PYTHONPATH")]))
    # The rule says how many threads a process has.
    threads = {name: value for name, value in base.items() if name == "OMP_NUM_THREADS"}
    # slime's router listens where the machine's own name points to. SGLang has no password: on one machine its ports
    # stay there. (Its engines, and all ports of Ray, are at the address that Ray's node was given.)
    router = {"SLIME_HOST_IP": host} if ipaddress.ip_address(host).is_loopback else {}
    # Empty is no proxy for all that is asked here; the other machines may have set their own.
    direct = dict.fromkeys(PROXIES, "") | {"no_proxy": "*", "NO_PROXY": "*"}
    return (
        threads
        | router
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
    return [*step, *_container(environment), *keeper, *ray, *_resources(nodes)]


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
        started = [
            stack.enter_context(process(head_command(programs, nodes, host, ports, temporary), variables, handle))
        ]
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
def process(
    command: Sequence[str], variables: Mapping[str, str], output: int | IO[bytes], place: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program with its keeper, in a session of its own; when the block ends nothing of it is left.

    It has this process's environment, and `variables`.
    """
    started = subprocess.Popen(
        kept(command),
        env=os.environ | dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=place,
        start_new_session=True,  # Ctrl-C in a terminal is for this process, which ends the others in order
    )
    try:
        yield started
    finally:
        end(started)


def end(started: subprocess.Popen[bytes]) -> None:
    """Have a keeper end what it keeps, and itself."""
    if started.poll() is None:
        started.send_signal(signal.SIGTERM)
    try:
        started.wait(GRACE_S + 15)
    except subprocess.TimeoutExpired:
        started.kill()
        started.wait()
    if started.stdout:
        started.stdout.close()


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


def lines(stream: IO[bytes], every_s: float = CHECK_S) -> Iterator[bytes | None]:
    """Lines of a running program's output, and None every so many seconds, whether or not it said something."""
    rest = b""
    due = time.monotonic() + every_s
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            said = selector.select(max(0.0, due - time.monotonic()))
            if time.monotonic() >= due:
                yield None
                due = time.monotonic() + every_s
            if not said:
                continue
            read = os.read(stream.fileno(), 1 << 16)
            if not read:
                break
            *whole, rest = (rest + read).split(b"\n")
            yield from whole
    if rest:
        yield rest
