"""When a set will be done, with an interval. Pure arithmetic.

Future days are drawn from the past ones, days without work included: a weekend slows a forecast as it slows
the work. Each of many futures first draws its own past (a bootstrap of the days), so that a pace known from
few days makes a wide interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

PAST_DAYS = 28
"""So many last whole days are the past; four weeks, so that every weekday is in it equally often."""
LEAST_PAST = 7
"""Days that the past must have: a pace without a weekend in it promises too much."""
LEAST_WORKED = 3
"""And so many of them with work."""
LONGEST_DAYS = 365
"""What takes longer is not forecast in days."""
FUTURES = 1000
LEVEL = 0.8
"""Share of the futures between the ends of the interval."""


class Forecast(NamedTuple):
    """Days from now until a set is done: the middle of the futures, and the ends of the interval. None: more
    than `LONGEST_DAYS`."""

    days: int | None
    low: int | None
    high: int | None


def forecast(answers_a_day: Sequence[int], to_do: int, seed: int = 0) -> Forecast | None:
    """How long `to_do` more answers take, from the answers of each past whole day, the newest last, days
    without any as 0; None while there is too little past to tell.

    What comes before the first answer is not part of the past: the work had not begun.
    """
    if to_do <= 0:
        return Forecast(0, 0, 0)
    past = np.trim_zeros(np.asarray(answers_a_day[-PAST_DAYS:]), "f")
    if len(past) < LEAST_PAST or np.count_nonzero(past) < LEAST_WORKED:
        return None
    rng = np.random.default_rng(seed)
    own_past = rng.choice(past, (FUTURES, len(past)))
    drawn_days = rng.integers(0, len(past), (FUTURES, LONGEST_DAYS))
    enough = np.cumsum(np.take_along_axis(own_past, drawn_days, axis=1), axis=1) >= to_do
    days = np.where(enough.any(axis=1), enough.argmax(axis=1) + 1, LONGEST_DAYS + 1)
    ends = np.quantile(days, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], method="inverted_cdf")
    low, middle, high = (int(day) if day <= LONGEST_DAYS else None for day in ends)
    return Forecast(middle, low, high)
