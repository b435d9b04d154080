"""Make the market's bars: synthetic, from a CSV file, or from a download."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from common.errors import InputError, run
from common.files import write_json
from common.options import add_settings
from common.provenance import record
from trading.bars import Bars, format_times, write_bars
from trading.sources import from_csv, from_download
from trading.synthetic import Calibration, Settings, synthetic_bars

SOURCES = ("synthetic", "csv", "download")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_settings(parser, "market", paths=["csv-path"])
    parser.add_argument("--output-bars", type=Path, required=True, help="bars.csv")
    parser.add_argument("--output-summary", type=Path, required=True, help="summary.json")
    return parser.parse_args()


def made(args: argparse.Namespace) -> tuple[Bars, dict[str, Any]]:
    """The bars, and what the summary says about their origin."""
    if args.source == "synthetic":
        given = vars(args)
        settings = Settings(**{name: given[f"synthetic_{name}"] for name in Settings.__dataclass_fields__})
        calibration = Calibration(
            **{name: given[f"synthetic_calibrate_{name}"] for name in Calibration.__dataclass_fields__}
        )
        bars, facts = synthetic_bars(settings, calibration)
        return bars, {"calibration": facts} if facts else {}
    if args.source == "csv":
        if args.csv_path is None:
            raise InputError("market.csv.path: is missing, source csv needs it. Set it to the file.")
        return from_csv(args.csv_path, args.csv_sha256, args.gaps), {}
    for key in ("url", "sha256"):
        if getattr(args, f"download_{key}") is None:
            raise InputError(f"market.download.{key}: is missing, source download needs it. Set it.")
    return from_download(args.download_url, args.download_sha256, args.gaps), {}


def provenance(args: argparse.Namespace) -> dict[str, Any]:
    """Parameters of the source that was used, without those of the others, and its input."""
    others = [source for source in SOURCES if source != args.source]
    used = {name: value for name, value in vars(args).items() if not name.startswith(tuple(f"{s}_" for s in others))}
    inputs = {"csv": args.csv_path} if args.source == "csv" else {}
    facts = record(argparse.Namespace(**used), inputs, ["numpy"])
    if args.source == "download":
        facts["inputs"]["download"] = args.download_sha256.lower()
    return facts


def main() -> None:
    args = arguments()
    bars, origin = made(args)
    first, last = format_times(bars.time[[0, -1]])
    total_return = float(bars.close[-1] / bars.close[0] - 1)
    result = {
        "name": args.name,
        "source": args.source,
        "synthetic": args.source == "synthetic",
        "bars": len(bars),
        "first": first,
        "last": last,
        "total_return": total_return,
        **origin,
        **provenance(args),
    }
    write_bars(args.output_bars, bars)
    write_json(args.output_summary, result)
    print(f"market: {args.name}, {len(bars)} bars, {first} to {last}, {100 * total_return:+.2f}%")


if __name__ == "__main__":
    run(main)
