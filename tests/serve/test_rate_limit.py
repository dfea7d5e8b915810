"""Token buckets, by hand: 6 a minute is one every 10 seconds, and 6 at once."""

from __future__ import annotations

import pytest

from biddable.serve.rate_limit import RateLimiter


def test_a_minutes_worth_at_once_then_one_every_ten_seconds() -> None:
    limiter = RateLimiter(6)
    assert [limiter.take("ada", 100.0) for _ in range(6)] == [0.0] * 6
    assert limiter.take("ada", 100.0) == pytest.approx(10.0)
    assert limiter.take("ada", 104.0) == pytest.approx(6.0)  # a refused request costs nothing
    assert limiter.take("ada", 109.9) == pytest.approx(0.1)
    assert limiter.take("ada", 110.0) == 0.0
    assert limiter.take("ada", 110.0) == pytest.approx(10.0)


def test_a_bucket_holds_no_more_than_a_minutes_worth() -> None:
    limiter = RateLimiter(6)
    limiter.take("ada", 0.0)
    assert [limiter.take("ada", 10_000.0) for _ in range(7)] == [0.0] * 6 + [pytest.approx(10.0)]


def test_callers_do_not_share_a_bucket_and_only_the_latest_are_remembered() -> None:
    limiter = RateLimiter(1, max_callers=2)
    assert [limiter.take(name, 0.0) for name in ("ada", "bob")] == [0.0, 0.0]
    assert limiter.take("ada", 1.0) == pytest.approx(59.0)  # ada is now the one who asked last
    assert limiter.take("eve", 1.0) == 0.0  # bob is forgotten
    assert limiter.take("ada", 1.0) == pytest.approx(59.0)
    assert limiter.take("bob", 1.0) == 0.0
