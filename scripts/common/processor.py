"""The kind of processor, on which the last digits of floating-point results depend."""

from __future__ import annotations

import platform
from pathlib import Path

UNKNOWN = "unknown"


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """This machine's processor, as the system names it; of those of Arm it gives two numbers."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    said = {key.strip(): " ".join(value.split()) for key, _, value in (row.partition(":") for row in text.splitlines())}
    if said.get("model name"):
        return said["model name"]
    if said.get("CPU implementer") and said.get("CPU part"):
        return f"{platform.machine()}, implementer {said['CPU implementer']}, part {said['CPU part']}"
    return f"{UNKNOWN} ({platform.machine()})"


def same_kind(one: str, two: str) -> bool | None:
    """Whether two processors are of one kind; None where one of them is unknown."""
    return None if UNKNOWN in (name.partition(" (")[0] for name in (one, two)) else one == two
