"""What nvidia-smi says: the GPUs of a machine, those of them that a job sees, the CUDA of their driver, their power."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

PLAIN = "--format=csv,noheader,nounits"
LIST = ("--query-gpu=index,uuid,name,memory.total,driver_version", PLAIN)
PATIENCE_S = 30  # a hung driver answers never
# GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5b...), and below it "  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4...)".
GPU_LINE = re.compile(r"GPU \d+: .*\(UUID: (GPU-[^)]+)\)")
PART_LINE = re.compile(r"\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: (MIG-[^)]+)\)")
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


def partitions(text: str, gpus: Iterable[Gpu]) -> list[Gpu]:
    """The parts of partitioned GPUs (MIG), from ``nvidia-smi -L``; their memory is what their profile's name says."""
    whole = {gpu.uuid: gpu for gpu in gpus}
    found, of = [], None
    for line in text.splitlines():
        if head := GPU_LINE.match(line):
            of = whole.get(head[1])
        elif of and (part := PART_LINE.match(line)):
            memory = re.search(r"(\d+)gb", part[1])
            name = f"{of.name} MIG {part[1]}"
            found.append(Gpu(f"{of.index}:{part[2]}", part[3], name, int(memory[1]) * 1000 if memory else 0, of.driver))
    return found


def seen(ask: Callable[..., str], environment: Mapping[str, str]) -> list[Gpu]:
    """The GPUs, or parts of some, that a job sees.

    Parameters
    ----------
    ask
        What nvidia-smi prints, called with its arguments.
    """
    gpus = parse(ask(*LIST))
    if "MIG-" in environment.get("CUDA_VISIBLE_DEVICES", ""):  # the table has whole GPUs only
        gpus += partitions(ask("-L"), gpus)
    return visible(gpus, environment)


def visible(gpus: list[Gpu], environment: Mapping[str, str]) -> list[Gpu]:
    """The GPUs that CUDA would see: those that CUDA_VISIBLE_DEVICES names, up to the first unknown one.

    Where Slurm confines devices, nvidia-smi lists only the job's, and the numbers count from 0.
    """
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return gpus
    named: list[Gpu] = []
    for name in filter(None, (part.strip() for part in chosen.split(","))):
        by_uuid = name.startswith(("GPU-", "MIG-"))
        found = [gpu for gpu in gpus if name == gpu.index or (by_uuid and gpu.uuid.startswith(name))]
        if len(found) != 1:
            break
        named.append(found[0])
    return named


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
