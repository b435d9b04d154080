"""A small, made-up run packed for the tests of the archive, and ways to tamper with it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from report_inputs import Run, edit_json, make_run, run_program

import archive
import deck
import evaluate
import plot
import simulate
import tearsheet
from archiving.pack import manifest, write_zip
from archiving.verification.ledger import LEDGER
from archiving.verification.program import verify
from common.files import sha256, write_json, write_jsonl

NAME = "made"
METRICS = "data/results/leverage-2/metrics.json"
EQUITY = "data/results/leverage-2/equity.csv"
DECISIONS = "data/results/infer/trained/decisions.jsonl"
DECK = "data/results/leverage-2/deck.pptx"
CFF = """\
cff-version: 1.2.0
message: Cite it.
title: A study
abstract: What it is about.
authors:
  - family-names: Doe
    given-names: Jo
    orcid: https://orcid.org/0000-0002-1825-0097
license: Apache-2.0
keywords: [trading]
"""
CONFIGURATION: dict[str, Any] = {
    "run": NAME,
    "device": "cpu",
    "market": {
        "name": "Synthetic BTC-like hourly market",
        "source": "synthetic",
        "csv": {"path": None, "sha256": None},
        "download": {"url": None, "sha256": None},
    },
    "samples": {"prompt": "report"},
    "base_model": {"name": "Tiny-Qwen3", "source": "tiny", "folder": None, "hub": {"cache": None}},
    "containers": {"folder": "/home/me/images", "scratch": "/home/me/scratch", "bootstrap": "localimage"},
    "train": {"iterations": 500, "reward": {"scale": 1000}},
    "infer": {"max_new_tokens": 24, "trained": {"temperature": 0}, "base": {"temperature": 1}},
    "simulate": {"leverage": [2], "capital": 100000},
    "evaluate": {"variants": []},
}


def make_project(folder: Path) -> Path:
    """A git repository with what an archive takes of the project."""
    texts = {
        "Snakefile": "rule all:\n",
        "rules/market.smk": "# market\n",
        "envs/workflow.txt": "snakemake==9.27.1\n",
        "config/schema.yaml": "type: object\n",
        "CITATION.cff": CFF,
        "LICENSE": "Apache-2.0\n",
        ".gitignore": "/results/\n/.snakemake/\n/containers/*.sif\n",
    }
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "init", "--quiet")
    commit(folder)
    return folder


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody whom no machine is named after."""
    who = ["-c", "user.name=Jo Doe", "-c", "user.email=jo@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "A state")


def make_finished(project: Path, **settings: Any) -> Run:
    """A made-up run that went through simulate, evaluate, plot and deck."""
    results = project / "results" / NAME
    run = make_run(results, **settings)
    rows = []
    bars = [line.split(",") for line in (results / "market/bars.csv").read_text().splitlines()[1:]]
    closes = {row[0]: float(row[-1]) for row in bars}
    after = dict(zip(closes, [*closes.values()][1:], strict=False))
    for line in (results / "infer/trained/decisions.jsonl").read_text().splitlines():
        row = json.loads(line)
        facts = {"id": row["id"], "timestamp": row["timestamp"], "current_price": closes[row["timestamp"]]}
        facts["next_price"] = after[row["timestamp"]]
        rows.append({"prompt": [{"role": "user", "content": row["timestamp"]}], "label": "", "metadata": facts})
    write_jsonl(results / "samples/test.jsonl", rows)
    for model in ("base", "trained"):
        write_json(results / f"model/{model}/config.json", {"architectures": ["Qwen3ForCausalLM"]})
        (results / f"model/{model}/model.safetensors").write_bytes(model.encode() * 9)
    checkpoint = json.loads((results / "train/checkpoint.json").read_text())
    write_json(results / "train" / checkpoint["checkpoint"] / "metadata.json", {"format": "torch_dist"})
    settings_ = checkpoint["parameters"] | {"seed": 0}
    edit_json(results / "train/checkpoint.json", weights_sha256="c" * 64, parameters=settings_)
    inputs = {"manifest": sha256(results / "train/checkpoint.json")}
    edit_json(results / "model/parity.json", inputs=inputs)
    finish(run)
    for file, rule in (("leverage-2/metrics.json", "simulate"), ("market/bars.csv", "market")):
        coded = base64.b64encode(f"results/{NAME}/{file}".encode()).decode()
        record = {"rule": rule, "shellcmd": f"python scripts/{rule}.py", "input": [], "endtime": 1.7e9}
        write_json(project / ".snakemake/metadata" / coded, record)
    return run


def finish(run: Run, leverage: str = "2", variants: Sequence[str] = ()) -> None:
    """Everything from simulate on; `variants` are NAME=FILE."""
    ledger = run.folder.parent / "ledger"
    for main, command in (
        (simulate.main, run.simulate),
        (evaluate.main, [*run.evaluate, "--ledger", ledger, "--variants", *variants]),
        (plot.main, run.plot),
        (deck.main, run.deck),
    ):
        given = [str(part).replace("leverage-2/", f"leverage-{leverage}/") for part in command]
        run_program(main, given, "--leverage", leverage) if "--leverage" in given else run_program(main, given)
    here = run.folder / f"leverage-{leverage}"
    figures = sorted(path for path in here.iterdir() if path.suffix in (".svg", ".png"))
    page = [
        part
        for name in ("metrics.json", "evidence.json", "equity.csv", "trades.csv")
        for part in (f"--{name.partition('.')[0]}", here / name)
    ]
    page += [
        "--decisions",
        run.folder / "infer/trained/decisions.jsonl",
        "--market",
        run.folder / "market/summary.json",
    ]
    page += [
        "--inference",
        run.folder / "infer/trained/summary.json",
        "--manifest",
        run.folder / "train/checkpoint.json",
    ]
    page += ["--figures", *figures, "--leverage", leverage, "--output", here / "tearsheet.html"]
    run_program(tearsheet.main, page)


def recorded_job(project: Path, image: str | None, makes: str, started: str = "2026-01-01T00:00:00Z") -> None:
    """What a job writes down that made a result."""
    job = {"program": "a", "makes": makes, "started": started, "ended": "ok", "seconds": 1.0, "image": image}
    job |= {"node": {"processor": "Kind A"}, "slurm": None, "gpus": []}
    folder = project / f"results/{NAME}/host"
    write_json(folder / f"job-{len(list(folder.glob('*')))}.json", job)


def pack(project: Path, *more: str, configuration: Any = CONFIGURATION) -> Path:
    """Call archive.py as its rule does; the ZIP file."""
    output = project / "results" / NAME / "archive" / f"{NAME}.zip"
    command = ["--results", project / "results" / NAME, "--configuration", json.dumps(configuration)]
    command += ["--leverages", "2", "--ledger", project / "results/ledger", "--snakemake", project / ".snakemake"]
    command += ["--market-data", "--no-unmasked-answers", "--no-weights", "--no-images", "--no-allow-dirty"]
    command += ["--output", output]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "PROJECT", project)
        run_program(archive.main, command, *more)
    return output


def made_in_containers(project: Path, content: bytes = b"an image") -> tuple[Path, str]:
    """An image that a run was made in, as its job says; and its SHA-256."""
    image = project / "containers/simulate-abc.sif"
    image.parent.mkdir(exist_ok=True)
    image.write_bytes(content)
    known = {"simulate-abc.sif": sha256(image), "simulate-old.sif": "0" * 64, "plot-old.sif": "1" * 64}
    write_json(project / f"results/{NAME}/containers.json", known)
    recorded_job(project, "simulate-old.sif", "leverage-2/equity.csv")
    recorded_job(project, image.name, "leverage-2/equity.csv", started="2026-01-02T00:00:00Z")  # made again
    recorded_job(project, "plot-old.sif", "leverage-3/equity_curve.png")  # not of this archive
    recorded_job(project, "plot-old.sif", "leverage-2/gone.png")
    return image, known[image.name]


def refused(project: Path, capsys: pytest.CaptureFixture[str], *more: str) -> list[str]:
    """What is said when the archive is refused for what it would publish; nothing is written then."""
    with pytest.raises(SystemExit) as error:
        pack(project, *more)
    assert error.value.code == 1
    assert not (project / f"results/{NAME}/archive").exists()
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("archive: error: ")]


def read(zip_file: Path) -> dict[str, bytes]:
    """An archive's files."""
    with zipfile.ZipFile(zip_file) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def tampered(zip_file: Path, to: Path, *changes: Callable[[dict[str, bytes]], None]) -> Path:
    """A copy of an archive with changes and, as a forger would, with new checksums, in the crate's description too."""
    files = read(zip_file)
    for change in changes:
        change(files)
    try:
        crate = json.loads(files["ro-crate-metadata.json"])
        for row in crate["@graph"]:
            if "sha256" in row and row["@id"] in files:
                row["sha256"] = hashed(files[row["@id"]])
        files["ro-crate-metadata.json"] = json.dumps(crate).encode()
    except KeyError:
        pass  # a broken description is what is being tested
    payload = {name: content for name, content in files.items() if name.startswith("data/")}
    files["manifest-sha256.txt"] = manifest(payload)
    tags = {n: c for n, c in files.items() if n not in payload and n != "tagmanifest-sha256.txt"}
    files["tagmanifest-sha256.txt"] = manifest(tags)
    write_zip(to, files)
    return to


def in_deck(part: str, change: Callable[[bytes], bytes]) -> Callable[[dict[str, bytes]], None]:
    """A change of a part of the deck."""

    def done(files: dict[str, bytes]) -> None:
        name = "data/results/leverage-2/deck.pptx"
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(files[name])) as before, zipfile.ZipFile(buffer, "w") as after:
            for entry in before.namelist():
                content = before.read(entry)
                new = change(content) if entry == part else content
                assert entry != part or new != content
                after.writestr(entry, new)
        files[name] = buffer.getvalue()

    return done


def in_json(name: str, change: Callable[[Any], None]) -> Callable[[dict[str, bytes]], None]:
    """A change of a JSON file."""

    def done(files: dict[str, bytes]) -> None:
        value = json.loads(files[name])
        change(value)
        files[name] = json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"

    return done


def hashed(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def problems(place: Path) -> list[str]:
    """What verify.py finds."""
    return verify(place)[1]


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """A change of a part of a deck's text."""
    return lambda content: content.replace(old, new, 1)


def in_text(name: str, old: str, new: str) -> Callable[[dict[str, bytes]], None]:
    """A change of a text."""

    def done(files: dict[str, bytes]) -> None:
        before = files[name]
        files[name] = before.replace(old.encode(), new.encode(), 1)
        assert files[name] != before

    return done


def shown_return(packed: Path) -> str:
    """The trained model's return as slide 4 shows it."""
    ledger = json.loads(read(packed)[LEDGER])
    return next(
        claim["number"]
        for claim in ledger["decks"][0]["claims"]
        if claim.get("field") == "strategies.trained.total_return"
    )
