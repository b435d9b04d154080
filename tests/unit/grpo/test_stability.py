from grpo.stability import SpikeDetector, slowest_over_median


def accepted(detector: SpikeDetector, loss: float) -> bool:
    """As the loop does with spike_action skip: a spike is not accepted."""
    if detector.is_spike(loss):
        return False
    detector.accept(loss)
    return True


def test_a_jump_of_a_fifth_over_the_last_accepted_loss_is_a_spike() -> None:
    detector = SpikeDetector(threshold=0.2, floor=0.5)
    assert accepted(detector, 1.0)
    assert accepted(detector, 1.19)
    assert not accepted(detector, 1.19 * 1.21)
    assert accepted(detector, 1.2)  # against 1.19: the spike was not accepted


def test_an_accepted_spike_is_what_the_next_loss_is_compared_with() -> None:
    detector = SpikeDetector(last=1.0)
    assert detector.is_spike(2.0)
    detector.accept(2.0)
    assert not detector.is_spike(2.1)


def test_a_fall_is_no_spike() -> None:
    assert not SpikeDetector(last=1.0).is_spike(-3.0)


def test_near_zero_the_floor_decides() -> None:
    # 0.001 -> 0.05 is fifty times the last loss, but a tenth of the floor.
    assert not SpikeDetector(0.2, 0.5, last=0.001).is_spike(0.05)
    assert SpikeDetector(0.2, 0.5, last=0.001).is_spike(0.102)
    assert SpikeDetector(0.2, 0.0001, last=0.001).is_spike(0.05)


def test_a_negative_last_loss_does_not_turn_the_rule_around() -> None:
    assert SpikeDetector(0.2, 0.5, last=-1.0).is_spike(-0.7)
    assert not SpikeDetector(0.2, 0.5, last=-1.0).is_spike(-1.5)


def test_a_loss_that_is_not_finite_is_a_spike_and_is_forgotten() -> None:
    detector = SpikeDetector(last=0.1)
    for loss in (float("nan"), float("inf")):
        assert detector.is_spike(loss)
        detector.accept(loss)
    assert detector.last == 0.1


def test_slowest_over_median() -> None:
    assert slowest_over_median([1.0, 1.0, 4.0]) == 4.0
    assert slowest_over_median([2.0, 2.0]) == 1.0
    assert slowest_over_median([1.0, 3.0]) == 3.0
