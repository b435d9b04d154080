"""Check an archive with nothing but Python: its files, its records, its slides' numbers and its accounting.

python verify.py                 in the unpacked archive
python verify.py run.zip         on the ZIP file as it is
python verify.py --bars FILE     where the archive may not hold the market's bars
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

from archiving.verification.accounting import check_accounting
from archiving.verification.checksums import PAYLOAD, TAGS, check_checksums, manifest
from archiving.verification.container import ArchiveError, Folder, Packed, content, opened
from archiving.verification.facts import check_facts
from archiving.verification.ledger import RESULTS, WITHHELD, check_ledger
from archiving.verification.records import check_records, picture_names
from archiving.verification.words import check_words
from common.output import reader_may_leave

BARS = f"{RESULTS}market/bars.csv"
NEEDED = ("README.md", "verify.py", "ro-crate-metadata.json", "data/run.json", "data/configuration.json")
Check = Callable[[], tuple[list[str], str]]


def verify(place: Path, bars: Path | None = None) -> tuple[list[str], list[str]]:
    """Run every check that can be run.

    Returns
    -------
    tuple of list of str
        What was found in order, and what was not, one line each.
    """
    fine: list[str] = []
    problems: list[str] = []
    try:
        files = opened(place)
        problems = files.problems()
        if not problems and not {PAYLOAD, TAGS} & set(files.names()):
            problems = [f"{place}: no archive: {PAYLOAD} is not in it"]
    except ArchiveError as error:
        return fine, [str(error)]
    if problems:
        return fine, problems  # what has such names or such a form is not read any further
    checks: list[Check] = [
        lambda: _told(check_checksums(files), "{} files are what was packed, and none is missing or more"),
        lambda: (_structure(files), "the archive is a crate with all its parts"),
        lambda: _told(check_records(files), "{} files are what the results say they were made from"),
        lambda: _told(
            check_facts(files),
            "commit, leverages, trials and times are those on record, and {} files of models those that were used",
        ),
        lambda: _claims(files),
        lambda: _told(
            check_words(files), "{} settings are those of the results, and README and cards say what they do"
        ),
    ]
    for check in [*checks, lambda: _books(files, bars)]:
        try:
            found, told = check()
        except ArchiveError as error:
            found, told = [str(error)], ""
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError) as error:
            found, told = [f"a result lacks what it should hold ({type(error).__name__}: {error})"], ""
        problems += [line for line in found if line not in problems]
        fine += [told] if told and not found else []
    return fine, problems


def _told(result: tuple[list[str], int], form: str) -> tuple[list[str], str]:
    return result[0], form.format(f"{result[1]:,}")


def _claims(files: Folder | Packed) -> tuple[list[str], str]:
    problems, count = check_ledger(files, picture_names(files))
    return problems, f"{count:,} numbers on the slides follow from the results"


def _structure(files: Folder | Packed) -> list[str]:
    """Whether the parts are there that make it an archive, and the crate's files are the archive's."""
    problems = [f"{name}: missing" for name in NEEDED if name not in files.names()]
    if problems:
        return problems
    try:
        graph = {row["@id"]: row for row in json.loads(content(files, NEEDED[2]))["@graph"]}
        parts = [part["@id"] for part in graph["./"]["hasPart"]]
    except (ValueError, KeyError, TypeError):
        return [f"{NEEDED[2]}: no description of a crate"]
    described = {p for p in parts if not p.endswith("/") and "://" not in p and not p.startswith("#")}
    payload = {name for name in files.names() if name.startswith("data/")}
    problems += [f"{NEEDED[2]}: names {name}, which is not there" for name in sorted(described - set(files.names()))]
    problems += [f"{name}: is not in {NEEDED[2]}" for name in sorted(payload - described)]
    listed = manifest(files, PAYLOAD)  # which is compared with the files themselves elsewhere
    shas = {name: graph[name].get("sha256") for name in sorted(payload & described & set(listed))}
    return problems + [f"{name}: {NEEDED[2]} has another SHA-256" for name, sha in shas.items() if sha != listed[name]]


def _books(files: Folder | Packed, bars: Path | None) -> tuple[list[str], str]:
    names = files.names()
    if BARS in names:
        blob = content(files, BARS)
    elif WITHHELD not in names:
        return [f"{BARS}: missing"], ""
    else:
        listed = {row["file"]: row for row in json.loads(content(files, WITHHELD))["files"]}
        if bars is None:
            return [], (
                f"NOT CHECKED: the accounting. The archive may not hold {BARS}; {listed[BARS]['how_to_get']} "
                "Then add --bars FILE."
            )
        try:
            blob = bars.read_bytes()
        except OSError as error:
            return [f"{bars}: {error.strerror}"], ""
        if hashlib.sha256(blob).hexdigest() != listed[BARS]["sha256"]:
            return [f"{bars}: is not the file that the run used, its SHA-256 is another one"], ""
    return _told(
        check_accounting(files, blob),
        "{} closes, their trades and metrics were computed again from the decisions and the prices",
    )


def main() -> None:
    """Print what was found; exit code 1 if anything is wrong."""
    parser = argparse.ArgumentParser(
        prog="verify.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = Path(__file__).resolve().parent
    parser.add_argument("archive", type=Path, nargs="?", default=here, help="folder or ZIP file; else this folder")
    parser.add_argument("--bars", type=Path, help="the market's bars, where the archive may not hold them")
    args = parser.parse_args()
    fine, problems = verify(args.archive, args.bars)
    for line in fine:
        print(line if line.startswith("NOT CHECKED") else f"ok: {line}")
    for line in problems:
        print(f"FAILED: {line}", file=sys.stderr)
    if problems:
        many = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        print(f"{many}: this is not the archive as it was made.", file=sys.stderr)
        sys.exit(1)
    print(
        "Taken as they are: p-values and intervals of the tests (evidence.json); what figures and tearsheet show (what "
        "they were made of is checked); what training, conversion and machines recorded of themselves; the "
        "sources. replay.py makes again what follows from the decisions, retrain.py the rest."
    )
    print("The archive is whole." if not any("NOT CHECKED" in line for line in fine) else "Whole, as far as checked.")


if __name__ == "__main__":
    with reader_may_leave():
        main()
