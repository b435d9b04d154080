"""The cached sampler says what the training forward says, and draws what its distribution says."""

from collections import Counter

import pytest
import torch

from grpo.packing import pack
from grpo.policy import answer_logits, answer_statistics
from grpo.qwen3 import Qwen3Shape
from grpo.rollout import Sampler, draw_uniforms
from grpo.schedule import random_generator

STOP = 5


@pytest.fixture
def sampler(model: torch.nn.Module, shape: Qwen3Shape) -> Sampler:
    return Sampler(dict(model.named_parameters()), shape, stop=STOP)


def prompts_of(lengths: list[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(6, 64, (n,), generator=generator) for n in lengths]


@pytest.mark.parametrize("lengths", [[6, 6, 6], [6, 2, 9]], ids=["equal prompts", "ragged prompts"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_and_entropies_equal_the_training_forward(
    sampler: Sampler, model: torch.nn.Module, lengths: list[int], temperature: float
) -> None:
    uniforms = draw_uniforms(random_generator(0), 12, 10)
    rollouts = sampler.sample(prompts_of(lengths), 4, 10, uniforms, temperature)
    packed = pack(rollouts.prompts, rollouts.tokens, rollouts.lengths, 4)
    logprob, entropy = answer_statistics(model, packed, temperature)
    assert torch.allclose(rollouts.logprobs, logprob, atol=1e-5)
    assert torch.allclose(rollouts.entropies, entropy, atol=1e-5)
    wrong, _ = answer_statistics(model, packed, temperature * 1.1)
    assert not torch.allclose(rollouts.logprobs, wrong, atol=1e-3)


def test_a_draw_does_not_depend_on_the_batch(sampler: Sampler) -> None:
    prompts = prompts_of([6, 6, 6])
    uniforms = draw_uniforms(random_generator(0), 6, 8)
    together = sampler.sample(prompts, 2, 8, uniforms).answers()
    alone = [
        a for i in range(3) for a in sampler.sample(prompts[i : i + 1], 2, 8, uniforms[2 * i : 2 * i + 2]).answers()
    ]
    assert together == alone


def test_draws_follow_the_distribution(sampler: Sampler, model: torch.nn.Module) -> None:
    prompt = prompts_of([6])
    count = 4000
    rollouts = sampler.sample(prompt, count, 1, draw_uniforms(random_generator(1), count, 1))
    packed = pack(prompt, torch.tensor([0]), torch.tensor([1]), 1)
    probabilities = answer_logits(model, packed)[0].softmax(-1).tolist()
    drawn = Counter(rollouts.tokens.tolist())
    chi2 = sum((drawn[i] - count * p) ** 2 / (count * p) for i, p in enumerate(probabilities))
    # 63 degrees of freedom: mean 63, standard deviation 11.2
    assert chi2 < 63 + 5 * 11.2


def test_greedy_takes_the_most_probable_token(sampler: Sampler, model: torch.nn.Module) -> None:
    rollouts = sampler.sample(prompts_of([6, 3]), 1, 5, uniforms=None)
    logits = answer_logits(model, pack(rollouts.prompts, rollouts.tokens, rollouts.lengths, 1))
    assert logits.argmax(-1).tolist() == rollouts.tokens.tolist()


def test_an_answer_ends_with_the_stop_token_or_is_marked_truncated(sampler: Sampler) -> None:
    rollouts = sampler.sample(prompts_of([6]), 200, 12, draw_uniforms(random_generator(3), 200, 12))
    ended = 0
    for answer, cut in zip(rollouts.answers(), rollouts.truncated.tolist(), strict=True):
        assert STOP not in answer[:-1]
        assert cut == (answer[-1] != STOP)
        assert not cut or len(answer) == 12
        ended += not cut
    assert 0 < ended < 200


def test_the_sampler_follows_the_weights_without_a_copy(sampler: Sampler, model: torch.nn.Module) -> None:
    before = sampler.sample(prompts_of([6]), 1, 5, None)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-1)
    after = sampler.sample(prompts_of([6]), 1, 5, None)
    assert before.answers() != after.answers()
