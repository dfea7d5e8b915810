"""E-mail addresses, also in other scripts, spelled out ("jane at example dot org") or hidden ("jane [at] ...").

The search goes outwards from each sign of an address: one from the left would be quadratic in long runs of
letters without one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from biddable.curate.personal_data.scripts import UNSPACED

_UNSPACED = re.compile(f"[{UNSPACED}]")
_LOCAL = 64
"""Characters of the part before the sign (RFC 5321)."""
_DOMAIN = 254
_OPEN, _CLOSE = r"[\[({<]\s?", r"\s?[\])}>]"
_SIGN = re.compile(
    rf"@ ?|%40|\s?{_OPEN}(?:at|@|ät|a|arroba|chiocciola|arobase|apenstaartje|собака){_CLOSE}\s?"
    r"|\s(?:at|arroba|chiocciola|arobase|klammeraffe|собака)\s",
    re.I,
)
_DOT = (
    rf"(?:\.|\s\.\s|\s?{_OPEN}(?:dot|punkt|punt|point|punto|ponto|d|\.){_CLOSE}\s?"
    r"|\s(?:dot|punkt|point|punto|ponto|точка)\s)"
)
_MARKS = "\u0300-\u036f\u0900-\u0dff"
"""Marks that belong to letters, as Indian vowels."""
_LETTER = rf"[^\W_{UNSPACED}]|[{_MARKS}]"
_LABEL = rf"(?:{_LETTER})(?:(?:{_LETTER}|[-_]){{0,61}}(?:{_LETTER}))?"
_TOP = rf"(?:xn--[a-z0-9-]{{2,59}}|[a-z]{{2,24}}(?![^\W_]*[^\W_\u0000-\u007f]+\.)|(?:(?![\d\u0000-\u007f])(?:{_LETTER})){{2,24}})"
_PLAIN_DOMAIN = re.compile(rf"(?:(?:{_LABEL})\.)+{_TOP}(?![a-z0-9_]|-[a-z0-9])(?![\w-]{{0,64}}@)", re.I)
_UNSPACED_DOMAIN = re.compile(
    rf"(?:[\w{UNSPACED}-]{{1,63}}[.。])+(?:[a-z]{{2,24}}|[\w{UNSPACED}]{{2,8}})", re.I
)
_SPELLED_DOMAIN = re.compile(rf"{_LABEL}(?:{_DOT}{_LABEL}){{1,4}}", re.I)
_SPELLED_LOCAL = re.compile(
    rf"(?:[\w+-]{{1,40}}(?:{_DOT}|\s(?:underscore|dash|minus|unterstrich|guion)\s)){{0,4}}[\w+-]{{1,40}}$",
    re.I,
)
_TOP_WORDS = frozenset(
    [
        "com",
        "org",
        "net",
        "edu",
        "gov",
        "info",
        "io",
        "ai",
        "app",
        "dev",
        "me",
        "co",
        "biz",
        "eu",
        "uk",
        "de",
        "fr",
        "es",
        "it",
        "nl",
        "be",
        "ch",
        "at",
        "pl",
        "cz",
        "se",
        "no",
        "dk",
        "fi",
        "pt",
        "ie",
        "ru",
        "ua",
        "jp",
        "cn",
        "kr",
        "in",
        "au",
        "nz",
        "ca",
        "us",
        "br",
        "mx",
        "ar",
        "cl",
        "tr",
        "gr",
        "il",
        "za",
        "test",
        "example",
    ]
)
_NO_LOCAL = frozenset(
    [
        "look",
        "looked",
        "looking",
        "me",
        "us",
        "him",
        "her",
        "them",
        "it",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "available",
        "online",
        "more",
        "shop",
        "here",
        "there",
        "site",
        "website",
        "visit",
        "visited",
        "arrived",
        "found",
        "hosted",
        "based",
        "live",
        "page",
        "back",
        "sign",
        "buy",
        "see",
        "read",
        "and",
        "or",
        "this",
        "that",
        "only",
    ]
)
"""Words before "at example dot com" that make it a place in the web, not somebody's address."""
_COMMON_WORDS = frozenset(("in", "at", "be", "us", "no", "it", "me", "is", "nl", "es"))
"""Of the last labels those that are words: "at some point in"."""
_ANNOUNCED = re.compile(r"\b(?:e-?mails?|mail|write|reach|contact|correo|courriel|adresse|address)\b", re.I)


def may_hold_emails(text: str) -> bool:
    """Whether the text holds a sign of an address: cheap."""
    low = text.lower()
    return "@" in text or "%40" in text or any(mark in low for mark in _SIGNS)


_SIGNS = (
    " at ",
    "[at",
    "(at",
    "{at",
    "<at",
    " arroba ",
    "arroba)",
    "chiocciola",
    "arobase",
    "klammeraffe",
    "собака",
    "(ät",
)


def emails(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of e-mail addresses in a text with plain digits (`scripts.to_ascii`)."""
    last = 0
    for sign in _SIGN.finditer(text):
        start, end = sign.span()
        if start < last or start == 0 or not text[end : end + 1].isalnum():
            continue
        written = sign[0] in ("@", "%40")
        span = (_written(text, start, end) if written else None) or _spelled(text, start, end)
        if span:
            last = span[1]
            yield span


def _written(text: str, at: int, after: int) -> tuple[int, int] | None:
    """An address as it is written, around a sign."""
    begin = at
    unspaced = at > 0 and bool(_UNSPACED.match(text[at - 1]))
    if text[at - 1 : at] == '"' and (quote := text.rfind('"', max(0, at - _LOCAL), at - 1)) >= 0:
        begin = quote
    else:
        while begin > 0 and at - begin < _LOCAL and _is_local(text[begin - 1], unspaced):
            begin -= 1
        while begin < at and text[begin] in ".'`{|/=*&!?":  # punctuation before an address is not of it
            begin += 1
    domain = text[after : after + _DOMAIN]
    pattern = _UNSPACED_DOMAIN if _UNSPACED.match(domain) else _PLAIN_DOMAIN
    if begin < at and (match := pattern.match(domain)):
        return begin, after + match.end()
    return None


def _is_local(letter: str, unspaced: bool) -> bool:
    """Whether an address may have this letter before its sign; between Chinese and Latin letters it begins."""
    if _UNSPACED.match(letter):
        return unspaced
    return letter.isalnum() or letter in "!#$%&'*+/=?^_`{|}~-." or unicodedata.category(letter)[0] == "M"


def _spelled(text: str, at: int, after: int) -> tuple[int, int] | None:
    """An address whose signs are words, in brackets, or stand between blanks."""
    domain = _SPELLED_DOMAIN.match(text, after, after + _DOMAIN)
    if not domain:
        return None
    window = text[max(0, at - _LOCAL - 16) : at].removesuffix(" " if text[at] == "@" else "")
    local = _SPELLED_LOCAL.search(window)
    if not local:
        return None
    labels = re.split(_DOT, domain[0], flags=re.I)
    while len(labels) > 1 and labels[-1].casefold() not in _TOP_WORDS:
        labels.pop()  # "... dot com please" has matched no further, "example.com. Then" has
    if len(labels) < 2:
        return None
    end = after + domain[0].rindex(labels[-1]) + len(labels[-1])
    sign = text[at:after].strip()
    name = local[0].casefold()
    if sign[:1].isalpha():  # a bare word between two others
        announced = bool(_ANNOUNCED.search(text[max(0, at - 60) : at - len(name)]))
        common = labels[-1].casefold() in _COMMON_WORDS or domain[0].casefold().startswith("www.")
        if (
            name in _NO_LOCAL
            or (common and not announced)
            or ("." in domain[0] and not announced and name.isalpha())
        ):
            return None
    elif len(name) < 3 and sign == "@":
        return None
    start = at - (len(window) - local.start()) - (text[at] == "@" and text[at - 1 : at] == " ")
    return start, end
