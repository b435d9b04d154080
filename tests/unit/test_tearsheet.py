"""The tearsheet: what it holds, that its data stay data, and what it refuses."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_inputs import Run, edit_json, edit_lines, run_program
from tearsheet_inputs import ATTACK, HOURS, LONG, Page, command, draw, finished, made

import evaluate
import tearsheet
from common.errors import InputError
from common.files import read_json, read_jsonl, sha256
from report.theme import percent
from tearsheet_page.decisions import LEAST_TEXT
from tearsheet_page.figures import LARGEST_SVG
from tearsheet_page.markup import printable
from tearsheet_page.tables import METRICS

SECTIONS = ["Verdict", "Figures", "Tests", "Strategies", "Terms", "Trades", "Decisions", "Provenance"]
FORBIDDEN = re.compile(r"alpha|\bedge\b|skill|outperform", re.IGNORECASE)


def refused(run: Run, *more: Any) -> str:
    output = run.folder / "leverage-2/tearsheet.html"
    output.unlink(missing_ok=True)
    with pytest.raises(InputError) as error:
        run_program(tearsheet.main, command(run), *more)
    assert not output.exists()
    return str(error.value)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Not to be changed by a test."""
    return finished(tmp_path_factory.mktemp("run"), {3: ATTACK, 5: LONG, 7: "", 8: "a\0b\u202ec"})


@pytest.fixture(scope="module")
def text(run: Run) -> str:
    return made(run)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Run:
    """A run that a test may change."""
    shutil.copytree(run.folder, tmp_path / "copy")
    return Run(tmp_path / "copy")


def test_the_sections_stand_in_their_order_and_every_link_leads_somewhere(page: Page) -> None:
    assert [data for path, data in page.texts if path.endswith("/h2")] == SECTIONS
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    links = page.attributes("href")
    assert {link.removeprefix("#") for link in links if link.startswith("#")} <= set(ids)
    assert set(page.attributes("aria-labelledby")) <= set(ids)


def test_nothing_is_fetched_from_elsewhere(text: str, page: Page) -> None:
    addresses = [*page.attributes("src"), *page.attributes("href")]
    assert all(address.startswith(("#", "data:")) for address in addresses)
    styles, scripts = (page.text(tag) for tag in ("style", "script"))
    assert not re.search(r"url\(|@import|https?:", styles)
    assert not re.search(r"fetch|XMLHttpRequest|import\b|https?:|innerHTML|eval\(", scripts)
    assert {"onclick", "onload", "onerror", "style"}.isdisjoint(name for _, given in page.elements for name in given)
    (policy,) = [given["content"] for _, given in page.elements if given.get("http-equiv")]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_the_verdict_stands_first_in_its_own_words(run: Run, page: Page) -> None:
    verdict = read_json(run.folder / "leverage-2/evidence.json")["verdict"]
    items = [data for path, data in page.texts if path == "html/body/main/section/ul/li"]
    assert items == [sentence for sentence in verdict["sentences"].values() if sentence]
    assert verdict["summary"] in page.text("p")


def test_a_synthetic_market_is_called_so_at_the_top_and_a_real_one_is_not(page: Page, tmp_path: Path) -> None:
    assert page.text("header").startswith("SYNTHETIC MARKET: Synthetic BTC-like hourly market.")
    real = Page(made(finished(tmp_path, synthetic=False, source="csv", name="BTC-USD <closes>")))
    assert "synthetic" not in real.text("header").lower()
    assert "BTC-USD <closes>, 120 hours" in real.text("header")


def test_the_strategies_table_has_every_metric(run: Run, page: Page) -> None:
    rows = read_json(run.folder / "leverage-2/metrics.json")["strategies"]
    for row in rows:
        assert set(row) <= {*METRICS, "key", "label", "liquidated"}
        for key, value in row.items():
            if key in METRICS and value is not None:
                assert METRICS[key][1](value) in page.text("td")
    assert "Alpha" not in page.text("th")


def test_every_test_stands_with_statistic_p_value_method_seed_and_verdict(run: Run, text: str) -> None:
    for name, test in read_json(run.folder / "leverage-2/evidence.json")["tests"].items():
        (part,) = re.findall(rf'<details id="test-{name}".*?</details>', text, re.DOTALL)
        assert html.escape(test["method"]) in part
        for setting, value in test["settings"].items():
            if isinstance(value, int) and not isinstance(value, bool):
                assert f'<th scope="row">settings: {setting.replace("_", " ")}</th><td>{value:,}</td>' in part
        assert ("none: nothing is drawn" if test["seed"] is None else f"<td>{test['seed']}</td>") in part
        (line,) = re.findall(rf'<tr><th scope="row"><a href="#test-{name}">.*?</tr>', text)
        assert test["verdict"] in line
        if test["p_value"] is not None and test["p_value"] > 0.001:
            assert f"{test['p_value']:.2f}"[:4] in line


def test_the_spread_over_variants_stands_beside_the_base_model(copy: Run, text: str) -> None:
    assert "Variants on the same hours" not in text  # there is one only
    other = copy.folder / "infer/base/decisions.jsonl"
    run_program(evaluate.main, copy.evaluate, "--variants", f"seed-2={other}")
    found = read_json(copy.folder / "leverage-2/evidence.json")["tests"]["base"]["variants"]
    draw(copy.folder / "leverage-2")
    (part,) = re.findall(r'<details id="test-base".*?</details>', made(copy), re.DOTALL)
    for name in ("trained", "seed-2"):
        cells = f"<td>{percent(found['total_return'][name])}</td><td>{found['invalid'][name]}</td>"
        assert f'<th scope="row">{name}</th>{cells}' in part


def test_words_that_the_evidence_withholds_appear_only_where_the_model_wrote_them(tmp_path: Path) -> None:
    run = finished(tmp_path, {4: "My alpha and my edge show skill."}, hits=0.5)
    words = read_json(run.folder / "leverage-2/evidence.json")["verdict"]["words"]
    assert not any(words.values())
    said = Page(made(run)).texts
    spoken = [data for path, data in said if "style" not in path and "script" not in path and FORBIDDEN.search(data)]
    assert spoken == ["My alpha and my edge show skill."]


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_a_model_that_never_changes_sides_has_its_page(tmp_path: Path, side: str) -> None:
    page = Page(made(finished(tmp_path, side=side, hours=60)))
    assert "a constant position" in page.text("section")
    assert "no timing to test" in page.text("dl")
    assert "not applicable" in page.text("td")


def test_a_model_that_lost_everything_has_its_page(tmp_path: Path) -> None:
    run = finished(tmp_path, more=("--leverage", "90"))
    page = Page(made(run, "--leverage", "90"))
    assert "lost all of its capital" in page.text("li")
    assert "\N{MINUS SIGN}100.00%" in page.text("dd")


def test_costs_stand_beside_what_was_earned_and_late_decisions_are_never_filled(tmp_path: Path) -> None:
    page = Page(made(finished(tmp_path, terms=("--fee-bps", "5", "--latency", "2"))))
    assert "filled 2 hours after its own close" in page.text("p")
    assert sum(data.startswith("costs $") for path, data in page.texts if path.endswith("td/small")) > HOURS / 2
    assert page.text("td").count("not filled") == 2


def test_all_decisions_stand_in_the_page_with_the_models_words(run: Run, page: Page) -> None:
    rows = read_jsonl(run.folder / "infer/trained/decisions.jsonl")
    cells = page.text("td")
    for row in rows:
        assert printable(row["text"]) in cells
        assert row["id"] in page.text("small")
    earned = [float(given["data-earned"]) for tag, given in page.elements if tag == "tr" and "data-earned" in given]
    metrics = read_json(run.folder / "leverage-2/metrics.json")
    final = next(row["final_capital"] for row in metrics["strategies"] if row["key"] == "trained")
    assert sum(earned) == pytest.approx(final - metrics["capital"])
    assert len(earned) == len(rows) == HOURS


def test_a_decision_takes_little_of_the_page(text: str) -> None:
    # So that the 1706 of the demo fit into a page of less than 3 MB together with the figures.
    rows = re.findall(r"<tr data-earned.*?</tr>", text, re.DOTALL)
    assert len(rows) == HOURS
    assert np.median([len(row.encode()) for row in rows]) < 500


def test_provenance_names_every_input_by_its_hash(run: Run, page: Page) -> None:
    cells = page.text("td")
    for value in command(run):
        if isinstance(value, Path) and value.suffix != ".html":
            assert sha256(value) in cells, value
    assert str(run.folder) not in cells


def test_the_same_inputs_give_the_same_bytes(run: Run, text: str) -> None:
    assert made(run) == text


def test_the_program_loads_nothing_heavy() -> None:
    code = "import sys, tearsheet; print(*sys.modules)"
    scripts = Path(tearsheet.__file__).parent
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=scripts, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "numpy" in loaded
    assert {"pandas", "scipy", "matplotlib", "pptx", "PIL", "arch", "torch"}.isdisjoint(loaded)


def test_planted_markup_stays_text(text: str, page: Page) -> None:
    assert ATTACK in page.text("td")
    assert [given["src"][:5] for tag, given in page.elements if tag == "img"] == ["data:", "data:"]
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert [tag for tag, _ in page.elements].count("b") == 2  # of the figures' captions


def test_planted_markup_would_be_found_if_it_were_not_escaped(text: str) -> None:
    # The control of the test above.
    with pytest.raises(AssertionError):
        Page(text.replace(html.escape(ATTACK), ATTACK))


def test_of_a_large_svg_its_picture_is_shown(copy: Run) -> None:
    here = copy.folder / "leverage-2"
    drawn = (here / "leverage.svg").read_text()
    shutil.copy(here / "equity_curve.png", here / "leverage.png")
    both = ("--figures", here / "leverage.svg", here / "leverage.png")
    (address,) = Page(made(copy, *both)).attributes("src")
    assert address.startswith("data:image/svg+xml,")
    (here / "leverage.svg").write_text(drawn.replace("</svg>", "<path/>" * (LARGEST_SVG // 7) + "</svg>"))
    (address,) = Page(made(copy, *both)).attributes("src")
    assert address.startswith("data:image/png;base64,")


def test_a_page_without_figures_can_be_made(copy: Run) -> None:
    assert Page(made(copy, "--figures")).attributes("src") == []


def test_an_answer_that_is_too_long_for_the_page_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tearsheet_page.decisions.TEXT_BUDGET", 1)
    short = Page(made(run))
    assert f"{len(LONG) - LEAST_TEXT:,} characters left out" in short.text("td")
    assert f"Answers of more than 400 characters are shortened in the middle (1 of {HOURS})" in short.text("p")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: edit_json(f / "leverage-2/evidence.json", leverage=3.0), "is for leverage 3.0, not 2"),
        (lambda f: edit_json(f / "leverage-2/evidence.json", verdict={}), 'no "verdict.kind". Run evaluate again'),
        (lambda f: edit_json(f / "leverage-2/evidence.json", tests={}), 'no "tests.exposure_matched_null'),
        (lambda f: edit_json(f / "leverage-2/metrics.json", extra=1), "computed from another metrics file"),
        (lambda f: edit_json(f / "market/summary.json", extra=1), "computed from another market file"),
        (lambda f: edit_json(f / "infer/trained/summary.json", extra=1), "computed from another trained_summary file"),
        (lambda f: edit_lines(f / "infer/trained/decisions.jsonl", lambda rows: rows[1:]), "another trained file"),
        (lambda f: (f / "leverage-2/equity.csv").write_text("timestamp\n"), "another equity file"),
        (lambda f: (f / "leverage-2/trades.csv").unlink(), "trades.csv: no such file. Run simulate."),
        (lambda f: drop_line(f / "leverage-2/trades.csv"), "trades of base, metrics.json counts"),
        (lambda f: endless_cell(f / "leverage-2/trades.csv"), "trades.csv: not a table in UTF-8"),
        (lambda f: edit_json(f / "train/checkpoint.json", parameters=3), 'int, not dict, under "parameters"'),
        (lambda f: (f / "leverage-2/leverage.svg").unlink(), "leverage.svg: no such file. Run plot."),
        (lambda f: (f / "leverage-2/leverage.svg").write_text("<svg"), "not an SVG or PNG picture, or cut short"),
        (lambda f: (f / "leverage-2/equity_curve.png").write_bytes(b"\x89PNG\r\n\x1a\n"), "cut short"),
        (lambda f: plain_picture(f / "leverage-2/equity_curve.png"), "does not say which metrics.json"),
        (lambda f: other_note(f / "leverage-2/leverage.svg"), "was drawn of another evidence.json"),
    ],
)
def test_inputs_that_do_not_belong_together_are_refused(copy: Run, damage: Any, message: str) -> None:
    damage(copy.folder)
    found = refused(copy)
    assert message in found
    assert "\n" not in found


def test_another_leverage_is_refused(copy: Run) -> None:
    assert "is for leverage 2.0, not 3" in refused(copy, "--leverage", "3")


def test_an_answer_without_its_words_is_refused(tmp_path: Path) -> None:
    run = finished(tmp_path, {2: None})
    assert 'decisions.jsonl, line 3: no text under "text". Run infer again.' in refused(run)


def drop_line(path: Path) -> None:
    """Lose the last row."""
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


def endless_cell(path: Path) -> None:
    """Open a quotation that never ends."""
    path.write_text(path.read_text() + '"' + "9" * 200_000)


def plain_picture(path: Path) -> None:
    Image.new("RGB", (9, 9), "white").save(path)


def other_note(path: Path) -> None:
    path.write_text(re.sub(r"[0-9a-f]{64}", "0" * 64, path.read_text()))
