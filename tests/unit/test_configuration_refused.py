"""What is wrong in a configuration is one line: the key, what was given, what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from configuration_inputs import SCHEMA, with_value

from common.errors import InputError
from configuration import ConfigurationError, missing_files, resolve
from inference.settings import ATTENTION, CACHED, Hardware
from trading.evidence.case import LEAST_BARS

SECTIONS = [name for name, sub in SCHEMA["properties"].items() if sub.get("type") == "object"]


def problems(settings: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        resolve(settings, SCHEMA)
    return caught.value.problems


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
        (
            "run",
            "ledger",
            'run: given "ledger"; allowed: another name, because results/ledger counts the trials of all runs.',
        ),
        (
            "base_model.tiny.seed",
            2**32,
            "base_model.tiny.seed: given 4294967296; allowed: a whole number from 0 to 4294967295.",
        ),
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
    model = {"tiny": {"head_dim": 64, "heads": 6, "query_groups": 3}}  # which three GPUs of a server can share
    assert problems({"run": "x", "device": device, "base_model": model, "train": SLIME | train}) == [line]
    resolve({"run": "x", "device": "cuda", "base_model": model, "train": SLIME}, SCHEMA)


def test_processes_that_cannot_share_the_tiny_model_in_sglang_are_refused() -> None:
    tiny = {"head_dim": 64, "heads": 12, "query_groups": 4}
    settings = {"run": "x", "device": "cuda", "base_model": {"tiny": tiny}, "infer": {"tensor": 6}}
    line = "infer.tensor: given 6; allowed: a divisor or a multiple of base_model.tiny.query_groups (4)."
    assert problems(settings) == [line]
    train = SLIME | {"data": 3, "prompts_per_iteration": 12, "balance_directions": False, "slime": {"engine_gpus": 3}}
    line = "train.slime.engine_gpus: given 3; allowed: a divisor or a multiple of base_model.tiny.query_groups (4)."
    assert problems(settings | {"infer": {"tensor": 12}, "train": train}) == [line]


def test_heads_without_kernels_on_a_gpu_are_refused_before_anything_runs() -> None:
    line = (
        "base_model.tiny.head_dim: given 16; allowed: 64, 128, 256 with device: cuda, for SGLang's kernels there "
        "(--config base_model='{tiny: {head_dim: 64}}' sets it)."
    )
    assert problems({"run": "x", "device": "cuda"}) == [line]
    resolve({"run": "x", "device": "cuda", "base_model": {"tiny": {"head_dim": 128}}}, SCHEMA)
    resolve({"run": "x", "device": "cuda", "base_model": {"source": "folder", "folder": "a"}}, SCHEMA)  # read later
    resolve({"run": "x"}, SCHEMA)


@pytest.mark.parametrize("optimizer", ["distributed", "offloaded"])
def test_an_optimiser_for_gpus_is_refused_on_a_cpu_before_anything_runs(optimizer: str) -> None:
    given = {"run": "x", "device": "cpu", "train": {"optimizer": optimizer}}
    line = f'train.optimizer: given "{optimizer}"; allowed: replicated with device: cpu; the others are for GPUs.'
    assert problems(given) == [line]
    resolve(given | {"device": "cuda", "base_model": {"tiny": {"head_dim": 64}}}, SCHEMA)


@pytest.mark.parametrize("attention", ATTENTION)
def test_kernels_whose_answers_depend_on_the_cache_are_refused_with_it_before_anything_runs(attention: str) -> None:
    infer = {"prefix_cache": True, "attention": attention}
    given = {"run": "x", "device": "cuda", "base_model": {"tiny": {"head_dim": 64}}, "infer": infer}
    resolve(given | {"infer": infer | {"prefix_cache": False}}, SCHEMA)
    resolve(given | {"device": "cpu"}, SCHEMA)  # there it has kernels of its own
    if attention in CACHED:
        resolve(given, SCHEMA)
        return
    with pytest.raises(InputError, match=r"infer\.prefix_cache"):  # the job's own check agrees
        Hardware("cuda", attention=attention, prefix_cache=True).check()
    assert problems(given) == [
        "infer.prefix_cache: given true; allowed: false, or true with infer.attention: fa3 or triton; with flashinfer "
        "answers would depend on what is in the cache."
    ]


def test_an_unknown_key_is_named_with_the_one_that_was_probably_meant() -> None:
    (line,) = problems(with_value("train.reward.scael", 1000))
    assert line == ("train.reward.scael: unknown key, given 1000. Did you mean scale?")


def test_a_misspelt_section_is_an_unknown_key() -> None:
    (line,) = problems({"run": "x", "simulat": {"leverage": [3]}})
    assert line.startswith('simulat: unknown key, given {"leverage": [3]}. Did you mean simulate?')


def test_a_run_without_a_name_is_refused() -> None:
    assert problems({}) == ["run: missing; allowed: text of letters, digits, dots, dashes and underscores."]


def test_a_variant_whose_prompts_look_back_into_the_training_hours_is_refused() -> None:
    given = {"run": "x", "samples": {"prompt": "report"}, "variants": [{"name": "a", "prompt": "compact"}]}
    assert problems(given) == [
        'variants.0.prompt: given "compact"; allowed: one that looks back no further than the 64 bars of '
        "samples.prompt (report), by which the splits lie apart; compact looks back 120."
    ]
    given = {"run": "x", "samples": {"prompt": "compact"}, "variants": [{"name": "a", "prompt": "report"}]}
    resolve(given, SCHEMA)


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
