"""Pack a finished run into one ZIP file with which anyone can verify, replay and retrain it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archiving import cards
from archiving.collect import (
    HOST,
    RESULTS,
    Run,
    base_image,
    models,
    portable,
    priced,
    results,
    to_json,
    trial_ledger,
    unmasked,
    withheld,
    without_paths,
)
from archiving.crate import describe
from archiving.describe import citation, cited, codemeta, zenodo
from archiving.join import joined
from archiving.pack import Content, with_checksums, write_zip
from archiving.provenance import ended, host_facts, images, records, replay_rules
from archiving.reading import readable
from archiving.scan import Scanner
from archiving.source import Source, bundle, read_source, texts
from archiving.took import took
from archiving.variants import HOW_TO_GET, beside_variants, shown_prices, with_prices
from archiving.verification.facts import version_of
from archiving.verification.ledger import deck_entry
from archiving.verification.words import settings_problems
from common.errors import InputError, run
from common.files import read_json, sha256, written_whole

PROJECT = Path(__file__).resolve().parents[1]
# What differs by less than this share of its size is the same number, on another kind of processor.
REPLAY_TOLERANCE = 1e-6


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--results", type=Path, required=True, help="results/<run>")
    add("--configuration", required=True, help="the resolved configuration, as JSON")
    add("--leverages", nargs="+", required=True, help="as they stand in paths")
    add("--data-licence", help="SPDX identifier of the licence of the market's data, if it is not synthetic")
    add("--ledger", type=Path, required=True, help="folder that remembers each variant ever evaluated")
    add("--snakemake", type=Path, required=True, help=".snakemake, with the records of how the results were made")
    add("--market-data", action=argparse.BooleanOptionalAction, required=True, help="whether prices may be in it")
    add("--unmasked-answers", action=argparse.BooleanOptionalAction, required=True, help="answers may quote prices")
    add("--weights", action=argparse.BooleanOptionalAction, required=True, help="whether the models' weights are in it")
    add("--images", action=argparse.BooleanOptionalAction, required=True, help="whether container images are in it")
    add("--allow-dirty", action=argparse.BooleanOptionalAction, required=True, help="pack uncommitted changes too")
    add("--output", type=Path, required=True, help="<run>.zip; its SHA-256 is written beside it")
    args = parser.parse_args()
    args.configuration = resolved(args.configuration)
    return args


# What is read of the configuration; its rule hands over all of it.
READ = ("run", "market.name", "market.source", "market.csv.path", "market.download.url", "market.download.sha256")
READ += ("samples", "base_model.name", "base_model.source", "base_model.folder", "base_model.hub.cache")
READ += ("containers.bootstrap", "evaluate.variants")


def resolved(text: str) -> dict[str, Any]:
    """The configuration that JSON holds.

    Raises
    ------
    InputError
        If it is no JSON, or lacks a key that is read.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"--configuration: not JSON: {error}. Run snakemake archive, which writes it.") from None
    for key in READ:
        value = found
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise InputError(f"--configuration: no key {key}. Run snakemake archive, which hands over all of them.")
            value = value[part]
    return found


def main() -> None:
    """Collect, describe, search for secrets, pack."""
    args = arguments()
    finished = Run(args.results, args.configuration, args.leverages)
    source = read_source(PROJECT)
    check_source(source, args.allow_dirty)
    beside = beside_variants(finished)
    if not args.market_data and not args.unmasked_answers:
        check_masked([*unmasked(args.configuration), *shown_prices(beside)])
    files = contents(finished, source, beside, args)
    problems = secrets(files, source, args.configuration)
    if problems:
        print("\n".join(f"archive: error: {line}" for line in problems), file=sys.stderr)
        print("archive: nothing was packed. Take this out of the run or its sources.", file=sys.stderr)
        sys.exit(1)
    packed = with_checksums(files, source.date)
    write_zip(args.output, packed)
    with written_whole(args.output.with_suffix(".zip.sha256")) as partial:
        partial.write_text(f"{sha256(args.output)}  {args.output.name}\n", encoding="utf-8")
    size = args.output.stat().st_size / 1e6
    print(f"Archive: {args.output}, {len(packed)} files, {size:.1f} MB, sources of {source.commit[:12]}")


def check_source(source: Source, allowed: bool) -> None:
    """Refuse sources that are not those of a commit."""
    if source.dirty and not allowed:
        named = ", ".join(source.changed[:5]) + (", ..." if len(source.changed) > 5 else "")
        raise InputError(
            f"the sources are not those of a commit: {named}. Commit them, or set archive.allow_dirty: true, which "
            "packs the differences and says so."
        )


def check_masked(found: Sequence[str]) -> None:
    """Refuse answers that may quote prices, where these may not be published."""
    if found:
        raise InputError(
            f"{'; '.join(found)}: mask is false, so the model's answers may quote the prices that archive.market_data: "
            "false keeps back. Set archive.unmasked_answers: true if they may be published."
        )


def contents(finished: Run, source: Source, beside: Mapping[str, Path], args: argparse.Namespace) -> dict[str, Content]:
    """All files of the archive but the checksums; `beside` lies beside variants of other runs."""
    settings, outside = portable(args.configuration)
    outside |= beside
    chosen = results(finished, args.weights)
    market = {f"{RESULTS}/{name}" for name in priced(finished, chosen)}
    market |= {f"data/{name}" for name in with_prices(outside)}
    own = {f"{RESULTS}/{name}": path for name, path in chosen.items()}
    # A folder of weights does not come along; models.json has its SHA-256.
    own |= {f"data/{name}": path for name, path in outside.items() if path.is_file()}
    without = {} if args.market_data else {name: own.pop(name) for name in sorted(market & set(own))}
    files: dict[str, Content] = {**own}
    left_out = {f"`{name}`": "data/withheld.json" for name in without}
    left_out |= {} if args.weights else {"the models' weights": "data/models.json"}
    if without:
        bars = [f"{RESULTS}/market/bars.csv", *(f"data/{name}" for name in outside)]
        how = dict.fromkeys(bars, cards.how_to_get(settings)) | {f"data/{name}": HOW_TO_GET for name in beside}
        files["data/withheld.json"] = to_json(withheld(without, how))
    files |= {f"data/trials/{name}": path for name, path in trial_ledger(finished, args.ledger).items()}
    files |= sources(source) | images(finished, PROJECT, args.images)
    files |= host_facts(finished, args.snakemake, outside)
    facts = run_record(finished, source, settings, without_paths(to_json(commands(finished, args.snakemake)), outside))
    facts["replay_rules"] = replay_rules(finished, args.snakemake)
    facts |= base_image(args.configuration, PROJECT)
    version = version_of(facts["source"])
    files["CITATION.cff"] = cited(files["CITATION.cff"], source, version)
    cff = citation(files["CITATION.cff"])
    licence = facts["data_licence"] = cards.data_licence(settings["market"], args.data_licence, cff["license"])
    files["data/run.json"] = to_json(facts)
    files["data/configuration.json"] = to_json(settings)
    files["data/models.json"] = to_json(models(finished))
    made = {name: finished.json(name) for name in chosen if name.endswith(".json")}
    for problem in settings_problems(settings, made)[0]:
        raise InputError(f"{problem}. Run snakemake archive again, with the configuration of the run.")
    files["data/claims.json"] = to_json(claims(finished, chosen, made))
    if not args.images and "data/containers/images.json" in files:
        left_out["the container images"] = "data/containers/images.json"
    spent = took(json.loads(files[f"{HOST}/jobs.json"]))
    files |= texts_for_people(finished, facts, spent, left_out, licence)
    for name in ("verification", "replaying", "retraining"):
        files[PROGRAMS[name]] = joined(f"archiving.{name}.program").encode()
    description = described(finished, facts)
    files["codemeta.json"] = to_json(codemeta(cff, version))
    market &= set(files)
    free = licence if market else cff["license"]
    files[".zenodo.json"] = to_json(zenodo(cff, facts["title"], version, description, free))
    versions = {"python": platform.python_version(), "snakemake": pinned(files["data/requirements/workflow.txt"])}
    files["ro-crate-metadata.json"] = to_json(
        describe(files, facts, cff, description, versions, ended(finished, args.snakemake), market, licence)
    )
    return files


PROGRAMS = {"verification": "verify.py", "replaying": "replay.py", "retraining": "retrain.py"}


def sources(source: Source) -> dict[str, Content]:
    """The sources, and of them what people want to read without git."""
    files: dict[str, Content] = {"data/source.bundle": bundle(PROJECT, source.commit)}
    if source.dirty:
        files["data/source.patch"] = source.patch
    files["data/workflow/Snakefile"] = PROJECT / "Snakefile"
    files |= {f"data/workflow/rules/{path.name}": path for path in sorted(PROJECT.glob("rules/*.*"))}
    files |= {f"data/requirements/{path.name}": path for path in sorted(PROJECT.glob("envs/*.txt"))}
    files |= {f"data/containers/{path.name}": path for path in sorted(PROJECT.glob("containers/*.def"))}
    files["data/schema.yaml"] = PROJECT / "config" / "schema.yaml"
    for name in ("CITATION.cff", "LICENSE"):
        if not (PROJECT / name).is_file():
            raise InputError(
                f"{name}: no such file in the project. The archive says who made it and how it may be used."
            )
        files[name] = (PROJECT / name).read_bytes()
    return files


def commands(finished: Run, snakemake: Path) -> dict[str, Any]:
    """The command of each rule, as Snakemake recorded it."""
    found = {row["shellcmd"]: row["rule"] for row in records(finished, snakemake / "metadata") if row["shellcmd"]}
    return {"rules": [{"rule": rule, "command": command} for command, rule in sorted(found.items())]}


def run_record(finished: Run, source: Source, settings: Mapping[str, Any], rules: bytes) -> dict[str, Any]:
    """run.json."""
    return {
        "run": finished.name,
        "title": cards.title(settings),
        "leverages": finished.leverages,
        "command": "snakemake --cores all --configfile configuration.json",
        **json.loads(rules),
        "source": {
            "commit": source.commit, "date": source.date, "prefix": source.prefix, "dirty": source.dirty,
            "changed": source.changed,
        },
        "tolerances": {"replay": REPLAY_TOLERANCE},
    }  # fmt: skip


def claims(finished: Run, chosen: Mapping[str, Path], made: Mapping[str, Any]) -> dict[str, Any]:
    """The claims ledger of all decks.

    Raises
    ------
    InputError
        If there is a number on a slide that nothing explains.
    """
    pictures = {sha256(path): name for name, path in chosen.items() if name.endswith(".png")}
    decks = [
        deck_entry(name, path.read_bytes(), made, pictures) for name, path in chosen.items() if name.endswith(".pptx")
    ]
    for deck in decks:
        for claim in deck["claims"]:
            if claim["how"] == "unexplained":
                raise InputError(
                    f"{finished.folder}/{deck['deck']}, slide {claim['slide']}: no field that its notes cite gives "
                    f"{claim['number']} in {claim['text']!r}. Run deck again."
                )
    return {"decks": decks}


def texts_for_people(
    finished: Run, facts: Mapping[str, Any], spent: str, left_out: Mapping[str, str], licence: str | None
) -> dict[str, Content]:
    """README, model card and data card."""
    metrics = [finished.json(f"leverage-{leverage}/metrics.json") for leverage in finished.leverages]
    evidence = [finished.json(f"leverage-{leverage}/evidence.json") for leverage in finished.leverages]
    market = finished.json("market/summary.json")
    samples = {
        part: len(finished.path(f"samples/{part}.jsonl").read_bytes().splitlines())
        for part in ("train", "validation", "test")
    }
    settings = finished.configuration
    return {
        "README.md": cards.readme(facts, metrics, evidence, market, spent, left_out).encode(),
        "data/model-card.md": cards.model_card(
            finished.json("train/checkpoint.json"),
            finished.json("infer/trained/summary.json"),
            finished.json("model/parity.json"),
            evidence,
            {path.name: read_json(path) for path in sorted(finished.path("model").glob("parity-*.json"))},
        ).encode(),
        "data/data-card.md": cards.data_card(
            market, samples, settings["samples"], cards.how_to_get(settings), licence
        ).encode(),
    }


def described(finished: Run, facts: Mapping[str, Any]) -> str:
    """The archive in a sentence."""
    return (
        f"{facts['title']}: sources, settings, data, every answer of the model, results, figures and slides, with "
        "programs that verify, replay and retrain them."
    )


def pinned(requirements: Content) -> str:
    """The pinned version of Snakemake."""
    text = requirements if isinstance(requirements, bytes) else requirements.read_bytes()
    return next(line.partition(b"==")[2] for line in text.splitlines() if line.startswith(b"snakemake==")).decode()


def secrets(files: Mapping[str, Content], source: Source, settings: Mapping[str, Any]) -> list[str]:
    """What must not be published, one line each."""
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or ""
    if user in str(settings.get("deck", {}).get("author") or "").split():
        user = ""  # who wants to be named
    hosts = (socket.gethostname(), socket.getfqdn())
    scanner = Scanner(str(Path.home()), hosts, os.environ, str(PROJECT), user)
    programs = ("data/workflow/", "data/requirements/", "data/containers/", "data/schema.yaml", "data/source.patch")
    programs += tuple(PROGRAMS.values())
    found = scanner.name_problems(name for name in files if not name.startswith(programs))
    for name, content in files.items():
        program_text = name.startswith(programs) and not name.endswith(".sif")
        found += scanner.problems(readable(name, content), program_text)
    return found + scanner.problems(texts(PROJECT, source.commit), program_text=True)


if __name__ == "__main__":
    run(main, recorded=False)
