"""Make everything from the decisions to the slides again, and compare it with what the archive holds.

python replay.py                     in the unpacked archive
python replay.py run.zip             on the ZIP file as it is
python replay.py --python VENV/bin/python     with an environment that has the pinned packages
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from archiving.replaying.difference import Difference
from archiving.replaying.promise import KEPT, arguments, compared, finish, samples_given, workplace_of
from archiving.replaying.workplace import Workplace, prepared, put_samples, withheld_file
from archiving.verification.container import ArchiveError
from common.output import reader_may_leave

BARS = f"{KEPT}market/bars.csv"


def made_again(name: str) -> bool:
    """Whether a result follows from decisions and bars."""
    return name.startswith("leverage-")


def replay(place: Workplace, bars: Path | None, samples: Mapping[str, Path]) -> list[Difference]:
    """Run the workflow from simulate on, on the archive's decisions, and compare what it makes."""
    given = withheld_file(place, BARS, bars, "--bars")
    put_samples(place, samples)
    names = [name.removeprefix(KEPT) for name in place.files.names() if name.startswith(KEPT)]
    for name in names:
        if not made_again(name):
            place.put(KEPT + name, place.results / name)
    rules = list(place.run["replay_rules"])
    if given is not None:
        (place.results / "market").mkdir(parents=True, exist_ok=True)
        (place.results / "market/bars.csv").write_bytes(given)
        rules.append("samples")
    results = place.results.relative_to(place.project)
    endings = ("evidence.json", ".pptx", ".html")
    targets = [f"{results}/{name}" for name in names if made_again(name) and name.endswith(endings)]
    place.snakemake(targets, rules)
    return compared(place, [name for name in names if made_again(name)])


def main() -> None:
    """Replay, compare, report."""
    parser = arguments(__doc__, "replay.py")
    parser.add_argument("--bars", type=Path, help="the market's bars, where the archive may not hold them")
    args = parser.parse_args()
    try:
        place = prepared(
            args.archive, workplace_of(args, "replay"), args.python and args.python.absolute(), whole=False
        )
        print("Running the workflow from the decisions to the slides", flush=True)
        found = replay(place, args.bars, samples_given(args))
    except ArchiveError as error:
        sys.exit(f"replay: {error}")
    finish(place, found, strict=True)


if __name__ == "__main__":
    with reader_may_leave():
        main()
