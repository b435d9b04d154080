"""Spikes and slow iterations: what is flagged, what stops the training."""

from __future__ import annotations

import math

import pytest

from grpo.stability import WatchError
from slime_engine.watch import Limits, SpikeError, Watch


def limits(**changed: object) -> Limits:
    values = {"spike_threshold": 0.2, "spike_floor": 0.5, "spike_action": "log", "spike_limit": 3}
    values |= {"straggler_ratio": 1.5, "window": 4, "straggler_limit": 2}
    return Limits(**{**values, **changed})


def see(watch: Watch, losses: list[float], seconds: list[float] | None = None) -> list[bool]:
    return [watch.see(loss, second)[0] for loss, second in zip(losses, seconds or [1.0] * len(losses), strict=True)]


def test_a_spike_is_measured_against_the_last_finite_loss_whose_steps_slime_has_taken() -> None:
    losses = [0.0, 0.2, 0.2, 0.05, 0.2, math.nan, 0.2, 0.4]
    assert see(Watch(limits()), losses) == [False, True, False, False, True, True, False, True]


def test_a_loss_that_stays_at_a_new_level_stops_nothing() -> None:
    watch = Watch(limits(spike_limit=2), last=0.0)
    for number in range(1, 6):
        watch.see(0.3, 1.0)
        watch.check(number, 0.3, "folder", [])
    assert watch.spikes == 0


def test_a_resumed_run_knows_the_last_accepted_loss() -> None:
    assert see(Watch(limits(), last=0.0), [0.2]) == [True]


@pytest.mark.parametrize(("action", "limit", "stops_at"), [("stop", 10, 1), ("log", 1, 1), ("log", 3, 3)])
def test_so_many_spikes_in_a_row_stop(action: str, limit: int, stops_at: int) -> None:
    watch = Watch(limits(spike_action=action, spike_limit=limit), last=0.0)
    for number in range(1, stops_at + 1):
        loss = 9.0 * number
        watch.see(loss, 1.0)
        if number < stops_at:
            watch.check(number, loss, "folder", [1, 2])
    message = rf"spiky loss {loss:.4f}, last accepted {loss - 9:.4f}.*; folder has no checkpoint from before"
    with pytest.raises(WatchError, match=message):
        watch.check(stops_at, loss, "folder", [])


def test_the_last_good_checkpoint_is_from_before_the_spikes_in_a_row() -> None:
    watch = Watch(limits(spike_limit=3), last=0.0)
    see(watch, [0.0, 0.0, 9.0, 18.0, 27.0])  # at iterations 1 to 5
    told = (
        "the last good checkpoint is that of iteration 2 in folder, it will go on from there; later ones lie in folder/"
    )
    with pytest.raises(SpikeError, match=told) as stop:
        watch.check(5, 27.0, "folder", [1, 2, 3, 4])
    assert stop.value.good == 2
    with pytest.raises(SpikeError, match="from before, it will begin anew; later ones lie in") as stop:
        watch.check(5, 27.0, "folder", [4])
    assert stop.value.good is None
    with pytest.raises(SpikeError, match=r"go on from there\. If"):
        watch.check(5, 27.0, "folder", [1, 2])
    resumed = Watch(limits(spike_limit=3), last=18.0, spikes=2)
    see(resumed, [27.0])
    assert resumed.good(5, [1, 2, 3, 4]) == 2


def test_spikes_with_a_good_iteration_between_do_not_stop() -> None:
    watch = Watch(limits(spike_limit=2), last=0.0)
    for loss in (9.0, 0.0, 9.0, 0.0, 9.0):
        watch.see(loss, 1.0)
        watch.check(1, loss, "folder", [])


def test_an_iteration_is_slow_against_the_median_of_those_before_it() -> None:
    watch = Watch(limits())
    ratios = [watch.see(0.0, seconds)[1] for seconds in (30.0, 10.0, 10.0, 12.0, 33.0)]
    assert ratios == [1.0, pytest.approx(1 / 3), 0.5, 1.2, 3.0]
    assert watch.slow == 1
    assert watch.messages(5, 0.0, 3.0) == ["iteration 5: straggler, 3.00 x the median time of those before it"]


def test_slow_ones_in_a_row_stop_and_a_limit_of_none_never_does() -> None:
    seconds = [10.0, 10.0, 20.0, 20.0]
    watch = Watch(limits())
    see(watch, [0.0] * 4, seconds)
    with pytest.raises(
        WatchError, match=r"2 iterations in a row took more than 1.5 times.*good checkpoint is that of iteration 4 in"
    ):
        watch.check(4, 0.0, "folder", [2, 3, 4])
    spiky = Watch(limits())
    see(spiky, [0.0, 0.0, 0.0, 9.0], seconds)  # too few in a row to be no good
    with pytest.raises(WatchError, match=r"iteration 4 in folder, it will go on from there\. Look") as stop:
        spiky.check(4, 9.0, "folder", [2, 3, 4])
    assert not isinstance(stop.value, SpikeError)
    patient = Watch(limits(straggler_limit=0))
    see(patient, [0.0] * 4, seconds)
    patient.check(4, 0.0, "folder", [2, 3, 4])


def test_a_lasting_change_of_pace_becomes_the_new_median() -> None:
    watch = Watch(limits(straggler_limit=0))
    see(watch, [0.0] * 12, [10.0] * 4 + [20.0] * 8)
    assert watch.slow == 0


def test_of_what_was_not_reported_it_is_not_known_whether_it_is_a_spike_or_slow() -> None:
    watch = Watch(limits(), last=0.0)
    assert watch.see(0.0, None) == (False, None)
    see(watch, [0.0] * 3)
    assert watch.see(None, None) == (None, None)
    assert (watch.spikes, watch.slow) == (0, 0)
    watch.check(4, None, "folder", [])
