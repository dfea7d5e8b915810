"""Tables as lines of text that fit 80 columns, with no name cut."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

WIDTH = 78
"""80 columns less the two of an indent."""


def format_table(rows: Sequence[Sequence[str]], width: int = WIDTH) -> Iterator[str]:
    """Columns as wide as their longest cell; the last one is wrapped."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    indent = sum(width + 2 for width in widths)
    for row in rows:
        start = "".join(f"{cell:<{width + 2}}" for cell, width in zip(row, widths, strict=False))
        lines = textwrap.wrap(
            row[-1], max(20, width - indent), break_long_words=False, break_on_hyphens=False
        )
        yield (start + (lines[0] if lines else "")).rstrip()
        yield from (" " * indent + line for line in lines[1:])
