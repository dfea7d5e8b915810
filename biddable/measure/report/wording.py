"""The report's words: numbers with units and intervals, names of models, sentences that follow from the
numbers."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from markupsafe import Markup, escape

from biddable.measure.statistics import Estimate

THIN = "\u202f"
"""A narrow no-break space, between a number and its unit."""
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Characters that HTML forbids, and line separators that a terminal or an editor would take for the end of a
line."""
LONGEST = 2400
"""Characters of a model's answer that are shown."""


def percent(share: float, digits: int = 0) -> str:
    """0.752 -> '75 %'."""
    return f"{100 * share:.{digits}f}{THIN}%".replace("-", "−")


def signed(points: float, digits: int = 1, unit: str = "%") -> str:
    """0.41 -> '+0.4 %'; the number is in the unit already."""
    return f"{points:+.{digits}f}{THIN}{unit}".replace("-", "−")


def between(estimate: Estimate, digits: int = 0) -> str:
    """The interval of a share: '67 to 82 %'."""
    return f"{100 * estimate.low:.{digits}f} to {percent(estimate.high, digits)}".replace("-", "−")


def with_interval(estimate: Estimate, digits: int = 0) -> str:
    """'75 % (67–82)', as it stands beside a dot."""
    return (
        f"{percent(estimate.value, digits)} "
        f"({100 * estimate.low:.{digits}f}–{100 * estimate.high:.{digits}f})"
    )


def plain_interval(estimate: Estimate, digits: int = 2) -> str:
    """'3.07 (3.00–3.14)' for a number without percent."""
    return f"{estimate.value:.{digits}f} ({estimate.low:.{digits}f}–{estimate.high:.{digits}f})"


def count(number: float) -> str:
    """12345 -> '12,345'."""
    return f"{number:,.0f}"


def seconds(number: float) -> str:
    """754 -> '12 min 34 s'."""
    if number < 10:
        return f"{number:.1f}{THIN}s"
    minutes, rest = divmod(round(number), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}{THIN}h {minutes}{THIN}min"
    return f"{minutes}{THIN}min {rest}{THIN}s" if minutes else f"{rest}{THIN}s"


def printable(value: Any) -> Any:
    """Text without characters that HTML forbids; anything else as it is. Escaping is left to the template."""
    return CONTROL.sub("\ufffd", value) if isinstance(value, str) and not isinstance(value, Markup) else value


def clean(text: Any, most: int = LONGEST) -> str:
    """Printable text, cut after `most` characters with a note of how many more there are."""
    shown = str(printable(str(text)))
    return shown if len(shown) <= most else f"{shown[:most]} … ({count(len(shown) - most)} more characters)"


def number(value: Any) -> Markup:
    """A setting or a summary's number as an element that carries the exact value and shows four digits of
    it."""
    if value is None:
        return Markup("<em>none</em>")
    if isinstance(value, bool):
        return Markup("<code>{}</code>").format("true" if value else "false")
    if isinstance(value, int | float):
        return Markup('<data value="{}">{}</data>').format(repr(value), _digits(value))
    if isinstance(value, str):
        return escape(clean(value))
    return Markup("<code>{}</code>").format(clean(json.dumps(value, ensure_ascii=False)))


def _digits(value: float) -> str:
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if isinstance(value, int) or (abs(value) >= 1000 and float(value).is_integer()):
        return count(value)
    return ("−" if value < 0 else "") + f"{abs(value):.4g}"


def titles(algorithm: str, ptx: bool) -> dict[str, str]:
    """What the usual models are called, by role; `algorithm` trained the main policy, `ptx`: with the
    pretraining mix."""
    return {
        "start": "start model",
        "sft": "SFT",
        "ppo": f"{algorithm}-ptx" if ptx else algorithm,
        "plain": "PPO without ptx" if ptx else "plain PPO",
    }


def verdict(judges: str, first: str, second: str, estimate: Estimate) -> str:
    """The headline: a preference is only claimed when the interval leaves 50 % out."""
    if estimate.low > 0.5:
        return f"{judges} prefer {first} to {second} in {percent(estimate.value)} of pairs"
    if estimate.high < 0.5:
        return f"{judges} prefer {second} to {first} in {percent(1 - estimate.value)} of pairs"
    return (
        f"{judges} see no clear difference between {first} and {second}: {first} wins "
        f"{percent(estimate.value)} of pairs"
    )


def capital(sentence: str) -> str:
    """The sentence with a capital first letter."""
    return sentence[:1].upper() + sentence[1:]
