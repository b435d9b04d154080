"""Run the whole workflow again, from the market to the slides, training included, and compare the results.

python retrain.py                    in the unpacked archive
python retrain.py run.zip            on the ZIP file as it is
python retrain.py --python VENV/bin/python    with an environment that has the pinned packages
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from archiving.replaying.difference import OTHER, SAME, Difference
from archiving.replaying.promise import KEPT, arguments, compared, finish, samples_given, workplace_of
from archiving.replaying.workplace import Workplace, prepared, put_samples
from archiving.verification.checksums import digest
from archiving.verification.container import ArchiveError, Folder, content
from common.output import reader_may_leave


def retrain(place: Workplace, market: Path | None, base: Path | None) -> list[Difference]:
    """Run the workflow from its first rule on and compare all it makes."""
    put_sources(place, market, base)
    names = [name.removeprefix(KEPT) for name in place.files.names() if name.startswith(KEPT)]
    results = place.results.relative_to(place.project)
    endings = ("evidence.json", ".pptx", ".html")
    place.snakemake(
        [f"{results}/{name}" for name in names if name.startswith("leverage-") and name.endswith(endings)], []
    )
    return [*compared(place, names), *weights(place)]


def put_sources(place: Workplace, market: Path | None, base: Path | None) -> None:
    """Lay what the archive may not hold where the configuration looks for it."""
    settings = json.loads(content(place.files, "data/configuration.json"))
    wanted = (
        (
            "the market's file",
            settings["market"]["csv"]["path"] if settings["market"]["source"] == "csv" else None,
            market,
            "--market",
        ),
        ("the base model's folder", settings["base_model"]["folder"], base, "--base-model"),
    )
    for what, name, given, flag in wanted:
        if name and not (place.project / name).exists():
            if given is None:
                raise ArchiveError(
                    f"{what} is not in the archive: name it with {flag} (data/models.json has its SHA-256)"
                )
            (place.project / name).parent.mkdir(parents=True, exist_ok=True)
            (place.project / name).symlink_to(given.resolve())


def weights(place: Workplace) -> list[Difference]:
    """The models' weights by their SHA-256: the archive need not hold them."""
    found = []
    expected = json.loads(content(place.files, "data/models.json"))
    for model in sorted(set(expected) - {"checkpoint"}):
        folder = Folder(place.results / "model" / model)
        for name, facts in expected[model]["files"].items():
            label = f"model/{model}/{name}"
            if name.endswith(".safetensors") and name not in folder.names():
                found.append(Difference(label, OTHER, "was not made again"))
            elif name.endswith(".safetensors"):
                same = digest(folder, name) == facts["sha256"]
                found.append(Difference(label, SAME if same else OTHER, "" if same else "other weights"))
    return found


def agreement(place: Workplace) -> list[str]:
    """How many decisions are the same, and what the model earned there and here."""
    lines = []
    asked = [name for name in place.files.names() if name.endswith("/decisions.jsonl")]
    for name in [name.removeprefix(KEPT) for name in asked if name.startswith(f"{KEPT}infer/")]:
        if not (place.results / name).is_file():
            continue  # compared already: was not made again
        there = content(place.files, KEPT + name).decode("utf-8").splitlines()
        here = (place.results / name).read_text(encoding="utf-8").splitlines()
        same = sum(json.loads(a)["decision"] == json.loads(b)["decision"] for a, b in zip(there, here, strict=False))
        lines.append(f"{name.split('/')[1]}: {same:,} of {len(there):,} decisions are the same")
    for leverage in place.run["leverages"]:
        name = f"leverage-{leverage}/metrics.json"
        ends = [
            {row["key"]: row["final_capital"] for row in json.loads(blob)["strategies"]}["trained"]
            for blob in (content(place.files, KEPT + name), (place.results / name).read_bytes())
        ]
        lines.append(f"leverage {leverage}: the trained model ends with ${ends[0]:,.2f} there, ${ends[1]:,.2f} here")
    return lines


def main() -> None:
    """Retrain, compare, report."""
    parser = arguments(__doc__, "retrain.py")
    parser.add_argument("--market", type=Path, help="the market's file, where the archive may not hold it")
    parser.add_argument("--base-model", type=Path, help="the base model's folder, where the run started from one")
    args = parser.parse_args()
    try:
        place = prepared(
            args.archive, workplace_of(args, "retrain"), args.python and args.python.absolute(), whole=True
        )
        print("Running the whole workflow, training included", flush=True)
        put_samples(place, samples_given(args))
        found = retrain(place, args.market, args.base_model)
        print("\n".join(agreement(place)))
    except ArchiveError as error:
        sys.exit(f"retrain: {error}")
    finish(place, found, strict=False)


if __name__ == "__main__":
    with reader_may_leave():
        main()
