"""A synthetic hourly market with a planted signal, its last hours calibrated to given end capitals."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from common.errors import InputError
from trading.bars import STEP_S, Bars, parse_time

START_PRICE = 100_000.0
# Closes are rounded here. Rounding to cents would move the end capitals by a cent or so, this does not.
DECIMALS = 4

# What is not worth a setting. All lengths in hours.
SHOCK_FREEDOM = 6  # degrees of freedom of Student's t: fat tails, finite kurtosis
VOLATILITY_PERSISTENCE, VOLATILITY_SPREAD = (
    0.97,
    0.12,
)  # log volatility: AR(1) coefficient, standard deviation of a shock
TREND_LIFE = 24  # mean time until the hidden trend turns
SLOW_LIFE, SLOW_LEAST = 600, 50  # bull and bear phases last the least plus an exponential time of this mean
MOMENTUM_MOVES, MOMENTUM_SCALE = 3, 1.7  # momentum follows tanh(sum of the last 3 standardised moves / 1.7)


@dataclass(frozen=True)
class Settings:
    """The market before calibration.

    Attributes
    ----------
    seed
        Fixes every draw. The draws do not depend on the strengths: markets of one seed share their shocks.
    bars
        Number of closes.
    start
        Time of the first bar, ISO 8601 in UTC.
    volatility
        Mean level of an hour's standard deviation (log return).
    momentum, trend, slow_drift
        Strengths of what can be learned, as mean log return in units of the hour's volatility. All 0: nothing
        to learn.
    """

    seed: int = 2025
    bars: int = 8500
    start: str = "2025-01-01T00:00:00Z"
    volatility: float = 0.0058
    momentum: float = 0.18
    trend: float = 0.10
    slow_drift: float = 0.02


@dataclass(frozen=True)
class Calibration:
    """What constant positions shall earn on the last `hours` hours, re-levered every hour, at no cost.

    Attributes
    ----------
    hours
        Hours at the end that are calibrated; 0: none.
    leverage
        Exposure as a multiple of equity.
    capital
        Where equity starts, in dollars.
    buy_capital, sell_capital
        Where Always Buy and Always Sell end, in dollars.
    """

    hours: int = 1706
    leverage: float = 2.0
    capital: float = 100_000.0
    buy_capital: float = 52_437.0
    sell_capital: float = 149_632.0


def synthetic_bars(settings: Settings, calibration: Calibration) -> tuple[Bars, dict[str, float] | None]:
    """Draw a market.

    Returns
    -------
    Bars
        Hourly closes.
    dict or None
        The calibration as asked for, the two constants `a` and `b` that achieve it (r -> a + b r on the
        simple returns), and the end capitals that the rounded closes give; None without calibration.

    Raises
    ------
    InputError
        If a setting is out of range, or the end capitals cannot be reached.
    """
    _check(settings, calibration)
    first = parse_time(settings.start, "market.synthetic.start")
    moves = centred(standardised_moves(settings), calibration.hours)
    returns = np.expm1(moves * volatilities(settings))
    facts = None
    if calibration.hours:
        a, b = solve(returns[-calibration.hours :], calibration)
        returns[-calibration.hours :] = a + b * returns[-calibration.hours :]
        facts = {**asdict(calibration), "a": a, "b": b}
    close = np.round(START_PRICE * np.concatenate([[1.0], np.cumprod(1 + returns)]), DECIMALS)
    if not (np.isfinite(close).all() and (close > 0).all()):
        raise InputError("market.synthetic: the price ran off to zero or infinity. Lower volatility or bars.")
    if facts:
        facts |= _verified(close, calibration)
    time = (first + STEP_S * np.arange(settings.bars)).astype("datetime64[s]")
    return Bars(time, close), facts


def volatilities(settings: Settings) -> np.ndarray:
    """Standard deviation of each hour's log return, shape (bars - 1,): log-AR(1) around the level."""
    normal = _generator(settings, 0).standard_normal(settings.bars - 1)
    spread = VOLATILITY_SPREAD / math.sqrt(1 - VOLATILITY_PERSISTENCE**2)
    log = np.empty(len(normal))
    state = spread * normal[0]
    for t, shock in enumerate(normal.tolist()):
        if t:
            state = VOLATILITY_PERSISTENCE * state + VOLATILITY_SPREAD * shock
        log[t] = state
    return settings.volatility * np.exp(log - spread**2 / 2)


def standardised_moves(settings: Settings) -> np.ndarray:
    """Log returns in units of the hour's volatility, shape (bars - 1,): shocks, and all there is to learn."""
    hours = settings.bars - 1
    shocks = _generator(settings, 1).standard_t(SHOCK_FREEDOM, hours) * math.sqrt((SHOCK_FREEDOM - 2) / SHOCK_FREEDOM)
    moves = (
        shocks + settings.trend * _hidden_trend(settings, hours) + settings.slow_drift * _slow_phase(settings, hours)
    )
    if settings.momentum == 0:
        return moves
    # Each move feeds the next ones: a loop, over plain numbers because that is the fast kind.
    done: list[float] = []
    for t, move in enumerate(moves.tolist()):
        recent = sum(done[max(0, t - MOMENTUM_MOVES) :])
        done.append(move + settings.momentum * math.tanh(recent / MOMENTUM_SCALE))
    return np.array(done)


def centred(moves: np.ndarray, hours: int) -> np.ndarray:
    """Take the median of all but the last `hours` moves from those: as many hours up as down.

    Training on a market with a few more hours down than up ends at Always Sell, because group-normalised
    advantages see little more than signs. The last hours get their drift from the calibration.
    """
    moves = moves.copy()
    before = len(moves) - hours
    moves[:before] -= np.median(moves[:before])
    return moves


def solve(returns: np.ndarray, calibration: Calibration) -> tuple[float, float]:
    """Find a and b > 0 so that both constant positions on ``a + b * returns`` end where they shall.

    Newton's method on the two log capitals, ``sum(log(1 +- leverage * (a + b r)))``. They fix, to second
    order, the sum of the returns and the sum of their squares, and that is where it starts.

    Raises
    ------
    InputError
        If there is no such market.
    """
    hours, leverage = len(returns), calibration.leverage
    log_buy = math.log(calibration.buy_capital / calibration.capital)
    log_sell = math.log(calibration.sell_capital / calibration.capital)
    mean = (log_buy - log_sell) / (2 * leverage * hours)
    variance = -(log_buy + log_sell) / (leverage**2 * hours) - mean**2
    if variance <= 0:
        raise InputError(
            f"market.synthetic.calibrate: no market of {hours} hours ends at both "
            f"{calibration.buy_capital:,.0f} (Always Buy) and {calibration.sell_capital:,.0f} (Always Sell) "
            f"from {calibration.capital:,.0f}. Their product must lie clearly below the capital squared."
        )
    b = math.sqrt(variance) / float(returns.std())
    unknowns = np.array([mean - b * float(returns.mean()), b])
    for _ in range(50):
        exposed = leverage * (unknowns[0] + unknowns[1] * returns)
        if np.abs(exposed).max() >= 1 or unknowns[1] <= 0:
            break
        error = np.array([np.log1p(exposed).sum() - log_buy, np.log1p(-exposed).sum() - log_sell])
        if np.abs(error).max() < 1e-13 * hours:
            return float(unknowns[0]), float(unknowns[1])
        long, short = leverage / (1 + exposed), -leverage / (1 - exposed)
        slope = [[long.sum(), (long * returns).sum()], [short.sum(), (short * returns).sum()]]
        unknowns = unknowns - np.linalg.solve(slope, error)
    raise InputError(
        f"market.synthetic.calibrate: seed and end capitals do not go together at leverage {leverage:g}: an "
        "hour would move by more than the equity bears. Choose another seed, or end capitals further below "
        "the capital."
    )


def end_capital(close: np.ndarray, position: float, capital: float) -> float:
    """Capital after holding `position` times equity from first to last close, re-levered every bar."""
    return float(capital * np.prod(1 + position * (close[1:] / close[:-1] - 1)))


def _verified(close: np.ndarray, calibration: Calibration) -> dict[str, float]:
    """End capitals of the closes as they are written; refuse to be off by half a cent."""
    last = close[-calibration.hours - 1 :]
    buy = end_capital(last, calibration.leverage, calibration.capital)
    sell = end_capital(last, -calibration.leverage, calibration.capital)
    if abs(buy - calibration.buy_capital) >= 0.005 or abs(sell - calibration.sell_capital) >= 0.005:
        raise InputError(
            f"market.synthetic.calibrate: rounded to {DECIMALS} decimals, the closes end at {buy:.4f} and "
            f"{sell:.4f}, not at {calibration.buy_capital:.2f} and {calibration.sell_capital:.2f}. Choose "
            "another seed or fewer bars."
        )
    return {"buy_capital_reached": round(buy, 2), "sell_capital_reached": round(sell, 2)}


def _hidden_trend(settings: Settings, hours: int) -> np.ndarray:
    """+1 or -1, turning at random once in `TREND_LIFE` hours on average."""
    generator = _generator(settings, 2)
    turns = np.where(generator.random(hours) < 1 / TREND_LIFE, -1, 1)
    return generator.choice([-1, 1]) * np.cumprod(turns)


def _slow_phase(settings: Settings, hours: int) -> np.ndarray:
    """+1 in bull, -1 in bear phases, which alternate."""
    generator = _generator(settings, 3)
    lengths = SLOW_LEAST + generator.exponential(SLOW_LIFE, hours // SLOW_LEAST + 1).astype(int)
    signs = generator.choice([-1, 1]) * (-1) ** np.arange(len(lengths))
    return np.repeat(signs, lengths)[:hours]


def _generator(settings: Settings, stream: int) -> np.random.Generator:
    """An own stream of random numbers for each part, so that one part's draws never shift another's."""
    return np.random.default_rng([settings.seed, stream])


def _check(settings: Settings, calibration: Calibration) -> None:
    key = "market.synthetic"
    if settings.seed < 0:
        raise InputError(f"{key}.seed: is {settings.seed}, must be 0 or more.")
    if calibration.hours < 0:
        raise InputError(f"{key}.calibrate.hours: is {calibration.hours}, must be 0 (off) or more.")
    if settings.bars < max(calibration.hours, 1) + 2:
        raise InputError(
            f"{key}.bars: is {settings.bars}, too few for {calibration.hours} calibrated hours and a start. Raise it."
        )
    if not 0 < settings.volatility < 1:
        raise InputError(
            f"{key}.volatility: is {settings.volatility:g}, must lie between 0 and 1 (a fraction an hour)."
        )
    for name in ("leverage", "capital", "buy_capital", "sell_capital"):
        if calibration.hours and not getattr(calibration, name) > 0:
            raise InputError(f"{key}.calibrate.{name}: is {getattr(calibration, name):g}, must be above 0.")
