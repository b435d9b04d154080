"""What the slides say of the tests: only the words that passed, the p-value, who was better, on which terms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from report_inputs import run_program
from report_runs import (
    KINDS,
    Shelf,
    change_results,
    everything,
    finished,
    made,
    notes,
    presented,
    stand_in,
    texts,
    with_evidence,
)

import evaluate
from common.errors import InputError
from common.files import read_json
from report import tested

WORDS = {word: re.compile(rf"\b{word}", re.IGNORECASE) for word in ("alpha", "edge", "skill", "outperform")}


@pytest.fixture(scope="module")
def decks(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("decks"))


def evidence(decks: Shelf, kind: str) -> dict[str, Any]:
    return read_json(decks[kind][0].folder / "leverage-2/evidence.json")


def metrics(decks: Shelf, kind: str) -> dict[str, Any]:
    return read_json(decks[kind][0].folder / "leverage-2/metrics.json")


@pytest.mark.parametrize("kind", KINDS)
def test_the_four_words_stand_in_a_deck_only_where_the_verdict_allows_them(decks: Shelf, kind: str) -> None:
    allowed, said = evidence(decks, kind)["verdict"]["words"], everything(decks[kind][1])
    assert {word for word, pattern in WORDS.items() if pattern.search(said)} <= {w for w in allowed if allowed[w]}


def test_the_four_words_do_stand_in_the_deck_of_a_strong_trader(decks: Shelf) -> None:
    # The control: with nothing but refusals the test above would pass on empty slides.
    said = everything(decks["strong"][1])
    assert all(evidence(decks, "strong")["verdict"]["words"].values())
    assert all(pattern.search(said) for pattern in WORDS.values())
    assert not any(evidence(decks, "chance")["verdict"]["words"].values())


def test_the_words_follow_the_verdict_and_nothing_else(tmp_path: Path) -> None:
    # The same numbers with another verdict: what was said is said no more.
    run = finished(tmp_path, **KINDS["strong"])
    found = read_json(run.folder / "leverage-2/evidence.json")["verdict"]
    sentences = {"chance": "It cannot be told from chance (p = 0.40)."}
    verdict = found | {"kind": "chance", "words": dict.fromkeys(found["words"], False), "sentences": sentences}
    change_results(run, evidence={"verdict": verdict})
    said = everything(presented(run))
    assert not [word for word, pattern in WORDS.items() if pattern.search(said)]
    assert sentences["chance"] in said


@pytest.mark.parametrize("kind", ["planted", "chance", "real", "long names"])
def test_a_result_like_chance_is_called_that_with_its_p_value(decks: Shelf, kind: str) -> None:
    p_value = tested.probability(evidence(decks, kind)["tests"]["exposure_matched_null"]["p_value"])
    slides = decks[kind][1].slides
    for number in (3, 5):
        assert any("cannot be told from chance" in t and p_value in t for t in texts(slides[number])), number
    row = next(row for row in table(slides[3]) if "(GRPO)" in row[0])
    assert row[-1].startswith(f"Cannot be told from chance ({p_value})")


def test_a_result_that_differs_from_chance_stands_among_what_was_shown(decks: Shelf) -> None:
    slides = decks["strong"][1].slides
    for number, heading in ((3, "Key insight"), (5, "What this run shows")):
        box = next(
            s.text_frame.text for s in slides[number].shapes if s.has_text_frame and heading in s.text_frame.text
        )
        assert "its timing differs from chance" in box


@pytest.mark.parametrize("kind", ["planted", "chance", "constant", "no position", "long names"])
def test_a_constant_position_that_was_better_is_named(decks: Shelf, kind: str) -> None:
    rows = {row["key"]: row for row in metrics(decks, kind)["strategies"]}
    capital = {key: row["final_capital"] for key, row in rows.items()}
    for number in (3, 5):
        said = " ".join(texts(decks[kind][1].slides[number]))
        beat = re.search(r"((?:Always \w+ \([^)]*\)(?: and )?)+) beat it", said)
        better = [key for key in ("always_buy", "always_sell") if capital[key] > capital["trained"]]
        assert {rows[key]["label"] for key in better} == set(re.findall(r"Always \w+", beat[0] if beat else ""))


def table(slide: object) -> list[list[str]]:
    (found,) = [shape.table for shape in slide.shapes if shape.has_table]
    return [[cell.text for cell in row.cells] for row in found.rows]


def number_in(text: str) -> float:
    return float(re.match(r"[+\N{MINUS SIGN}]?[\d,.]+", text)[0].replace(",", "").replace("\N{MINUS SIGN}", "-"))


def test_the_intervals_are_those_of_the_bootstrap(decks: Shelf) -> None:
    test = evidence(decks, "planted")["tests"]["bootstrap"]
    header, *rows = table(decks["planted"][1].slides[6])
    assert header[0] == "Strategy"
    assert "95% interval" in header[1]
    names = ["Always Buy", "Always Sell", "Momentum over 24 hours", "The 5/20 hour crossover"]
    assert sorted(row[0] for row in rows) == sorted([*names, "Tiny-Qwen3 (GRPO)", "Tiny-Qwen3 (base)"])
    own = next(row for row in rows if "(GRPO)" in row[0])
    for cell, interval, scale in (
        (own[1], test["interval"], 100),
        (own[2], test["sharpe"]["interval"], 1),
        (own[3], test["max_drawdown"]["interval"], 100),
    ):
        low, high = (number_in(part) for part in re.search(r"\((.+)\)", cell)[1].split(" to "))
        assert [low, high] == pytest.approx([scale * bound for bound in interval], abs=0.06)
    assert own[4] == "the model itself"


def test_several_variants_are_tested_together_and_their_spread_is_shown(decks: Shelf) -> None:
    found = evidence(decks, "variants")["tests"]
    cells = {row[0]: row[1:] for row in table(decks["variants"][1].slides[7])}
    assert "Reality check over 3 variants (Hansen)" in cells
    median, bounds, verdict = cells["Total return of the 3 variants"]
    spread = found["base"]["variants"]
    assert number_in(median.removeprefix("median ")) == pytest.approx(100 * spread["median"], abs=0.06)
    low, high = (number_in(part) for part in bounds.split(" to "))
    assert [low, high] == pytest.approx([100 * spread[end] for end in ("lowest", "highest")], abs=0.06)
    assert verdict == "reported"
    # The control: of one variant there is nothing to show.
    assert not any("variants" in row[0] for row in table(decks["planted"][1].slides[7]))


@pytest.mark.parametrize("kind", ["planted", "strong", "chance"])
def test_the_corrected_p_values_are_those_of_the_verdicts_sentence(decks: Shelf, kind: str) -> None:
    found = evidence(decks, kind)
    sentence = found["verdict"]["sentences"]["outperform"]
    said = dict(re.findall(r"([^,.]+?) \((p [=<] [\d.]+)\)", sentence))
    assert said
    rows = {row[0].lower(): row[4] for row in table(decks[kind][1].slides[6])[1:]}
    for label, p_value in said.items():
        name = re.sub(r"^.*(above|outperformed|and) ", "", label).strip().lower()
        assert rows[name].endswith(p_value), (label, rows[name])


def test_every_test_stands_in_the_table_with_its_verdict(decks: Shelf) -> None:
    tests = evidence(decks, "planted")["tests"]
    rows = table(decks["planted"][1].slides[7])
    assert rows[0] == ["Test", "Statistic", "p, 95% interval", "Verdict"]
    known = (
        "exposure_matched_null", "regression", "timing", "bootstrap", "sharpe", "reality_check", "base", "baselines",
        "sensitivity", "leakage",
    )  # fmt: skip
    assert [row[3] for row in rows[1:]] == [tests[name]["verdict"] for name in known]
    assert set(tests) == set(known)
    assert rows[1][2] == tested.probability(tests["exposure_matched_null"]["p_value"])


def test_the_gap_between_the_splits_is_said_to_have_tails_over_it(decks: Shelf) -> None:
    (row,) = [row for row in table(decks["planted"][1].slides[7]) if row[0] == "Gap between training and test hours"]
    assert row[1] == "no bar shared but tails (2.0%), 4 to spare"
    assert "tests.leakage.settings.tail" in notes(decks["planted"][1].slides[7])


def test_evidence_from_before_the_tails_were_recorded_is_refused(tmp_path: Path) -> None:
    run = finished(tmp_path)
    tests = read_json(run.folder / "leverage-2/evidence.json")["tests"]
    del tests["leakage"]["settings"]["tail"]
    change_results(run, evidence={"tests": tests})
    with pytest.raises(InputError, match=r'no "tests.leakage.settings.tail"\. Run evaluate again'):
        presented(run)


@pytest.mark.parametrize("kind", ["constant", "no position"])
def test_what_cannot_be_tested_has_no_numbers(decks: Shelf, kind: str) -> None:
    rows = table(decks[kind][1].slides[7])[1:]
    empty = [row for row in rows if row[3] == "not applicable"]
    assert len(empty) >= 4
    assert all(row[1:3] == ["n/a", "n/a"] for row in empty)


def test_variants_that_are_all_the_best_constant_position_are_shown_as_not_tested(tmp_path: Path) -> None:
    run = with_evidence(tmp_path, **KINDS["constant"])
    same = run.folder / "infer/trained/decisions.jsonl"
    run_program(evaluate.main, run.evaluate, "--variants", f"seed-1={same}")
    stand_in(run)
    (row,) = [row for row in table(presented(run).slides[7]) if "2 variants (Hansen)" in row[0]]
    assert row[1:] == ["n/a", "n/a", "not applicable"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("constant", "was short in every hour: a constant position, whose timing cannot be tested"),
        ("no position", "never held a position: there is nothing to test"),
        ("wiped out", "lost all of its capital"),
    ],
)
def test_extreme_traders_are_called_what_they_are(decks: Shelf, kind: str, words: str) -> None:
    for number in (3, 5, 7):
        assert words in " ".join(texts(decks[kind][1].slides[number]))


def test_costs_and_latency_are_said_where_there_are_any(decks: Shelf) -> None:
    slides = decks["costly"][1].slides
    evaluation = " ".join(texts(slides[2]))
    for words in (
        "fee 4 and slippage 1.5 basis points a side",
        "funding 0.1 (long) and \N{MINUS SIGN}0.05 (short) basis points an hour",
        "orders filled 2 hours after the decision",
    ):
        assert words in evaluation
        assert words in " ".join(texts(slides[8]))
    said = everything(decks["costly"][1])
    assert "idealised" not in said
    assert "without trading costs, each order" not in said
    assert "idealised execution: no costs, no latency" in " ".join(texts(decks["planted"][1].slides[2]))


def test_an_older_file_without_terms_was_without_costs(tmp_path: Path) -> None:
    run = finished(tmp_path)
    path = run.folder / "leverage-2/metrics.json"
    path.write_text(path.read_text().replace('"terms"', '"former"'))
    change_results(run)
    assert "idealised execution: no costs, no latency" in " ".join(texts(presented(run).slides[2]))


def test_a_liquidated_strategy_says_so_first(tmp_path: Path) -> None:
    run = finished(tmp_path)
    rows = read_json(run.folder / "leverage-2/metrics.json")["strategies"]
    for row in rows:
        row["liquidated"] = "2025-01-04T07:00:00Z" if row["key"] in ("trained", "always_buy") else None
    change_results(run, {"strategies": rows})
    slides = presented(run).slides
    last = {row[0]: row[-1] for row in table(slides[3])}
    for name in ("Tiny-Qwen3 (GRPO)", "Always Buy"):
        assert last[name].startswith("Liquidated on 2025-01-04 07:00 UTC; ")
    assert "Liquidated" not in last["Always Sell"]
    assert "Tiny-Qwen3 (GRPO) was liquidated and ended at" in " ".join(texts(slides[3]))
    assert "strategies.trained.liquidated" in notes(slides[3])


def test_sensitivity_says_break_even_a_later_fill_and_liquidation(decks: Shelf) -> None:
    test = evidence(decks, "strong")["tests"]["sensitivity"]
    said = " ".join(texts(decks["strong"][1].slides[8]))
    assert f"{test['break_even_bps']:.2f} basis points a side" in said
    later = f"{100 * test['surface']['total_return'][1][0]:+,.2f}%".replace("-", "\N{MINUS SIGN}")
    assert f"Filled one hour later at the same costs, the same decisions return {later}" in said
    assert f"from {test['liquidation_leverage']:.3g}x on it is liquidated" in said


def test_trials_are_counted_where_there_were_several(tmp_path: Path) -> None:
    run = finished(tmp_path)
    tests = read_json(run.folder / "leverage-2/evidence.json")
    tests["tests"]["sharpe"]["settings"]["trials"]["used"] = 7
    tests["verdict"]["sentences"]["trials"] = "Counted as the best of 7 trials on these hours."
    change_results(run, evidence={name: tests[name] for name in ("tests", "verdict")})
    slides = presented(run).slides
    for number in (3, 7):
        assert "Counted as the best of 7 trials on these hours." in texts(slides[number])
    assert "corrected for 7 trials and 5 comparisons" in " ".join(texts(slides[6]))


def test_a_sharpe_ratio_of_the_metrics_is_shown_where_there_is_one(tmp_path: Path) -> None:
    run, slides = made(tmp_path)
    rows = read_json(run.folder / "leverage-2/metrics.json")["strategies"]
    for row in rows:
        row["sharpe"] = -1.234 if row["key"] == "base" else None
    change_results(run, {"strategies": rows})
    found = {row[0]: row[2] for row in table(presented(run).slides[6])}
    assert found["Tiny-Qwen3 (base)"] == "\N{MINUS SIGN}1.23"
    assert found["Always Buy"] == "n/a"
    assert len(slides.slides) == 9


def test_what_the_leakage_probe_found_stands_beside_the_tests_where_it_ran(decks: Shelf) -> None:
    row = table(decks["costly"][1].slides[7])[-1]
    assert row == [
        "Asked again, dates and prices changed", "13 of 40 answers changed", "40 prompts held any of them", "reported",
    ]  # fmt: skip
    assert "Asked again" not in everything(decks["planted"][1])
