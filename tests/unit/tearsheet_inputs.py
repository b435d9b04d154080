"""A finished run for the tests of the tearsheet, and its page read back."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from report_inputs import Run, edit_json, edit_lines, make_run, run_program

import evaluate
import simulate
import tearsheet
from common.files import read_jsonl, sha256
from report.theme import EVIDENCE_KEY, METRICS_KEY
from tearsheet_page.markup import VOID

HOURS = 120
ATTACK = (
    "</td></table></script><script>document.title = 'executed'</script>"
    "<img src=x onerror=\"document.title = 'executed'\"><!-- ' \" & &lt; --> <b>bold</b>"
)
LONG = "I think so. " * 200 + "<answer>Buy</answer>"
SVG = (
    '<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/svg11.dtd">\n'
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">\n <metadata>{note}</metadata>\n <!-- 100% -->\n'
    ' <path id="a" d="M 0 0 \nL 9 9 \n" style="stroke: #0072b2"/>\n <text>90% & more</text>\n</svg>\n'
)  # fmt: skip


class Page(HTMLParser):
    """Elements in order, with their attributes and text; complains about what does not nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []  # (path of tags, text)
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(("/".join(self.open), data))

    def text(self, tag: str = "") -> str:
        """All text inside `tag`."""
        return " ".join(data for path, data in self.texts if not tag or tag in path.split("/"))

    def attributes(self, name: str) -> list[str]:
        return [given[name] or "" for _, given in self.elements if name in given]


def finished(
    folder: Path,
    words: dict[int, Any] | None = None,
    side: str | None = None,
    terms: tuple[str, ...] = (),
    more: tuple[str, ...] = (),
    **changes: Any,
) -> Run:
    """A run up to its figures.

    Parameters
    ----------
    words
        Replaces what the model wrote, by the number of the decision.
    side
        What the model decides every time.
    terms, more
        Options for simulate, and for simulate and evaluate.
    """
    run = make_run(folder, **{"hours": HOURS, **changes})
    decisions = folder / "infer/trained/decisions.jsonl"
    words = words or {}
    edit_lines(decisions, lambda rows: [row | {"text": words.get(n, row["text"])} for n, row in enumerate(rows)])
    if side:
        edit_lines(decisions, lambda rows: [row | {"decision": side, "status": "ok"} for row in rows])
        counts = {"buy": 0, "sell": 0, "truncated": 0, "unparsable": 0, side.lower(): len(read_jsonl(decisions))}
        edit_json(folder / "infer/trained/summary.json", **counts)
    run_program(simulate.main, run.simulate, *terms, *more)
    run_program(evaluate.main, run.evaluate, *more)
    draw(folder / "leverage-2")
    return run


def draw(folder: Path) -> None:
    """Stand-ins of the figures, which say what they are of."""
    note = PngInfo()
    note.add_text(METRICS_KEY, sha256(folder / "metrics.json"))
    Image.new("RGB", (9, 9), "white").save(folder / "equity_curve.png", pnginfo=note)
    text = f"{EVIDENCE_KEY}: {sha256(folder / 'evidence.json')}"
    (folder / "leverage.svg").write_text(SVG.replace("&", "&amp;").format(note=text))


def command(run: Run) -> list[Any]:
    f, here = run.folder, run.folder / "leverage-2"
    return [
        *("--metrics", here / "metrics.json", "--evidence", here / "evidence.json"),
        *("--equity", here / "equity.csv", "--trades", here / "trades.csv"),
        *("--decisions", f / "infer/trained/decisions.jsonl", "--market", f / "market/summary.json"),
        *("--inference", f / "infer/trained/summary.json", "--manifest", f / "train/checkpoint.json"),
        *("--leverage", "2", "--output", here / "tearsheet.html"),
        *("--figures", here / "equity_curve.png", here / "leverage.svg"),
    ]


def made(run: Run, *more: Any) -> str:
    run_program(tearsheet.main, command(run), *more)
    return (run.folder / "leverage-2/tearsheet.html").read_text(encoding="utf-8")
