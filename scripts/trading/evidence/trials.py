"""The ledger: every variant whose decisions were ever evaluated on test hours, one small file each.

Whoever tries twenty models and shows the best one has tried twenty; whoever moves the window in between, too. The
ledger lies outside the declared outputs, so that a rerun does not forget; entries are named by their content, so that
evaluating the same decisions again, at another leverage or at the same time in another process, adds nothing.

``<ledger>/<hours>/hours.json`` says which hours of which market a folder is about, ``<ledger>/<hours>/<variant>.json``
is one variant on them. Standard library only: Snakemake asks, too.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import read_json, write_json

HOUR = 3600
HOURS = "hours.json"
# Log returns are compared in steps of so much, with which few change when prices are rounded or quoted in cents.
STEP = 1e-4
# Share of the common hours that have to agree; of two markets one in sixteen does by chance.
SAME = 0.5


@dataclass(frozen=True)
class Window:
    """Test hours of a market, with as much of it as it takes to know it again, and too little to read its prices.

    Attributes
    ----------
    first
        Hours since 1970 of the first decision.
    digits
        An hour each: a hexadecimal digit that depends on the hour and the return earned from it on, or a dot where
        there was no bar.
    """

    first: int
    digits: str

    @property
    def name(self) -> str:
        """Name of the folder: 16 hexadecimal digits."""
        return hashlib.sha256(f"{self.first} {self.digits}".encode()).hexdigest()[:16]

    def overlap(self, other: Window) -> bool:
        """Whether both have hours of the same market in common."""
        start = max(self.first, other.first)
        pairs = zip(self.digits[start - self.first :], other.digits[start - other.first :], strict=False)
        common = [one == two for one, two in pairs if "." not in (one, two)]
        return bool(common) and sum(common) >= SAME * len(common)


def window_of(seconds: Sequence[int], closes: Sequence[float]) -> Window:
    """The hours from each of these bars but the last to the next one.

    Parameters
    ----------
    seconds
        Since 1970, rising.
    closes
        As many closing prices.
    """
    digits = {}
    for time, close, after in zip(seconds, closes, closes[1:], strict=False):
        hour, change = int(time) // HOUR, round(math.log(after / close) / STEP)
        digits[hour] = hashlib.sha256(f"{hour} {change}".encode()).hexdigest()[0]
    first, last = min(digits), max(digits)
    return Window(first, "".join(digits.get(hour, ".") for hour in range(first, last + 1)))


def variant_digest(directions: Iterable[float]) -> str:
    """What makes a variant: what it decided."""
    return hashlib.sha256(bytes(int(side) % 256 for side in directions)).hexdigest()


def record_variants(
    ledger: Path, hours: Window, run: str, variants: Iterable[tuple[str, Iterable[float]]]
) -> list[Path]:
    """Add variants to the ledger, and give all that it ever held on these hours or some of them.

    Parameters
    ----------
    ledger
        Folder; made if it is not there.
    run
        Whose variants they are.
    variants
        Name and directions of each.

    Returns
    -------
    list of Path
        As `entries` gives them.
    """
    folder = ledger / hours.name
    if not (folder / HOURS).exists():
        write_json(folder / HOURS, {"first": hours.first, "digits": hours.digits})
    for name, directions in variants:
        digest = variant_digest(directions)
        file = folder / f"{digest[:16]}.json"
        if not file.exists():
            write_json(file, {"run": run, "variant": name, "decisions_sha256": digest})
    return entries(ledger, hours)


def entries(ledger: Path, hours: Window) -> list[Path]:
    """One file for each variant that was evaluated on hours of the same market that overlap these.

    The same decisions on the same hours are one variant, however the prices were written. A model that is evaluated
    again on a window that was moved counts again: choosing the window is a choice, too.
    """
    found: dict[Any, Path] = {}
    for folder in _overlapping(ledger, hours):
        for file in sorted(folder.glob("[!.]*.json")):
            if file.name != HOURS:
                found.setdefault(read_json(file).get("decisions_sha256"), file)
    return list(found.values())


def of_other_runs(ledger: Path, hours: Window, run: str) -> int:
    """How many of the entries other runs were the first to make: what a run's own evaluation does not change."""
    return sum(read_json(file).get("run") != run for file in entries(ledger, hours))


def _overlapping(ledger: Path, hours: Window) -> Iterator[Path]:
    for file in sorted(ledger.glob(f"*/{HOURS}")):
        about = read_json(file)
        first, digits = about.get("first"), about.get("digits")
        if not (isinstance(first, int) and isinstance(digits, str)):
            raise InputError(f"{file}: does not say which hours. Put it back, or delete its folder and what it counts.")
        if Window(first, digits).overlap(hours):
            yield file.parent
