"""What Snakemake would ignore in a profile is found."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from check_profile import Known, asked_of, known_here, problems, resources_of, rules_of

PROJECT = Path(__file__).parents[2]
KNOWN = Known(
    options={"executor", "jobs", "set-resources", "default-resources", "set-threads", "groups", "group-components"}
    | {"resources", "set-resource-scopes"},
    rules={"train", "infer"},
    resources={"mem_mb", "gpu", "runtime", "gres"},
    gpu_rules={"train"},
)
GOOD = {
    "executor": "slurm",
    "default-resources": {"mem_mb": 1000},
    "set-resources": {"train": {"gpu": 1}},
    "resources": ["gpu=4"],
    "set-resource-scopes": {"gpu": "local"},
    "set-threads": {"infer": 2},
    "groups": ["train=one"],
    "group-components": {"one": 2},
}


def test_a_profile_in_order_has_no_problems() -> None:
    assert problems(GOOD, KNOWN) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"job": 3}, "job: no option of Snakemake or of its plugins. Did you mean jobs?"),
        ({"executor": {"slurm": 1}}, "executor: a section is ignored here; write a value or a list."),
        (
            {"set-resources": {"trian": {"gpu": 1}}},
            "set-resources.trian: no rule of this workflow. Did you mean train?",
        ),
        ({"set-resources": ["trian:gpu=1"]}, "set-resources.trian: no rule of this workflow. Did you mean train?"),
        ({"set-resources": {"train": 1}}, "set-resources.train: no section; write the resources below the rule."),
        (
            {"set-resources": {"train": {"gpus": 1}}},
            "set-resources.train.gpus: no resource that Slurm, Snakemake or a rule knows. Did you mean gpu?",
        ),
        (
            {"default-resources": ["run_time=3"]},
            "default-resources.run_time: no resource that Slurm, Snakemake or a rule knows. Did you mean runtime?",
        ),
        (
            {"resources": {"gpux": 2}},
            "resources.gpux: no resource that Slurm, Snakemake or a rule knows. Did you mean gpu?",
        ),
        (
            {"set-resource-scopes": ["gpux=local"]},
            "set-resource-scopes.gpux: no resource that Slurm, Snakemake or a rule knows. Did you mean gpu?",
        ),
        ({"set-threads": {"infer2": 1}}, "set-threads.infer2: no rule of this workflow. Did you mean infer?"),
        ({"groups": {"trains": "one"}}, "groups.trains: no rule of this workflow. Did you mean train?"),
        ({"group-components": ["two=2"]}, "group-components.two: no group of this profile."),
    ],
)
def test_what_would_be_ignored_is_named(change: dict, line: str) -> None:
    assert problems(GOOD | change, KNOWN) == [line]


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ({"set-resources": {"train": {"gres": "'gpu:h100:1'"}}}, ["train"]),  # the rule itself asks for gpu
        ({"set-resources": {"train": {"gres": "'gpu:1' if '$DEVICE' == 'cuda' else None", "gpu": 2}}}, ["train"]),
        ({"set-resources": {"train": {"gres": "'gpu:1'", "gpu": 0}}}, []),
        ({"set-resources": ["train:gres=gpu:1", "train:gpu=0"]}, []),
        ({"set-resources": {"infer": {"gres": "'gpu:1'"}}}, []),
        ({"set-resources": {"train": {"gres": "'nvme:1'"}}}, []),
        ({"set-resources": {}, "default-resources": {"gres": "gpu:1"}}, ["train"]),
        ({"set-resources": {"train": {"gpu": 0}}, "default-resources": {"gres": "gpu:1", "gpu": 1}}, ["infer"]),
    ],
)
def test_gpus_that_would_be_asked_for_twice_are_found(change: dict, rules: list[str]) -> None:
    end = "gres and gpu, and a job would ask for both. Beside gres write gpu: 0."
    assert problems(GOOD | change, KNOWN) == [f"set-resources.{rule}: {end}" for rule in rules]


@given(st.text(min_size=1).filter(lambda name: name.replace("_", "-") not in KNOWN.options and name[:2] != "__"))
def test_any_unknown_option_is_one_problem(name: str) -> None:
    assert len(problems(GOOD | {name: 1}, KNOWN)) == 1


def test_rules_and_resources_are_read_from_snakefiles() -> None:
    text = (
        "rule a:\n    input: 'x'\n    resources:\n        gpu=f(a=1),  # no=1\n        mem_mb=lambda w, attempt=1: 2,\n"
        "    params:\n        flags=3,\ncheckpoint b:\n    resources: runtime=1\n    shell: 'c=1'\n"
    )
    assert rules_of(text) == {"a", "b"}
    assert rules_of("use rule a as c with:\n    output:\n") == {"c"}
    assert resources_of(text) == {"gpu", "mem_mb", "runtime"}


def test_what_an_executor_asks_for_is_read_from_its_source() -> None:
    assert asked_of("if job.resources.get('qos'): x = job.resources.nodes") == {"qos", "nodes"}


def test_the_shipped_profile_is_in_order_and_the_check_of_it_can_fail() -> None:
    known = known_here(PROJECT)
    assert {"slurm_partition", "slurm_account", "gres", "gpu_model", "constraint", "slurm_extra"} <= known.resources
    shipped = yaml.safe_load((PROJECT / "slurm" / "config.yaml").read_text(encoding="utf-8"))
    assert problems(shipped, known) == []
    spoiled = shipped | {"slurm-logdirs": "x", "set-resources": shipped["set-resources"] | {"trains": {}}}
    assert len(problems(spoiled, known)) == 2
    assert known.gpu_rules == {"train", "infer", "probe", "variants"}
    shipped["set-resources"]["train"]["gres"] = "'gpu:h100:8'"
    assert [line.partition(":")[0] for line in problems(shipped, known)] == ["set-resources.train"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"set-resources": 5}, "set-resources: given 5; write a section."),
        ({"groups": 4}, "groups: given 4; write a section."),
        ({"groups": {"train": ["one"]}}, "groups.train: given ['one']; write the name of one group."),
        ({5: 3}, "5: no option of Snakemake or of its plugins."),
        (
            {"set-resources": {"train": {1: 2}}},
            "set-resources.train.1: no resource that Slurm, Snakemake or a rule knows.",
        ),
    ],
)
def test_what_is_no_section_or_no_name_is_one_line(change: dict[object, object], line: str) -> None:
    assert line in problems(GOOD | change, KNOWN)
