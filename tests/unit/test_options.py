"""Settings as options of programs: they take what the configuration takes, and say so."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import configuration
from common.errors import InputError
from common.options import COPY, add_settings, checked, setting

PROJECT = Path(__file__).parents[2]
SCHEMA = configuration.read_schema(PROJECT / "config" / "schema.yaml")
NUMBERS = [-10001, -1, -0.5, 0, 1e-9, 0.01, 0.1, 0.5, 0.99, 1, 1.5, 2, 3, 8, 10, 100, 100.5, 9999, 10000, 16385, 10**9]
WORDS = ["x", "a/b", "cuda", "HOLD", "2025-01-01T00:00:00Z", "2025-01-01T00:30:00Z", "0" * 40, "0" * 64, "https://a"]


def leaves(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for key, sub in schema["properties"].items():
        if sub.get("type") == "object":
            yield from leaves(sub, f"{path}{key}.")
        elif sub.get("type") not in ("array", "boolean"):
            yield f"{path}{key}", sub


def test_the_copy_that_programs_read_is_the_schema() -> None:
    # Mend with: .venv/bin/python rules/configuration.py --json > scripts/common/settings.json
    assert COPY.read_text() == configuration.copied(SCHEMA)
    assert setting("train.reward.scale") == SCHEMA["properties"]["train"]["properties"]["reward"]["properties"]["scale"]


@pytest.mark.parametrize(("path", "schema"), list(leaves(SCHEMA)), ids=[path for path, _ in leaves(SCHEMA)])
def test_an_option_takes_what_the_configuration_takes(path: str, schema: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(schema)
    wanted = json.dumps(schema)
    given = NUMBERS if '"integer"' in wanted or '"number"' in wanted else [*WORDS, *schema.get("enum", [])]
    bounds = [schema[name] for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") if name in schema]
    right = [value for value in [*given, *bounds] if validator.is_valid(value)]
    assert right
    for value in right:
        assert checked("--x", schema, str(value)) == value
    wrong = [value for value in [*given, *bounds] if not validator.is_valid(value)]
    for value in [*wrong, *(["nan", "inf", "x", ""] if given is NUMBERS else [])]:
        with pytest.raises(InputError, match=re.escape(f"--x: given '{value}'; allowed: ")):
            checked("--x", schema, str(value))


def test_options_have_the_defaults_of_the_configuration() -> None:
    parser = argparse.ArgumentParser()
    add_settings(parser, "market", paths=["csv-path"])
    given = vars(parser.parse_args([]))
    market = configuration.resolve({"run": "x"}, SCHEMA)["market"]
    flags = configuration.flags(market).replace("'", "")
    assert given["synthetic_volatility"] == 0.0058
    assert given["synthetic_calibrate_leverage"] == 2.0
    assert isinstance(given["synthetic_calibrate_leverage"], float)  # as where it is given: results record it
    spaced = {"Synthetic market": "Synthetic-market"}
    words = [word for word in flags.replace(*next(iter(spaced.items()))).split() if word.startswith("--")]
    assert vars(parser.parse_args(words)) | {"name": "Synthetic market"} == given
    assert parser.parse_args(["--csv-path=a.csv"]).csv_path == Path("a.csv")


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (
            ["evaluate.py", "--permutations", "5"],
            "evaluate: error: --permutations: given '5'; allowed: a whole number, 10000 or more (draws).",
        ),
        (
            ["simulate.py", "--leverage=-2"],
            "simulate: error: --leverage: given '-2'; allowed: a number from 0.01 to 100 (multiple of equity).",
        ),
        (
            ["probe.py", "--price-factor=1"],
            "probe: error: --price-factor: given '1'; allowed: a number, above 1.",
        ),
        (
            ["infer.py", "--top-k=0"],
            "infer: error: --top-k: given '0'; allowed: a whole number of 1 or more (tokens).",
        ),
        (
            ["base_model.py", "--tiny-head-dim=3"],
            "base_model: error: --tiny-head-dim: given '3'; allowed: an even number from 2 to 256.",
        ),
        (["train.py", "--device=tpu"], "train: error: --device: given 'tpu'; allowed: cpu or cuda."),
        (
            ["train.py", "--slime-memory-fraction=1"],
            "train: error: --slime-memory-fraction: given '1'; allowed: a number, above 0 and below 1.",
        ),
    ],
)
def test_what_the_configuration_would_refuse_a_program_refuses_in_one_line(command: list[str], line: str) -> None:
    program, *rest = command
    done = subprocess.run(
        [sys.executable, PROJECT / "scripts" / program, *rest], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.splitlines()) == (1, [line])


@pytest.mark.parametrize(
    "program",
    ["market", "samples", "base_model", "train", "infer", "probe", "variants", "simulate", "evaluate"],
)
def test_every_option_has_a_meaning(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = __import__(program)
    seen: list[argparse.ArgumentParser] = []

    def parse(parser: argparse.ArgumentParser) -> None:
        seen.append(parser)
        raise SystemExit

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    with pytest.raises(SystemExit):
        module.arguments()
    assert all(action.help for action in seen[0]._actions)
    assert "Default: " in seen[0].format_help()
