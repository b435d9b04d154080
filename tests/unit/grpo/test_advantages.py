import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grpo.advantages import flat_groups, group_advantages


def test_one_right_of_eight_by_hand() -> None:
    # mean 1/8, unbiased variance (1 - 1/8) / 7 = 1/8, std 0.35355: 0.875 / 0.35355 = 2.4749
    advantages = group_advantages(torch.tensor([1.0] + [0.0] * 7), 8)
    assert advantages[0] == pytest.approx(2.4749, abs=1e-4)
    assert advantages[1:].tolist() == pytest.approx([-0.35355] * 7, abs=1e-4)


def test_without_division_the_size_of_the_reward_stays() -> None:
    advantages = group_advantages(torch.tensor([3.0, 1.0, 10.0, 20.0]), 2, normalise_by_std=False)
    assert advantages.tolist() == [1.0, -1.0, -5.0, 5.0]


def test_equal_rewards_carry_no_gradient_and_are_counted() -> None:
    rewards = torch.tensor([0.1, 0.1, 0.1, 0.1, 0.2, 0.1])
    assert group_advantages(rewards, 3).tolist()[:3] == [0.0, 0.0, 0.0]
    assert group_advantages(rewards, 3).abs().sum() > 0
    assert flat_groups(rewards, 3).tolist() == [True, False]


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=8, max_size=8),
    st.floats(0.1, 10),
    st.floats(-50, 50),
)
def test_scale_and_shift_of_rewards_do_not_matter_when_normalised(rewards: list, scale: float, shift: float) -> None:
    r = torch.tensor(rewards, dtype=torch.float64)
    if float(r.std()) < 1e-2:
        return
    ours = group_advantages(r, 8)
    assert torch.allclose(ours, group_advantages(scale * r + shift, 8), atol=1e-2)
    assert abs(float(ours.sum())) < 1e-6
