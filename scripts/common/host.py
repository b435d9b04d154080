"""Facts about the machine and the time that each job took, in a small file of its own that no result depends on.

Every program starts through ``common.errors.run``, which is why this is the one place. The workflow names a folder in
the variable HOST_FACTS, results/<run>/host; without it nothing is recorded. What a fact would name a person, a machine
or a place by is not recorded: the archive of a run holds these files.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common.nvidia import PATIENCE_S, Gpu, cuda_version, joules, metering, seen
from common.processor import processor

VARIABLE = "HOST_FACTS"
SAMPLE_S = 5  # how often power is read; as often it is written down: a job that is killed has been counted, too


@contextlib.contextmanager
def job_recorded(arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[None]:
    """Record a program's job while the block runs; how it ended, too.

    Nothing here may stop a job: what cannot be found out or written is left out.

    Parameters
    ----------
    arguments
        The command line, program first.
    environment
        Of the process.
    """
    folder = environment.get(VARIABLE)
    if not folder or environment.get("RANK", "0") != "0":  # torchrun's other processes share the job
        yield
        return
    clock = time.monotonic() - age()  # imports have taken their time by now
    started = datetime.now(UTC) - timedelta(seconds=age())
    program = Path(arguments[0]).stem
    gpus = seen(asked, environment) if uses_gpus(arguments) else []
    facts: dict[str, Any] = {
        "program": program,
        "makes": first_output(arguments, Path(folder).parent),
        "started": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": 0.0,
        "ended": None,
        "node": node(),
        "python": platform.python_version(),
        "image": environment.get("APPTAINER_NAME"),  # file name; results/<run>/containers.json has its SHA-256
        "slurm": slurm(environment),
        "gpus": [{"name": gpu.name, "memory_mb": gpu.memory_mb, "driver": gpu.driver} for gpu in gpus],
        "cuda": cuda_version(asked()) if gpus else None,
        "gpu_joules": None,
    }
    file = Path(folder) / f"{program}-{started:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}.json"
    lock = threading.Lock()

    def write(**more: Any) -> None:
        with lock, contextlib.suppress(OSError):
            facts.update(more, seconds=round(time.monotonic() - clock, 3))
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_name(f".{file.name}.partial")
            partial.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
            partial.replace(file)

    write()
    ended = "failed"
    try:
        with metered(gpus, lambda energy: write(gpu_joules=round(energy, 1))):
            yield
        ended = "ok"
    except SystemExit as error:
        ended = "failed" if error.code else "ok"
        raise
    finally:
        write(ended=ended)


def age() -> float:
    """Seconds since this process began (proc(5), starttime); 0 where the system does not say."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


def uses_gpus(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for GPUs: "--device cuda" or "--device=cuda"."""
    return "--device=cuda" in arguments or ("--device", "cuda") in itertools.pairwise(arguments)


def first_output(arguments: Sequence[str], run: Path) -> str | None:
    """The first file that a program makes, below results/<run>; None where there is none."""
    for flag, value in itertools.pairwise(arguments):
        if flag.startswith("--output") and Path(value).is_relative_to(run):
            return Path(value).relative_to(run).as_posix()
    return None


def node(meminfo: Path = Path("/proc/meminfo")) -> dict[str, Any]:
    """The kind of machine: its processor, the CPUs that this job may use, its memory in GB."""
    text = meminfo.read_text(encoding="utf-8") if meminfo.is_file() else ""
    memory = re.search(r"^MemTotal:\s*(\d+) kB", text, re.MULTILINE)
    return {
        "processor": processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(memory[1]) * 1024 / 1e9, 1) if memory else None,
    }


def slurm(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Number of the Slurm job, how often Slurm has started it again, and how many nodes it has."""
    if "SLURM_JOB_ID" not in environment:
        return None
    counts = {"restarts": "SLURM_RESTART_COUNT", "nodes": "SLURM_JOB_NUM_NODES"}
    defaults = {"restarts": 0, "nodes": 1}
    found = {key: environment.get(name, "") for key, name in counts.items()}
    numbers = {key: int(value) if value.isdigit() else defaults[key] for key, value in found.items()}
    return {"job": environment["SLURM_JOB_ID"], **numbers}


def asked(*arguments: str) -> str:
    """What nvidia-smi says; nothing where it is not there, fails or does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        return done.stdout if done.returncode == 0 else ""
    return ""


@contextlib.contextmanager
def metered(gpus: Sequence[Gpu], told: Callable[[float], None]) -> Iterator[None]:
    """Add up what some GPUs use while the block runs.

    One nvidia-smi prints the power again and again, so that the job itself starts no process in between.
    """
    program = shutil.which("nvidia-smi")
    if not gpus or program is None:
        yield
        return
    try:
        meter = subprocess.Popen(
            [program, *metering(gpus, SAMPLE_S)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:
        yield
        return
    told_by = threading.Thread(
        target=joules, args=(meter.stdout, len(gpus), time.monotonic, told), daemon=True, name="power"
    )
    told_by.start()
    try:
        yield
    finally:
        meter.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            meter.wait(PATIENCE_S)
        told_by.join(PATIENCE_S)
