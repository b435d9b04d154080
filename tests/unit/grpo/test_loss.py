import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grpo.loss import LossSettings, clip_active, clipped_surrogate, k3_divergence, token_losses


def logs(*ratios: float) -> torch.Tensor:
    return torch.tensor(ratios).log()


def test_surrogate_by_hand() -> None:
    # ratios 1.5 and 0.5, bounds [0.8, 1.28]
    ratio = logs(1.5, 1.5, 0.5, 0.5)
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    got = clipped_surrogate(ratio, torch.zeros(4), advantage, 0.2, 0.28)
    assert got.tolist() == pytest.approx([-1.28, 1.5, -0.5, 0.8])
    assert clip_active(ratio, torch.zeros(4), advantage, 0.2, 0.28).tolist() == [True, False, False, True]


def test_clipped_token_has_no_gradient_and_an_unclipped_one_has() -> None:
    logprob = logs(1.5, 1.1).requires_grad_()
    clipped_surrogate(logprob, torch.zeros(2), torch.ones(2), 0.2, 0.28).sum().backward()
    assert logprob.grad.tolist() == pytest.approx([0.0, -1.1])


def test_k3_by_hand() -> None:
    # d = ln 2: exp(d) - d - 1 = 2 - 0.6931 - 1
    assert float(k3_divergence(torch.tensor(0.0), torch.tensor(2.0).log())) == pytest.approx(1 - math.log(2))


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_k3_is_never_negative(a: float, b: float) -> None:
    value = float(k3_divergence(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)))
    assert value >= -1e-12


def test_k3_estimates_the_divergence() -> None:
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.3, 0.2])
    expected = float((p * (p / q).log()).sum())
    assert float((p * k3_divergence(p.log(), q.log())).sum()) == pytest.approx(expected, abs=1e-6)


def test_loss_is_surrogate_plus_kl_minus_entropy() -> None:
    loss, parts = token_losses(
        logs(1.0),
        torch.tensor([0.5]),
        logs(1.0),
        logs(2.0),
        torch.tensor([3.0]),
        LossSettings(kl_beta=0.04, entropy=0.01),
    )
    assert float(loss) == pytest.approx(-3.0 + 0.04 * (1 - math.log(2)) - 0.01 * 0.5)
    assert float(parts["kl"]) == pytest.approx(1 - math.log(2))
