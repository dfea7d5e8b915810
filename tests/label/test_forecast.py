"""When a set will be done: against a work whose end is known, and against simulated ones."""

from __future__ import annotations

import numpy as np
import pytest

from biddable.label.forecast import LONGEST_DAYS, Forecast, forecast


def test_an_even_pace_has_one_end() -> None:
    """Ten a day for two weeks: 95 more take ten days, whatever is drawn."""
    assert forecast([10] * 14, 95) == Forecast(10, 10, 10)
    assert forecast([10] * 14, 0) == Forecast(0, 0, 0)
    assert forecast([0] * 9 + [10] * 14, 95) == Forecast(10, 10, 10)  # the time before the work is no pause


def test_weekends_count() -> None:
    """70 in a week of which two days are free: 700 take about ten weeks, not the seven of working days
    alone."""
    end = forecast([14, 14, 14, 14, 14, 0, 0] * 4, 700)
    assert end is not None and end.days is not None and end.low is not None and end.high is not None
    assert 55 <= end.low < end.days < end.high <= 95 and abs(end.days - 70) <= 5


@pytest.mark.parametrize("past", [[], [0] * 28, [50] * 6, [0] * 20 + [9, 0, 0, 0, 0, 0, 9]])
def test_too_little_past_is_no_forecast(past: list[int]) -> None:
    assert forecast(past, 100) is None


def test_what_takes_years_has_no_date() -> None:
    assert forecast([1] * 28, LONGEST_DAYS + 1) == Forecast(None, None, None)


@pytest.mark.parametrize(("past_days", "to_do"), [(28, 2000), (14, 1000), (7, 600)])
def test_the_interval_holds_the_end_as_often_as_it_says(past_days: int, to_do: int) -> None:
    """Work with free weekends, an unknown pace, and days that differ by half: the end lies in the interval in
    eight of ten cases at least."""
    rng = np.random.default_rng(5)
    inside = []
    for seed in range(150):
        pace = rng.lognormal(np.log(100), 0.3)
        days = [0 if day % 7 > 4 else int(rng.poisson(pace * rng.gamma(4, 1 / 4))) for day in range(300)]
        end = forecast(days[:past_days], to_do, seed)
        assert end is not None and end.low is not None
        true_end = int((np.cumsum(days[past_days:]) >= to_do).argmax() + 1)
        inside.append(end.low <= true_end <= (end.high or LONGEST_DAYS))
    assert 0.77 <= np.mean(inside) <= 0.97
