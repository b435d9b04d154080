"""Make the market's bars: synthetic, from a CSV file, or from a download."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from common.errors import InputError, run
from common.files import write_json
from common.provenance import record
from trading.bars import GAPS, Bars, format_times, write_bars
from trading.sources import from_csv, from_download
from trading.synthetic import Calibration, Settings, synthetic_bars

SOURCES = ("synthetic", "csv", "download")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="what slides and summaries call the market")
    parser.add_argument("--source", choices=SOURCES, required=True)
    parser.add_argument("--gaps", choices=GAPS, default="refuse", help="allow gaps, for markets that close")

    market = parser.add_argument_group("synthetic: an hourly market drawn from a seed")
    market.add_argument("--synthetic-seed", type=int, default=Settings.seed)
    market.add_argument("--synthetic-bars", type=int, default=Settings.bars)
    market.add_argument("--synthetic-start", default=Settings.start, help="time of the first bar, UTC")
    market.add_argument("--synthetic-volatility", type=float, default=Settings.volatility, help="an hour's, a fraction")
    for name in ("momentum", "trend", "slow-drift"):
        market.add_argument(
            f"--synthetic-{name}",
            type=float,
            default=getattr(Settings, name.replace("-", "_")),
            help="strength, in units of an hour's volatility",
        )
    end = parser.add_argument_group("synthetic: what constant positions earn on the last hours")
    end.add_argument("--synthetic-calibrate-hours", type=int, default=Calibration.hours, help="0: no calibration")
    end.add_argument("--synthetic-calibrate-leverage", type=float, default=Calibration.leverage)
    end.add_argument(
        "--synthetic-calibrate-capital", type=float, default=Calibration.capital, help="at the start, dollars"
    )
    end.add_argument(
        "--synthetic-calibrate-buy-capital",
        type=float,
        default=Calibration.buy_capital,
        help="Always Buy's end",
    )
    end.add_argument(
        "--synthetic-calibrate-sell-capital",
        type=float,
        default=Calibration.sell_capital,
        help="Always Sell's end",
    )

    file = parser.add_argument_group("csv: a file with timestamp (UTC) and close")
    file.add_argument("--csv-path", type=Path)
    file.add_argument("--csv-sha256", help="what the file must hash to")

    network = parser.add_argument_group("download: such a file, or a ZIP of exchange klines")
    network.add_argument("--download-url")
    network.add_argument("--download-sha256", help="what the download must hash to")

    parser.add_argument("--output-bars", type=Path, required=True)
    parser.add_argument("--output-summary", type=Path, required=True)
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
