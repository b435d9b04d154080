"""Finished small runs of every kind that stretches the figures and slides: simulated, tested, made into a deck."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pptx import Presentation
from pptx.presentation import Presentation as Deck
from pptx.slide import Slide
from report_inputs import PICTURES, Run, edit_json, edit_lines, make_run, run_program

import deck
import evaluate
import simulate
from common.files import read_json, sha256, write_json
from report.theme import EVIDENCE_KEY, METRICS_KEY

LONG = "Qwen3-4B-Thinking-2507-with-a-name-that-goes-on-and-on"
TERMS = {"fee-bps": 4, "slippage-bps": 1.5, "funding-long-bps": 0.1, "funding-short-bps": -0.05, "latency": 2}
# Name to changes of make_run; "answer" replaces every answer of the trained model, "leverage" and "terms" say how
# it trades.
KINDS: dict[str, dict[str, Any]] = {
    "planted": {},
    "strong": {"hours": 300, "hits": 0.8},
    "chance": {"hours": 300, "hits": 0.5, "signal": (0.0, 0.0, 0.0)},
    "real": {"synthetic": False, "source": "csv", "name": "BTC-USD, hourly closes of late 2025"},
    "costly": {"hits": 0.45, "probe": True, "terms": TERMS, "synthetic": False, "source": "csv", "name": "BTC-USD"},
    "variants": {"variants": ("seed-1", "seed-2")},
    "constant": {"answer": "SELL"},
    "no position": {"answer": "HOLD"},
    "wiped out": {"leverage": 100, "hits": 0.2},
    "long names": {"model": LONG, "name": "A market whose name somebody wrote as if it were a sentence of its own"},
}
VERDICTS = {
    **dict.fromkeys(KINDS, "chance"),
    **{"strong": "skill", "constant": "constant_position", "no position": "no_position", "wiped out": "wiped_out"},
}


def with_evidence(folder: Path, **changes: Any) -> Run:
    """A run up to its evidence."""
    names = ("answer", "leverage", "terms", "probe", "variants")
    answer, leverage, terms, probe, variants = (changes.pop(name, None) for name in names)
    run = make_run(folder, **changes)
    if answer:
        answer_always(run, answer)
    at = ("--leverage", leverage or 2)
    costs = [part for name, value in (terms or {}).items() for part in (f"--{name}", value)]
    run_program(simulate.main, run.simulate, *at, "--max-invalid-share", 1, *costs)
    more = ["--probe", write_probe(run)] if probe else []
    if variants:  # the base model's answers, under other names
        more += ["--variants", *(f"{name}={run.folder / 'infer/base/decisions.jsonl'}" for name in variants)]
    run_program(evaluate.main, run.evaluate, *at, *more)
    return run


def write_probe(run: Run) -> Path:
    """infer/probe.json of a model that knows the period by its dates."""
    path, folder = run.folder / "infer/probe.json", run.folder
    found = {"prompts_changed": 40, "decisions_changed": 13, "share": 0.325, "interval": [0.2, 0.48]}
    inputs = {"samples": folder / "samples/test.jsonl", "decisions": folder / "infer/trained/decisions.jsonl"}
    probe = {
        "hours": 40,
        "confidence": 0.95,
        "control": {"asked_again": 40, "decisions_changed": 0},
        "changes": dict.fromkeys(("dates", "name", "price", "all"), found),
        "reading": "13 of 40 decisions changed.",
        "inputs": {role: sha256(file) for role, file in inputs.items()},
    }
    write_json(path, probe)
    return path


def answer_always(run: Run, word: str) -> None:
    """Let the trained model answer the same in every hour; HOLD stands for answers without a decision."""
    status = "unparsable" if word == "HOLD" else "ok"
    path = run.folder / "infer/trained/decisions.jsonl"
    edit_lines(path, lambda rows: [{**row, "decision": word, "status": status} for row in rows])
    count = len(path.read_text().splitlines())
    counts = {"buy": count * (word == "BUY"), "sell": count * (word == "SELL"), "unparsable": count * (word == "HOLD")}
    edit_json(run.folder / "infer/trained/summary.json", truncated=0, **counts)


def finished(folder: Path, **changes: Any) -> Run:
    """A run up to its figures; for these stand-ins, since drawing them is another test's matter."""
    run = with_evidence(folder, **changes)
    stand_in(run)
    return run


def stand_in(run: Run) -> None:
    """White pictures of the real sizes that say which results they are of."""
    results = run.folder / "leverage-2"
    sizes = {"equity_curve": (1984, 880), "bootstrap_fan": (1216, 592)}
    for name in PICTURES:
        note = PngInfo()
        note.add_text(METRICS_KEY, sha256(results / "metrics.json"))
        if name != "equity_curve":
            note.add_text(EVIDENCE_KEY, sha256(results / "evidence.json"))
        Image.new("RGB", sizes.get(name, (1024, 736)), "white").save(results / f"{name}.png", pnginfo=note)


def change_results(
    run: Run, metrics: Mapping[str, Any] | None = None, evidence: Mapping[str, Any] | None = None
) -> None:
    """Replace entries of metrics.json and evidence.json so that the files still belong together."""
    results = run.folder / "leverage-2"
    edit_json(results / "metrics.json", **(metrics or {}))
    inputs = read_json(results / "evidence.json")["inputs"] | {"metrics": sha256(results / "metrics.json")}
    edit_json(results / "evidence.json", **(evidence or {}), inputs=inputs)
    stand_in(run)


def presented(run: Run, *more: Any) -> Deck:
    """The deck of a finished run."""
    leverage = read_json(run.folder / "leverage-2/metrics.json")["leverage"]
    run_program(deck.main, run.deck, "--leverage", leverage, *more)
    return Presentation(str(run.folder / "leverage-2/deck.pptx"))


def made(folder: Path, *more: Any, **changes: Any) -> tuple[Run, Deck]:
    """A run with its deck."""
    run = finished(folder, **changes)
    return run, presented(run, *more)


def texts(slide: Slide) -> list[str]:
    """All text on a slide, cell by cell and paragraph by paragraph, without the slide's number."""
    found = []
    for shape in slide.shapes:
        if shape.has_table:
            found += [cell.text for row in shape.table.rows for cell in row.cells]
        elif shape.has_text_frame and shape.name != "Slide number":
            found += [paragraph.text for paragraph in shape.text_frame.paragraphs]
    return [text for text in found if text]


def notes(slide: Slide) -> str:
    """A slide's speaker notes."""
    return slide.notes_slide.notes_text_frame.text


def everything(slides: Deck) -> str:
    """All text of a deck, notes and descriptions of pictures included."""
    seen = [text for slide in slides.slides for text in [*texts(slide), notes(slide)]]
    pictures = [shape for slide in slides.slides for shape in slide.shapes if shape.shape_type == 13]
    return " ".join([*seen, *(picture._element.nvPicPr.cNvPr.get("descr") for picture in pictures)])


class Shelf:
    """Runs with their decks by kind, each made when it is first asked for.

    Parameters
    ----------
    folder
        Where they are made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: dict[str, tuple[Run, Deck]] = {}

    def __getitem__(self, kind: str) -> tuple[Run, Deck]:
        if kind not in self.runs:
            self.runs[kind] = made(self.folder / kind.replace(" ", "-"), "--author", "A. Person", **KINDS[kind])
        return self.runs[kind]
