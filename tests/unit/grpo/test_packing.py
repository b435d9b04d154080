"""Packed equals unpacked, for equal and for ragged lengths; a mask forgotten is seen."""

import pytest
import torch

from grpo.packing import PackedGroups, pack
from grpo.policy import answer_statistics

LENGTHS = {
    "equal": ([7, 7, 7], [4] * 6),
    "ragged prompts": ([7, 3, 5], [4] * 6),
    "ragged answers": ([7, 7, 7], [4, 1, 6, 2, 3, 5]),
    "ragged both": ([7, 1, 5], [1, 4, 6, 2, 3, 5]),
    "one group": ([5], [3, 2]),
}


def batch(
    prompt_lengths: list[int], answer_lengths: list[int]
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(64, (n,), generator=generator) for n in prompt_lengths]
    answers = torch.randint(64, (sum(answer_lengths),), generator=generator)
    return prompts, answers, torch.tensor(answer_lengths)


def one_by_one(
    model: torch.nn.Module, prompts: list[torch.Tensor], answers: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each answer packed alone with its own copy of the prompt."""
    results = []
    for number, answer in enumerate(answers.split(lengths.tolist())):
        results.append(answer_statistics(model, pack([prompts[number // 2]], answer, torch.tensor([len(answer)]), 1)))
    return torch.cat([a for a, _ in results]), torch.cat([b for _, b in results])


@pytest.mark.parametrize("name", LENGTHS)
def test_packed_equals_one_by_one_in_value_and_gradient(model: torch.nn.Module, name: str) -> None:
    prompts, answers, lengths = batch(*LENGTHS[name])
    expected = one_by_one(model, prompts, answers, lengths)
    sum(x.sum() for x in expected).backward()
    gradients = {key: p.grad.clone() for key, p in model.named_parameters()}
    model.zero_grad()
    got = answer_statistics(model, pack(prompts, answers, lengths, 2))
    sum(x.sum() for x in got).backward()
    for ours, theirs in zip(got, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=2e-6)
    for key, p in model.named_parameters():
        assert torch.allclose(p.grad, gradients[key], atol=1e-5 * float(gradients[key].abs().max() + 1)), key


@pytest.mark.parametrize("mistake", ["answers see other prompt", "padding is seen", "positions run on"])
def test_a_mistake_in_the_layout_shows(model: torch.nn.Module, mistake: str) -> None:
    prompts, answers, lengths = batch(*LENGTHS["ragged both"])
    expected, _ = one_by_one(model, prompts, answers, lengths)
    packed: PackedGroups = pack(prompts, answers, lengths, 2)
    if mistake == "answers see other prompt":
        packed.group_of_answer = packed.group_of_answer.roll(1)
    elif mistake == "padding is seen":
        packed.answer_mask = torch.ones_like(packed.answer_mask).tril(packed.prompt_width)
    else:
        packed.positions = torch.arange(len(packed.tokens))
    got, _ = answer_statistics(model, packed)
    assert float((got - expected).detach().abs().max()) > 1e-2


def test_a_later_token_does_not_change_an_earlier_one(model: torch.nn.Module) -> None:
    prompts, answers, lengths = batch(*LENGTHS["ragged both"])
    before, _ = answer_statistics(model, pack(prompts, answers, lengths, 2))
    changed = answers.clone()
    changed[-1] = (changed[-1] + 1) % 64
    after, _ = answer_statistics(model, pack(prompts, changed, lengths, 2))
    assert torch.equal(before[:-1], after[:-1])
    assert before[-1] != after[-1]
