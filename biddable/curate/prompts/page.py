"""The page about curation: what came in, what went and why, who asked how much, how long prompts are, which
use cases. One HTML file, no script.

Users are named by their pseudonyms and only where they stand out; no prompt is shown, so the page holds no
personal data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup, escape

from biddable.curate.prompts.dedup import Dropped
from biddable.curate.prompts.parallel import Scanned
from biddable.run import html
from biddable.run.records import Split

REASONS = {
    "empty": "empty or too short",
    "too_long": "too long",
    "language": "in another language",
    "same_text": "the same text",
    "long_prefix": "begins as another does",
    "near_duplicate": "nearly the same text",
    "user_cap": "beyond the user's share",
    "personal_data": "personal data",
}
KINDS = {
    "key": "passwords and keys",
    "email": "e-mail addresses",
    "account": "bank accounts (IBAN)",
    "card": "payment cards",
    "ssn": "social security numbers",
    "ip": "IP addresses",
    "phone": "telephone numbers",
    "address": "street addresses",
    "name": "names",
}
LENGTHS = (50, 100, 200, 400, 800, 1600, 3200)
ACTIVITY = (1, 2, 5, 10, 20, 50, 100, 200)
WIDTH, ROW, LEFT, RIGHT = 360, 26, 150, 66
"""Points of a plot: its width, a bar's row, room for words at the left and for numbers at the right."""


class Bar(NamedTuple):
    """One row of a plot; a part of it may be drawn dark."""

    label: str
    value: int
    part: int | None = None


def write_page(
    path: Path,
    run: str,
    scanned: Scanned,
    dropped: Sequence[Dropped],
    splits_by_index: Mapping[int, Split],
    numbers: Mapping[str, int],
) -> None:
    """Write the page to a side name, then rename."""
    reasons = Counter(str(row.reason) for row in dropped)
    text = (
        html.environment(Path(__file__).parent)
        .get_template("page.html")
        .render(
            run=run,
            numbers=numbers,
            reasons=[(REASONS[reason], reason, count) for reason, count in reasons.most_common()],
            plots=[plot for plot in draw_plots(scanned, reasons, splits_by_index, numbers) if plot],
            splits=[
                (split, numbers[f"prompts_{split}"], numbers[f"users_{split}"])
                for split in ("train", "valid", "test")
            ],
            users=busiest_users(scanned, splits_by_index),
            masked=sum(count for name, count in numbers.items() if name.startswith("masked_")),
        )
    )
    html.write_page(path, text)


def draw_plots(
    scanned: Scanned,
    reasons: Mapping[str, int],
    splits_by_index: Mapping[int, Split],
    numbers: Mapping[str, int],
) -> list[tuple[str, Markup, str] | None]:
    stays = [index in splits_by_index for index in range(len(scanned.ids))]
    # Only some prompts have a language: their marks go with them.
    marked = [(name, stay) for name, stay in zip(scanned.languages, stays, strict=True) if name]
    languages = [name for name, _ in marked], [stay for _, stay in marked]
    masked = [
        Bar(KINDS.get(name[7:], name[7:]), count)
        for name, count in numbers.items()
        if name.startswith("masked_")
    ]
    return [
        bar_plot(
            "What was left out",
            [Bar(REASONS[name], reasons[name]) for name in REASONS if reasons[name]],
            "Prompts by the rule that dropped them; the rules are applied in this order.",
        ),
        bar_plot(
            "Personal data",
            sorted(masked, key=lambda bar: -bar.value),
            "Different values found in the prompts that were left, by kind.",
        ),
        bar_plot(
            "Use cases",
            count_bars([name or "not said" for name in scanned.use_cases], stays),
            "All prompts; the dark part was kept.",
        ),
        bar_plot(
            "Length of prompts, characters",
            histogram_bars(scanned.characters, stays, LENGTHS),
            "Characters of all turns; the dark part was kept.",
        ),
        bar_plot(
            "Prompts per user",
            activity_bars(scanned, splits_by_index),
            "How many users have so many prompts among those that were kept.",
        ),
        bar_plot(
            "Languages",
            count_bars(*languages),
            "Of the prompts that were looked at.",
        )
        if any(scanned.languages)
        else None,
    ]


def count_bars(names: Sequence[str], stays: Sequence[bool], most: int = 14) -> list[Bar]:
    """The most frequent names, the rest as one."""
    totals = Counter(names)
    parts = Counter(name for name, stay in zip(names, stays, strict=True) if stay)
    top = [name for name, _ in sorted(totals.items(), key=lambda item: (-item[1], item[0]))]
    if len(top) > most:
        rest = top[most - 1 :]
        others = Bar(
            f"{len(rest)} others", sum(totals[name] for name in rest), sum(parts[name] for name in rest)
        )
        return [*(Bar(name, totals[name], parts[name]) for name in top[: most - 1]), others]
    return [Bar(name, totals[name], parts[name]) for name in top]


def histogram_bars(values: Sequence[int], stays: Sequence[bool], edges: Sequence[int]) -> list[Bar]:
    def bin_of(value: int) -> int:
        return sum(value > edge for edge in edges)

    totals = Counter(map(bin_of, values))
    parts = Counter(bin_of(value) for value, stay in zip(values, stays, strict=True) if stay)
    return [Bar(label, totals[number], parts[number]) for number, label in enumerate(range_labels(edges))]


def activity_bars(scanned: Scanned, splits_by_index: Mapping[int, Split]) -> list[Bar]:
    counts = Counter(Counter(scanned.users[index] for index in splits_by_index).values())
    users_by_bin = Counter({sum(value > edge for edge in ACTIVITY): 0 for value in counts})
    for value, users in counts.items():
        users_by_bin[sum(value > edge for edge in ACTIVITY)] += users
    return [
        Bar(label, users_by_bin[number])
        for number, label in enumerate(range_labels(ACTIVITY))
        if users_by_bin[number]
    ]


def range_labels(edges: Sequence[int]) -> list[str]:
    """1; 2; 3 to 5; ...; more than the last."""
    starts = [1, *(edge + 1 for edge in edges[:-1])]
    inner = [str(b) if a == b else f"{a} to {b}" for a, b in zip(starts, edges, strict=True)]
    return [*inner, f"more than {edges[-1]}"]


def busiest_users(
    scanned: Scanned, splits_by_index: Mapping[int, Split], most: int = 8
) -> list[tuple[str, int, int, str]]:
    """Users with the most prompts: (pseudonym, read, kept, split)."""
    read = Counter(scanned.users)
    remaining = Counter(scanned.users[index] for index in splits_by_index)
    splits = {scanned.users[index]: split for index, split in splits_by_index.items()}
    top = sorted(read, key=lambda user: (-read[user], user))[:most]
    return [(user, read[user], remaining[user], splits.get(user, "")) for user in top]


def bar_plot(title: str, bars: Sequence[Bar], caption: str) -> tuple[str, Markup, str] | None:
    """Horizontal bars with their numbers, as SVG that scales with the page; None without bars."""
    if not bars:
        return None
    most = max(1, *(bar.value for bar in bars))
    height = ROW * len(bars) + 6
    alt = f"{title}: " + ", ".join(f"{bar.label} {bar.value}" for bar in bars)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(alt)}" font-family="inherit" '
        'font-size="11.5" fill="currentColor">'
    ]
    for number, bar in enumerate(bars):
        y, width = 3 + ROW * number, (WIDTH - LEFT - RIGHT) * bar.value / most
        solid = width if bar.part is None else (WIDTH - LEFT - RIGHT) * bar.part / most
        label = bar.label if len(bar.label) <= 22 else bar.label[:21] + "…"
        parts.append(f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(label)}</text>')
        parts.append(
            f'<rect x="{LEFT}" y="{y + 4}" width="{max(width, 1):.1f}" height="13" rx="2" style="fill: '
            'var(--grid)"/>'
        )
        parts.append(
            f'<rect x="{LEFT}" y="{y + 4}" width="{solid:.1f}" height="13" rx="2" style="fill: var(--sft)"/>'
        )
        parts.append(f'<text x="{LEFT + max(width, 1) + 6:.1f}" y="{y + 14}">{bar.value:,}</text>')
    return title, Markup("".join([*parts, "</svg>"])), caption
