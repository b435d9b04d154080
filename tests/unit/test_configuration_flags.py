"""Settings become the flags that their programs take."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
from configuration_inputs import PROJECT, SCHEMA
from hypothesis import given
from hypothesis import strategies as st

from configuration import chosen, flags, resolve, text


@given(st.floats(min_value=0.01, max_value=100))
def test_flags_and_paths_keep_every_digit_of_a_number(value: float) -> None:
    assert float(text(value)) == value
    assert float(flags({"x": value}).removeprefix("--x=")) == value


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
