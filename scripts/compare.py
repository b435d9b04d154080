"""Compare two runs: archives (ZIP file or folder) or folders results/<run>."""

from __future__ import annotations

import argparse
from pathlib import Path

from archiving.comparison import rows, side
from archiving.side_by_side import page, table
from archiving.verification.container import ArchiveError
from common.errors import InputError, run
from common.files import written_whole


def main() -> None:
    """Read both, print what differs, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("one", type=Path, help="A: an archive, or results/<run>")
    parser.add_argument("two", type=Path, help="B: the same")
    parser.add_argument("--all", action="store_true", help="print what is the same too")
    parser.add_argument("--page", type=Path, help="HTML file with everything")
    args = parser.parse_args()
    one, two = side(args.one), side(args.two)
    try:
        found = rows(one, two)
    except (ArchiveError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{args.one} or {args.two}: a result cannot be read ({error}). Run verify.py on it.") from None
    print(table(found, one.name, two.name, args.all))
    if args.page:
        with written_whole(args.page) as partial:
            partial.write_text(page(found, one.name, two.name), encoding="utf-8")
        print(f"\nPage: {args.page}")


if __name__ == "__main__":
    run(main, recorded=False)
