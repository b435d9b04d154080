"""The GRPO loss: clipped surrogate, k3 KL to the reference, entropy bonus. Pure functions of token arrays."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class LossSettings:
    """Weights of the loss.

    clip_low, clip_high bound the probability ratio to ``[1 - clip_low, 1 + clip_high]``; kl_beta
    weighs the KL divergence to the reference, entropy the bonus.
    """

    clip_low: float = 0.2
    clip_high: float = 0.28
    kl_beta: float = 0.04
    entropy: float = 0.001


def clipped_surrogate(
    logprob: torch.Tensor, old_logprob: torch.Tensor, advantage: torch.Tensor, low: float, high: float
) -> torch.Tensor:
    """Negative clipped surrogate of each token (PPO, Schulman et al. 2017, equation 7).

    Separate bounds as in DAPO (Yu et al. 2025).
    """
    ratio = (logprob - old_logprob).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def k3_divergence(logprob: torch.Tensor, reference_logprob: torch.Tensor) -> torch.Tensor:
    """Estimate of KL(policy || reference) for each token, never negative.

    With ``d = reference - policy``: ``exp(d) - d - 1`` (Schulman 2020, "Approximating KL divergence", k3).
    """
    difference = reference_logprob - logprob
    return difference.exp() - difference - 1


def clip_active(
    logprob: torch.Tensor, old_logprob: torch.Tensor, advantage: torch.Tensor, low: float, high: float
) -> torch.Tensor:
    """Tokens whose gradient the clip removes: the ratio left the bounds in the advantage's direction."""
    ratio = (logprob - old_logprob).exp()
    return ((ratio > 1 + high) & (advantage > 0)) | ((ratio < 1 - low) & (advantage < 0))


def token_losses(
    logprob: torch.Tensor,
    entropy: torch.Tensor,
    old_logprob: torch.Tensor,
    reference_logprob: torch.Tensor,
    advantage: torch.Tensor,
    settings: LossSettings,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss of each answer token; the batch's loss is the mean over all its tokens.

    Parameters
    ----------
    logprob, entropy, old_logprob, reference_logprob, advantage
        All ``[A]``: under the policy, of its distribution, when sampled, under the frozen
        reference, and of the answer that the token belongs to.

    Returns
    -------
    loss, parts
        Loss ``[A]``, and what to report, detached, each ``[A]``: kl, entropy, clip_fraction.
    """
    bounds = settings.clip_low, settings.clip_high
    surrogate = clipped_surrogate(logprob, old_logprob, advantage, *bounds)
    kl = k3_divergence(logprob, reference_logprob)
    loss = surrogate + settings.kl_beta * kl - settings.entropy * entropy
    with torch.no_grad():
        clipped = clip_active(logprob, old_logprob, advantage, *bounds).to(loss.dtype)
    return loss, {"kl": kl.detach(), "entropy": entropy.detach(), "clip_fraction": clipped}
