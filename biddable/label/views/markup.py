"""Texts of people and models as safe HTML: Markdown without HTML, links or pictures, and no character that
hides or reverses others."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from html import escape
from typing import Any

from markupsafe import Markup

MAX_MARKDOWN = 40_000
"""Texts of more characters are shown as plain text: rendering must be quick, whatever a text holds."""
MAX_MARKDOWN_LINES = 4_000
"""The same for lines: each costs the renderer more than a character."""
MAX_CELLS = 4_000
"""Cells that the tables of a text may come to. A line of one character fills a row as wide as its table, so
that cells grow with the square of the text; above this, tables are shown as they were typed."""
MAX_CACHED = 10_000
"""A thousand texts of at most this length are kept as HTML, and a few of the longer ones: the guideline is on
every page, an answer on several people's."""
MAX_SHOWN = 300_000
"""Of a still longer text the beginning is shown, with a note of how much is missing."""
TAGS = {
    *("p", "br", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "hr"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
SCROLLED_TABLE = '<div class="table" tabindex="0" role="group" aria-label="Table"><table>'
DIVIDER = re.compile(r"^[ \t>*+\d.)|:-]+$", re.M)
"""A line between a table's head and its body, also within lists and quotations."""
UNSAFE_CHARACTERS = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Characters that cannot be seen, or that change how others are displayed (such as U+202E, right-to-left
override). The joiners that scripts and emoji need (U+200C, U+200D) stay."""


def rich(text: str, breaks: bool = True, heading: int = 3) -> Markup:
    """A text as its writer probably meant it: Markdown. Unsafe characters are shown by their numbers.

    `breaks`: a line's end is a line break. `heading`: the level of the text's highest heading on the page;
    deeper ones follow without gaps.
    """
    if len(text) > MAX_MARKDOWN or text.count("\n") > MAX_MARKDOWN_LINES:
        return plain(text)
    return (_rich if len(text) <= MAX_CACHED else _rich_long)(text, breaks, heading)


def _render(text: str, breaks: bool, heading: int) -> Markup:
    import nh3

    # The renderer writes no HTML of the text's own; the sanitiser makes sure of that, should the renderer
    # have a bug.
    text = _escape_unsafe(text)
    markdown = _markdown(breaks, heading, tables=_most_cells(text) <= MAX_CELLS)
    html = nh3.clean(markdown.render(text), tags=TAGS, attributes={}, link_rel=None)
    # Wide tables and long lines of code scroll by themselves, also by keys. A text's own "<" is escaped by now.
    html = html.replace("<table>", SCROLLED_TABLE).replace("</table>", "</table></div>")
    return Markup(_show_unsafe(html.replace("<pre>", '<pre tabindex="0">')))


_rich = lru_cache(maxsize=1024)(_render)
_rich_long = lru_cache(maxsize=64)(_render)


def _most_cells(text: str) -> int:
    """How many cells tables can come to: columns of the widest line that could divide head and body, times
    lines."""
    widest = max((line.count("|") for line in DIVIDER.findall(text)), default=0)
    return (widest + 1) * (text.count("\n") + 1) if widest else 0


def plain(text: str) -> Markup:
    """A text exactly as it is."""
    missing = len(text) - MAX_SHOWN
    html = escape(_escape_unsafe(text[:MAX_SHOWN]))
    note = f'<p class="notice warn">{missing:,} more characters are not shown.</p>' if missing > 0 else ""
    return Markup(f'<pre class="plain-text">{_show_unsafe(html)}</pre>{note}')


def line(text: str, max_characters: int = 120) -> Markup:
    """The beginning of a text in one line."""
    short = " ".join(text.split())
    if len(short) > max_characters:
        short = short[: max_characters - 1] + "…"
    return Markup(_show_unsafe(escape(_escape_unsafe(short))))


def _escape_unsafe(text: str) -> str:
    """Unsafe characters as marks (U+E000 NUMBER U+E001) that rendering leaves alone. A text's own U+E000
    could forge one: it goes."""
    text = text.replace("\r\n", "\n").replace("\ue000", "\ufffd").replace("\ue001", "\ufffd")
    return UNSAFE_CHARACTERS.sub(lambda match: f"\ue000{ord(match[0]):04X}\ue001", text)


def _show_unsafe(html: str) -> str:
    """The marks as visible numbers, with the character's name as a tooltip."""

    def show(mark: re.Match[str]) -> str:
        name = unicodedata.name(chr(int(mark[1], 16)), "control character").lower()
        return f'<span class="odd" title="{escape(name)}">U+{mark[1]}</span>'

    return re.sub("\ue000([0-9A-F]{4,6})\ue001", show, html)


@cache
def _markdown(breaks: bool, heading: int, tables: bool):  # type: ignore[no-untyped-def]
    from markdown_it import MarkdownIt

    def set_levels(state: Any) -> None:
        """Headings under those of the page: the text's own levels, whichever it uses, become `heading` and
        the next ones."""
        above: list[str] = []  # tags of the headings that this one stands under, its own last
        for token in state.tokens:
            if token.type == "heading_open":
                above = [*(tag for tag in above if tag < token.tag), token.tag]
            if token.type in ("heading_open", "heading_close"):
                token.tag = f"h{min(6, heading + len(above) - 1)}"

    parser = MarkdownIt("commonmark", {"html": False, "breaks": breaks, "linkify": False, "maxNesting": 20})
    parser.core.ruler.push("set_levels", set_levels)
    return parser.enable(["strikethrough", *(["table"] if tables else [])]).disable(
        ["link", "image", "autolink", "reference", "html_inline", "html_block"]
    )
