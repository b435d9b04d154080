from __future__ import annotations

import copy
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from configuration import (
    ConfigurationError,
    allowed,
    chosen,
    document,
    flags,
    missing_files,
    read_schema,
    resolve,
    text,
)
from trading.evidence.case import LEAST_BARS

PROJECT = Path(__file__).parents[2]
SCHEMA = read_schema(PROJECT / "config" / "schema.yaml")
SECTIONS = [name for name, sub in SCHEMA["properties"].items() if sub.get("type") == "object"]


def with_value(path: str, value: Any) -> dict[str, Any]:
    """The smallest configuration that has one key set."""
    settings: dict[str, Any] = {"run": "x"}
    *sections, key = path.split(".")
    place = settings
    for section in sections:
        place = place.setdefault(section, {})
    place[key] = value
    return settings


def value_at(settings: dict[str, Any], path: str) -> Any:
    for part in path.split("."):
        settings = settings[part]
    return settings


def problems(settings: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        resolve(settings, SCHEMA)
    return caught.value.problems


def all_schemas(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)]
    for key, sub in schema.get("properties", {}).items():
        found += all_schemas(sub, f"{path}.{key}".lstrip("."))
    for key, sub in schema.get("items", {}).get("properties", {}).items():
        found += all_schemas(sub, f"{path}[].{key}")
    return found


# --- the files in config/ ---


@pytest.mark.parametrize("name", ["config", "null", "minimal", "qwen3-4b"])
def test_the_configurations_of_the_project_are_valid(name: str) -> None:
    resolve(yaml.safe_load((PROJECT / "config" / f"{name}.yaml").read_text()), SCHEMA)


def test_the_demo_spells_out_every_default() -> None:
    demo = yaml.safe_load((PROJECT / "config" / "config.yaml").read_text())
    # What was looked at on its test hours is a fact of the demo, and nobody's default.
    tried = {"variants": demo["variants"], "evaluate": {"trials": demo["evaluate"]["trials"]}}
    full = resolve({"run": "demo"} | tried, SCHEMA)
    assert demo | {"variants": full["variants"]} == full


def test_the_null_market_differs_from_the_demo_in_its_drifts_alone() -> None:
    null = resolve(yaml.safe_load((PROJECT / "config" / "null.yaml").read_text()), SCHEMA)
    assert null["run"] != "demo"
    expected = resolve({"run": null["run"]}, SCHEMA)
    expected["market"]["name"] = null["market"]["name"]
    expected["market"]["synthetic"] |= {"momentum": 0, "trend": 0, "slow_drift": 0}
    assert null == expected


def test_the_paper_run_is_the_studys() -> None:
    paper = resolve(yaml.safe_load((PROJECT / "config" / "qwen3-4b.yaml").read_text()), SCHEMA)
    train = paper["train"]
    assert (paper["device"], train["tensor"] * train["data"]) == ("cuda", 8)
    assert (train["iterations"], train["prompts_per_iteration"], train["group_size"]) == (500, 128, 8)
    assert (train["learning_rate"], train["kl_beta"], train["max_new_tokens"]) == (1e-6, 0.04, 2048)
    assert train["entropy"] > 0
    assert [variant["max_new_tokens"] for variant in paper["variants"]] == [512]
    assert train["reward"] == {"scale": 1000, "valid": 0.01, "invalid": -0.5}
    assert (train["spike_threshold"], train["spike_action"]) == (0.2, "log")
    assert (paper["samples"]["prompt"], paper["samples"]["test"]) == ("report", 1706)
    assert (paper["simulate"]["leverage"], paper["simulate"]["capital"]) == ([2], 100_000)
    assert paper["base_model"]["hub"]["name"] == "Qwen/Qwen3-4B-Thinking-2507"


def test_the_paper_run_without_its_market_is_one_line() -> None:
    paper = resolve(yaml.safe_load((PROJECT / "config" / "qwen3-4b.yaml").read_text()), SCHEMA)
    paper["market"]["csv"]["path"] = "no/such/bars.csv"
    (line,) = missing_files(paper)
    assert line.startswith('market.csv.path: given "no/such/bars.csv"')
    assert "which you bring" in line


def test_the_page_about_the_configuration_is_made_from_the_schema() -> None:
    # Mend with: .venv/bin/python rules/configuration.py > config/README.md
    assert (PROJECT / "config" / "README.md").read_text() == document(SCHEMA)


@pytest.mark.parametrize(("path", "schema"), all_schemas(SCHEMA), ids=lambda value: str(value)[:40])
def test_every_key_has_a_meaning_a_default_and_a_range_in_words(path: str, schema: dict[str, Any]) -> None:
    if path:
        assert schema["description"].endswith(".")
        assert allowed(schema)
    if schema.get("type") == "object":
        assert schema["additionalProperties"] is False
    elif path not in ("run", "variants[].name"):
        assert "default" in schema


# --- what resolve makes of it ---


def test_sections_that_are_missing_or_empty_take_the_defaults() -> None:
    full = resolve({"run": "x"}, SCHEMA)
    assert full["train"]["kl_beta"] == 0.04
    assert resolve({"run": "x", "train": None, "infer": {}}, SCHEMA) == full


def test_what_is_given_stays_and_the_rest_of_its_section_is_filled_in() -> None:
    settings = resolve({"run": "x", "market": {"synthetic": {"calibrate": {"hours": 0}}}}, SCHEMA)
    assert settings["market"]["synthetic"]["calibrate"]["hours"] == 0
    assert settings["market"]["synthetic"]["calibrate"]["leverage"] == 2


def test_resolving_changes_neither_the_given_nor_the_schema() -> None:
    settings, schema = {"run": "x", "train": {"seed": 1}}, copy.deepcopy(SCHEMA)
    resolve(settings, schema)["simulate"]["leverage"].append(3)
    assert settings == {"run": "x", "train": {"seed": 1}}
    assert schema == SCHEMA


@pytest.mark.parametrize(
    ("path", "written", "meant"),
    [
        ("train.learning_rate", "0.001", 0.001),
        ("train.learning_rate", "1e-3", 0.001),  # text, for YAML
        ("train.learning_rate", "1.0e-3", 0.001),
        ("train.iterations", "20.0", 20),
        # Below a section, snakemake --config hands on everything as text.
        ("train.iterations", "'7'", 7),
        ("simulate.leverage", "['2.5', '3.0']", [2.5, 3]),
        ("train.reward.invalid", "'-8'", -8),
        ("samples.mask", "'false'", False),
        ("samples.test", "'0.2'", 0.2),
        ("infer.top_k", "'null'", None),
        ("infer.top_k", "'5'", 5),
        ("market.csv.sha256", f"'{'1' * 64}'", "1" * 64),
        ("run", "'2025'", "2025"),
        ("simulate.leverage", "[2.0, 2.5]", [2, 2.5]),
        ("market.synthetic.start", "2025-01-01T00:00:00Z", "2025-01-01T00:00:00Z"),  # a date, for YAML
        ("market.synthetic.start", "2025-01-01T02:00:00+02:00", "2025-01-01T00:00:00Z"),
    ],
)
def test_one_value_written_in_several_ways_is_one_value(path: str, written: str, meant: Any) -> None:
    value = value_at(resolve(with_value(path, yaml.safe_load(written)), SCHEMA), path)
    assert repr(value) == repr(meant)


@given(st.floats(min_value=0.01, max_value=100))
def test_flags_and_paths_keep_every_digit_of_a_number(value: float) -> None:
    assert float(text(value)) == value
    assert float(flags({"x": value}).removeprefix("--x=")) == value


def test_two_and_two_point_zero_are_the_same_leverage_in_paths() -> None:
    assert [text(value) for value in (2, 2.0, 2.5)] == ["2", "2", "2.5"]


# --- what it refuses ---


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("train.kl_beta", -1, "train.kl_beta: given -1; allowed: a number from 0 to 10."),
        ("train.kl_beta", float("nan"), 'train.kl_beta: given "nan"; allowed: a number from 0 to 10.'),
        ("train.grad_clip", float("inf"), 'train.grad_clip: given "inf"; allowed: a number, above 0.'),
        ("train.iterations", 2.5, "train.iterations: given 2.5; allowed: a whole number, 1 or more."),
        ("train.seed", True, "train.seed: given true; allowed: a whole number, 0 or more."),
        ("train.seed", None, "train.seed: given null; allowed: a whole number, 0 or more."),
        ("samples.mask", "yes please", 'samples.mask: given "yes please"; allowed: true or false.'),
        ("device", "gpu", 'device: given "gpu"; allowed: cpu or cuda.'),
        ("run", "a/b", 'run: given "a/b"; allowed: text of letters, digits, dots, dashes and underscores.'),
        (
            "samples.test",
            1.5,
            "samples.test: given 1.5; allowed: a whole number of 1 or more, or a share between 0 and 1 (samples).",
        ),
        (
            "simulate.leverage",
            [2, 2.0],
            "simulate.leverage: given [2, 2]; allowed: "
            "a list of different numbers from 0.01 to 100, such as [2] or [2, 2.5] (multiple of equity).",
        ),
        (
            "simulate.leverage",
            [0],
            "simulate.leverage.0: given 0; allowed: a number from 0.01 to 100 (multiple of equity).",
        ),
        ("plot", 3, "plot: given 3; allowed: a section with the keys none."),
        (
            "base_model.tiny.query_groups",
            3,
            "base_model.tiny.query_groups: given 3; allowed: a divisor of heads (4).",
        ),
        (
            "train.decay_iterations",
            20,
            "train.decay_iterations: given 20; allowed: 0, or more than warm_up_iterations (20).",
        ),
        (
            "train.iterations",
            1000,
            "train.decay_iterations: given 500; allowed: 0, or iterations (1000) or more: "
            "behind it the learning rate is 0.",
        ),
        (
            "market.source",
            "csv",
            "market.csv.path: given null; needed, because market.source is csv.",
        ),
        (
            "base_model.source",
            "folder",
            "base_model.folder: given null; needed, because base_model.source is folder.",
        ),
        (
            "base_model.hub.commit",
            "main",
            'base_model.hub.commit: given "main"; allowed: 40 hexadecimal digits in quotes, or null.',
        ),
        (
            "simulate.fee_bps",
            -1,
            "simulate.fee_bps: given -1; allowed: a number from 0 to 10000 (basis points a side).",
        ),
        ("evaluate.fast", 20, "evaluate.fast: given 20; allowed: less than slow (20)."),
        (
            "evaluate.variants",
            ["a=one", "a=two"],
            'evaluate.variants: given "a"; allowed: each variant a name of its own, not '
            "trained, base, journal, probe-journal, variants-journal, probe.json.",
        ),
        (
            "variants",
            [{"name": "a", "iteration": 400}, {"name": "a", "iteration": 400}],
            'variants: given "a"; allowed: each variant a name of its own, not '
            "trained, base, journal, probe-journal, variants-journal, probe.json.",
        ),
        (
            "variants",
            [{"name": "a", "temperature": 1, "sead": 1}],
            "variants.0.sead: unknown key, given 1. Did you mean seed?",
        ),
        (
            "variants",
            [{"seed": 1}],
            "variants.0.name: missing; allowed: text of letters, digits, dots, dashes and underscores.",
        ),
        ("variants", [{"name": "a"}], 'variants.0: given "a"; allowed: a variant that differs in something.'),
        (
            "variants",
            [{"name": "a", "seed": 1}],
            "variants.0.seed: given 1; allowed: a seed with a temperature above 0 only.",
        ),
        (
            "variants",
            [{"name": "a", "iteration": 300}],
            "variants.0.iteration: given 300; allowed: 400; train.keep and save_every leave no other beside the last.",
        ),
        (
            "evaluate.permutations",
            9999,
            "evaluate.permutations: given 9999; allowed: a whole number, 10000 or more (draws).",
        ),
        ("evaluate.variants", ["a.jsonl"], 'evaluate.variants.0: given "a.jsonl"; allowed: NAME=FILE.'),
    ],
)
def test_a_bad_value_is_one_line_with_the_key_what_was_given_and_what_is_allowed(
    path: str, value: Any, line: str
) -> None:
    assert problems(with_value(path, value)) == [line]


SLIME = {"engine": "slime", "spike_action": "log", "precision": "bf16", "optimizer": "distributed"}


@pytest.mark.parametrize(
    ("train", "device", "line"),
    [
        ({}, "cpu", 'device: given "cpu"; allowed: cuda, because slime runs on GPUs only.'),
        (
            {"spike_action": "skip"},
            "cuda",
            'train.spike_action: given "skip"; allowed: log or stop, '
            "because slime takes its steps before anybody sees the loss.",
        ),
        (
            {"precision": "fp32"},
            "cuda",
            'train.precision: given "fp32"; allowed: bf16, because slime trains in nothing else.',
        ),
        (
            {"optimizer": "offloaded"},
            "cuda",
            'train.optimizer: given "offloaded"; allowed: distributed, '
            "because slime shares out the optimiser's state.",
        ),
        (
            {"iterations": 250},
            "cuda",
            "train.iterations: given 250; allowed: up to save_every, or a multiple of it, "
            "because slime saves at its multiples only.",
        ),
        (
            {"save_every": 1},
            "cuda",
            "train.save_every: given 1; allowed: 2 or more, "
            "because slime cannot go on from a checkpoint of its first iteration.",
        ),
        (
            {"data": 8, "balance_directions": False, "slime": {"nodes": 3}},
            "cuda",
            "train.slime.nodes: given 3; allowed: a divisor of the GPUs, "
            "tensor x data x slime.pipeline x slime.context (8).",
        ),
        (
            {"data": 8, "balance_directions": False, "slime": {"engine_gpus": 3}},
            "cuda",
            "train.slime.engine_gpus: given 3; allowed: a divisor of the GPUs of a node (8), "
            "or a multiple of them that divides all (8).",
        ),
    ],
)
def test_what_slime_cannot_do_is_refused_before_anything_runs(train: dict[str, Any], device: str, line: str) -> None:
    assert problems({"run": "x", "device": device, "train": SLIME | train}) == [line]
    resolve({"run": "x", "device": "cuda", "train": SLIME}, SCHEMA)


def test_an_unknown_key_is_named_with_the_one_that_was_probably_meant() -> None:
    (line,) = problems(with_value("train.reward.scael", 1000))
    assert line == ("train.reward.scael: unknown key, given 1000. Did you mean scale?")


def test_a_misspelt_section_is_an_unknown_key() -> None:
    (line,) = problems({"run": "x", "simulat": {"leverage": [3]}})
    assert line.startswith('simulat: unknown key, given {"leverage": [3]}. Did you mean simulate?')


def test_a_run_without_a_name_is_refused() -> None:
    assert problems({}) == ["run: missing; allowed: text of letters, digits, dots, dashes and underscores."]


def test_several_problems_are_several_lines() -> None:
    lines = problems({"run": "x", "train": {"kl_beta": -1, "sead": 1}, "device": "tpu"})
    assert [line.split(":")[0] for line in lines] == ["device", "train.kl_beta", "train.sead"]
    assert not any("\n" in line for line in lines)


@pytest.mark.parametrize("section", SECTIONS)
def test_no_section_takes_an_unknown_key(section: str) -> None:
    (line,) = problems({"run": "x", section: {"no_such_key": 1}})
    assert line == f"{section}.no_such_key: unknown key, given 1. config/README.md lists the keys."


def test_a_file_that_is_not_there_is_named_by_its_key(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    settings = resolve({"run": "x", "market": {"source": "csv", "csv": {"path": str(path)}}}, SCHEMA)
    (line,) = missing_files(settings)
    assert line.startswith("market.csv.path: given ")
    path.write_text("timestamp,close\n")
    assert missing_files(settings) == []


def test_a_variant_that_was_not_run_is_named(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    settings = resolve(with_value("evaluate.variants", [f"seed-1={path}"]), SCHEMA)
    (line,) = missing_files(settings)
    assert line.startswith('evaluate.variants: given "seed-1=')
    path.touch()
    assert missing_files(settings) == []


def test_too_few_test_hours_for_any_test_are_refused() -> None:
    settings = with_value("samples.test", LEAST_BARS - 1) | {"market": {"synthetic": {"calibrate": {"hours": 0}}}}
    assert problems(settings) == ["samples.test: given 29; allowed: 30 or more: fewer hours test nothing."]
    resolve(with_value("samples.test", LEAST_BARS) | {"market": {"synthetic": {"calibrate": {"hours": 0}}}}, SCHEMA)


@pytest.mark.parametrize("name", ["trained", "base", "journal", "probe-journal", "variants-journal", "probe.json"])
def test_no_variant_has_the_name_of_something_else_below_infer(name: str) -> None:
    with pytest.raises(ConfigurationError, match="a name of its own, not trained, base"):
        resolve({"run": "x", "variants": [{"name": name, "max_new_tokens": 9}]}, SCHEMA)


def test_variants_take_the_settings_they_leave_out_from_the_trained_model() -> None:
    settings = {"run": "x", "variants": [{"name": "a", "temperature": "1", "seed": "2"}]}
    nothing = dict.fromkeys(("max_new_tokens", "iteration", "prompt", "mask"))
    assert resolve(settings, SCHEMA)["variants"] == [{"name": "a", "temperature": 1, "seed": 2} | nothing]
    sampled = settings | {"infer": {"trained": {"temperature": 0.7}}, "variants": [{"name": "a", "seed": 2}]}
    resolve(sampled, SCHEMA)
    more = {"run": "x", "train": {"iterations": 450, "keep": 3}, "variants": [{"name": "a", "iteration": 300}]}
    resolve(more, SCHEMA)


def test_the_page_names_the_keys_of_a_variant() -> None:
    assert "| `variants[].iteration` |" in document(SCHEMA)


# --- flags ---


def test_nested_keys_become_flags_joined_by_dashes() -> None:
    section = {"seed": 1, "reward": {"invalid": -0.5}, "kl_beta": 0.04}
    assert flags(section) == "--seed=1 --reward-invalid=-0.5 --kl-beta=0.04"


def test_null_gives_no_flag_and_false_the_opposite_flag() -> None:
    assert flags({"folder": None, "mask": False, "tensorboard": True}) == "--no-mask --tensorboard"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_any_text_reaches_the_program_as_it_is(value: str) -> None:
    assert shlex.split(flags({"name": value})) == [f"--name={value}"]


def test_settings_of_a_source_that_is_not_used_give_no_flags() -> None:
    section = {"name": "A", "source": "csv", "csv": {"path": "a.csv"}, "synthetic": {"seed": 1}}
    assert "seed" not in flags(chosen(section, ("synthetic", "csv")))
    assert "--csv-path=a.csv" in flags(chosen(section, ("synthetic", "csv")))


# What is said once and several programs need to know.
FROM_OTHER_SECTIONS = {"samples": {"--gaps"}, "train": {"--device"}}
SCRIPTS = ["market", "samples", "base_model", "train", "infer", "simulate", "evaluate", "plot", "deck"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_setting_is_a_flag_of_its_program_and_every_flag_is_set(script: str) -> None:
    section = resolve({"run": "x"}, SCHEMA)[script]
    if script == "infer":
        section = {k: v for k, v in section.items() if k not in ("trained", "base")} | section["base"]
    settings = {flag.replace("--no-", "--") for flag in flag_names(flags(without_null(section)))}
    commands = re.sub(r"^ *#.*$", "", (PROJECT / "rules" / f"{script}.smk").read_text(), flags=re.MULTILINE)
    rule = flag_names(commands) - {
        *("--standalone", "--nproc-per-node"),  # of the launcher
        *("--memory-mb", "--driver"),  # of the check of the GPUs
    }
    program = subprocess.run(
        [sys.executable, PROJECT / "scripts" / f"{script}.py", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    offered = {flag for flag in flag_names(program.stdout) if not flag.startswith("--no-")} - {"--help"}
    assert settings | rule | FROM_OTHER_SECTIONS.get(script, set()) == offered


def without_null(section: dict[str, Any]) -> dict[str, Any]:
    """Every key, with a value where it is null, so that it gives a flag."""
    return {k: without_null(v) if isinstance(v, dict) else "x" if v is None else v for k, v in section.items()}


def flag_names(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z0-9-]+", text))
