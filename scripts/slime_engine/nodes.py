"""The machines of this job, and where on them it can be reached."""

from __future__ import annotations

import contextlib
import ipaddress
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from common.errors import InputError
from slime_engine.address import towards

# A loopback address: nobody else on the network asks SGLang, which has no password. 127.0.0.1 Ray would take for the
# machine's address in its network, at which slime then has the engines listen.
ALONE = "127.0.0.2"


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
        return ALONE
    other = nodes.others[0]
    try:
        address = towards(other)
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
