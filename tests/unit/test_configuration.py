"""The configurations of the project, the page about them, and what is read out of one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from configuration_inputs import PROJECT, SCHEMA, with_value

from configuration import allowed, document, missing_files, resolve, text


def value_at(settings: dict[str, Any], path: str) -> Any:
    for part in path.split("."):
        settings = settings[part]
    return settings


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


def test_two_and_two_point_zero_are_the_same_leverage_in_paths() -> None:
    assert [text(value) for value in (2, 2.0, 2.5)] == ["2", "2", "2.5"]


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
