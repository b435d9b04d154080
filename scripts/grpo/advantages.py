"""Group-relative advantages (Shao et al. 2024, DeepSeekMath, section 4.1)."""

from __future__ import annotations

import torch


def group_advantages(
    rewards: torch.Tensor, group_size: int, normalise_by_std: bool = True, epsilon: float = 1e-6
) -> torch.Tensor:
    """Reward minus its group's mean, divided by the group's standard deviation if asked.

    Parameters
    ----------
    rewards
        ``[N * group_size]``, group by group.
    normalise_by_std
        ``(r - mean) / (std + epsilon)`` with the unbiased standard deviation, as slime does. Off:
        ``r - mean`` (Liu et al. 2025, "Dr. GRPO"), which keeps the size of the reward.

    Returns
    -------
    Tensor
        ``[N * group_size]``; zero for a group whose rewards are all equal: it carries no gradient.
    """
    grouped = rewards.view(-1, group_size)
    centred = grouped - grouped.mean(1, keepdim=True)
    # The mean of equal floats may differ from them by a rounding error, which a division by the
    # epsilon would blow up.
    centred = centred.masked_fill(flat_groups(rewards, group_size)[:, None], 0.0)
    if normalise_by_std:
        centred = centred / (grouped.std(1, keepdim=True) + epsilon)
    return centred.flatten()


def flat_groups(rewards: torch.Tensor, group_size: int) -> torch.Tensor:
    """Which groups have equal rewards throughout, ``[N]`` of bool."""
    grouped = rewards.view(-1, group_size)
    return (grouped == grouped[:, :1]).all(1)
