"""What nvidia-smi says: the GPUs of a machine, those of them that a job sees, the CUDA of their driver, their power."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

PLAIN = "--format=csv,noheader,nounits"
LIST = ("--query-gpu=index,uuid,name,memory.total,driver_version", PLAIN)
PATIENCE_S = 30  # a hung driver answers never
# In the head of its page. What a driver can do, not what a program was built with.
CUDA = re.compile(r"CUDA (?:UMD )?Version\s*:\s*([0-9.]+)")


@dataclass(frozen=True)
class Gpu:
    """One line of nvidia-smi.

    Attributes
    ----------
    memory_mb
        Total memory in MB, of a million bytes.
    driver
        Version of the driver, like 550.54.15.
    """

    index: str
    uuid: str
    name: str
    memory_mb: int
    driver: str


def parse(text: str) -> list[Gpu]:
    """Lines of ``nvidia-smi --query-gpu=... --format=csv,noheader,nounits``.

    >>> parse("0, GPU-1, NVIDIA H100 80GB HBM3, 81559, 550.54.15")[0].memory_mb
    85521
    """
    gpus = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 5:
            memory = round(int(fields[3]) * 1.048576) if fields[3].isdigit() else 0  # it counts in MiB
            gpus.append(Gpu(fields[0], fields[1], fields[2], memory, fields[4]))
    return gpus


def visible(gpus: list[Gpu], environment: Mapping[str, str]) -> list[Gpu]:
    """The GPUs that CUDA would see: those that CUDA_VISIBLE_DEVICES names, up to the first unknown one.

    Where Slurm confines devices, nvidia-smi lists only the job's, and the numbers count from 0.
    """
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return gpus
    seen: list[Gpu] = []
    for name in filter(None, (part.strip() for part in chosen.split(","))):
        found = [gpu for gpu in gpus if name == gpu.index or (name.startswith("GPU-") and gpu.uuid.startswith(name))]
        if len(found) != 1:
            break
        seen.append(found[0])
    return seen


def cuda_version(page: str) -> str | None:
    """The newest CUDA that the driver can do, from what nvidia-smi prints without arguments.

    >>> cuda_version("| NVIDIA-SMI 550.54.15    Driver Version: 550.54.15    CUDA Version: 12.4 |")
    '12.4'
    """
    match = CUDA.search(page)
    return match[1] if match else None


def metering(gpus: Iterable[Gpu], seconds: int) -> list[str]:
    """Arguments of an nvidia-smi that prints the power of each GPU, in watts, every few seconds until it is ended."""
    return ["--query-gpu=power.draw", PLAIN, f"--loop={seconds}", f"--id={','.join(gpu.uuid for gpu in gpus)}"]


def joules(lines: Iterable[str], count: int, clock: Callable[[], float], told: Callable[[float], None]) -> None:
    """Add up energy as readings of power come in: the mean of two readings times the time between them.

    Parameters
    ----------
    lines
        Watts, one line a GPU and reading; anything else, such as "[N/A]" of a GPU without a meter, ends it.
    count
        Of GPUs, so of lines a reading.
    clock
        Seconds.
    told
        Called with the sum, in joules, at each reading from the second on.
    """
    total, before, then = 0.0, 0.0, None
    reading: list[float] = []
    for line in lines:
        try:
            reading.append(float(line))
        except ValueError:
            return
        if len(reading) == count:
            now, watts = clock(), sum(reading)
            if then is not None:
                total += (now - then) * (before + watts) / 2
                told(total)
            before, then, reading = watts, now, []
