"""People's and models' texts as safe HTML: Markdown without HTML, links or pictures, and no character that hides or turns round others."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from html import escape

from markupsafe import Markup

MOST_MARKDOWN = 40_000
"""Longer texts (characters) are shown as they are: rendering must not take long whatever is in them."""
MOST_KEPT = 10_000
"""What shorter texts were made into is kept for a while: the guideline is on every page, an answer on several people's."""
MOST_SHOWN = 300_000
"""Of a still longer text the beginning is shown, with a note of how much is missing."""
TAGS = {
    *("p", "br", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "hr"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
ODD = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Characters that cannot be seen, or that change how others are seen. Joiners that scripts and emoji need (U+200C, U+200D) stay."""


def rich(text: str, breaks: bool = True) -> Markup:
    """A text as its writer may have meant it: Markdown. Odd characters are shown by their numbers; `breaks`: an end of a line is one."""
    if len(text) > MOST_MARKDOWN:
        return plain(text)
    return _rich(text, breaks) if len(text) <= MOST_KEPT else _rich.__wrapped__(text, breaks)


@lru_cache(maxsize=1024)
def _rich(text: str, breaks: bool) -> Markup:
    import nh3

    made = nh3.clean(_markdown(breaks).render(_visible(text)), tags=TAGS, attributes={}, link_rel=None)
    return Markup(_marked(made))


def plain(text: str) -> Markup:
    """A text exactly as it is."""
    rest = len(text) - MOST_SHOWN
    shown = escape(_visible(text[:MOST_SHOWN]))
    more = f'<p class="notice warn">{rest:,} more characters are not shown.</p>' if rest > 0 else ""
    return Markup(f'<pre class="plain-text">{_marked(shown)}</pre>{more}')


def line(text: str, most: int = 120) -> Markup:
    """The beginning of a text in one line."""
    short = " ".join(text.split())
    return Markup(_marked(escape(_visible(short if len(short) <= most else short[: most - 1] + "…"))))


def _visible(text: str) -> str:
    """Odd characters as private marks, which stay what they are while the text is made into HTML."""
    text = text.replace("\r\n", "\n").replace("\ue000", "\ufffd").replace("\ue001", "\ufffd")
    return ODD.sub(lambda found: f"\ue000{ord(found[0]):04X}\ue001", text)


def _marked(html: str) -> str:
    def shown(found: re.Match[str]) -> str:
        name = unicodedata.name(chr(int(found[1], 16)), "control character").lower()
        return f'<span class="odd" title="{escape(name)}">U+{found[1]}</span>'

    return re.sub("\ue000([0-9A-F]{4,6})\ue001", shown, html)


@cache
def _markdown(breaks: bool):  # type: ignore[no-untyped-def]
    from markdown_it import MarkdownIt

    made = MarkdownIt("commonmark", {"html": False, "breaks": breaks, "linkify": False, "maxNesting": 20})
    return made.enable(["table", "strikethrough"]).disable(
        ["link", "image", "autolink", "reference", "html_inline", "html_block"]
    )
