"""What replay and retrain share: their command line, the comparison with the archive, and its report."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from archiving.replaying.difference import OTHER, Difference, difference, told
from archiving.replaying.workplace import Workplace
from archiving.verification.container import content
from common.processor import processor, same_kind

KEPT = "data/results/"


def compared(place: Workplace, names: list[str]) -> list[Difference]:
    """The archive's results against those of the workplace."""
    found = []
    for name in names:
        path = place.results / name
        if not path.is_file():
            found.append(Difference(name, OTHER, "was not made again"))
        else:
            tolerance = place.run["tolerances"]["replay"]
            found.append(difference(name, content(place.files, KEPT + name), path.read_bytes(), tolerance))
    return found


def arguments(text: str, program: str) -> argparse.ArgumentParser:
    """What replay and retrain take alike."""
    parser = argparse.ArgumentParser(
        prog=program, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = Path(__file__).resolve().parent
    parser.add_argument("archive", type=Path, nargs="?", default=here, help="folder or ZIP file; else this folder")
    parser.add_argument("--into", type=Path, help="new folder to work in; else one beside the archive")
    parser.add_argument("--python", type=Path, help="Python of an environment that has the pinned packages")
    what = "the samples that a variant of another run answers, where the archive may not hold them"
    metavar, default = ("NAME", "FILE"), []
    parser.add_argument("--variant-samples", nargs=2, metavar=metavar, action="append", default=default, help=what)
    return parser


def samples_given(args: argparse.Namespace) -> dict[str, Path]:
    """Where the samples of variants lie, by the variant's name."""
    return {name: Path(file) for name, file in args.variant_samples}


def finish(place: Workplace, found: list[Difference], strict: bool) -> None:
    """Say what was found; exit code 1 if the promise is not kept."""
    there = json.loads(content(place.files, "data/host/machine.json"))["processor"]
    here = processor()
    same = same_kind(there, here)
    lines, kept = told(found, same_processor=same, strict=strict)
    print("\n".join(lines))
    if not same:
        print(f"Made on: {there}. This is: {here}.")
    print(f"Results: {place.results}")
    sys.exit(0 if kept else 1)


def workplace_of(args: argparse.Namespace, suffix: str) -> Path:
    """The folder to work in: outside of the archive, whose folder has to stay as it is."""
    archive = args.archive.resolve()
    return args.into or archive.with_name(f"{archive.stem if archive.is_file() else archive.name}-{suffix}")
