"""Personal data in texts: where it stands and of what kind. Pure functions.

Every kind has a cheap condition that its data must meet (an `@`, four digits, ...), so a text without
personal data costs a few searches for single characters; only then the kind's own search runs, and what it
finds is checked: check digits, lengths, issuers, countries, and the words just before. Letters and digits of
other widths and scripts are read as their plain forms.
"""

from __future__ import annotations

import ipaddress
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

from biddable.curate.personal_data import addresses as places
from biddable.curate.personal_data import numbers

KINDS = ("key", "email", "account", "card", "ssn", "ip", "phone", "address", "name")
"""The kinds; where two overlap, the earlier one here counts."""


class Span(NamedTuple):
    """Personal data in a text."""

    kind: str
    start: int
    end: int


@cache
def _plain_forms() -> dict[int, int]:
    """Characters that stand for an ASCII one: digits of all scripts, full-width forms, blanks, dashes. One
    for one, so places stay."""
    table = {}
    for code in range(0x80, sys.maxunicode + 1):
        letter = chr(code)
        category = unicodedata.category(letter)
        if category == "Nd":
            table[code] = ord("0") + unicodedata.decimal(letter)
        elif category == "Zs":
            table[code] = ord(" ")
        elif category == "Pd":
            table[code] = ord("-")
        elif 0xFF01 <= code <= 0xFF5E:
            table[code] = code - 0xFEE0
    return table


def to_ascii(text: str) -> str:
    """The text with such characters replaced, of the same length."""
    return text if text.isascii() else text.translate(_plain_forms())


# -- e-mail

_EMAIL = re.compile(
    r"(?<![\w.!#$%&'*+/=?^`{|}~-])[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*"
    r"@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_]{2,24}(?![\w-]*@)"
)


def _emails(text: str) -> Iterator[tuple[int, int]]:
    # From each @ outwards: a search from the left would be quadratic in long runs of letters without one.
    at = -1
    while (at := text.find("@", at + 1)) >= 0:
        begin = at
        while (
            begin > 0
            and at - begin < 64
            and (text[begin - 1].isalnum() or text[begin - 1] in "!#$%&'*+/=?^_`{|}~-.")
        ):
            begin -= 1
        while begin < at and text[begin] in ".'`{|/=*&!?":  # punctuation before an address is not of it
            begin += 1
        if match := _EMAIL.match(text[begin : at + 256]):
            yield begin, begin + match.end()


# -- numbers

_NUMBER = re.compile(r"(?<![\w.,])[+(]{0,2}\d(?:[ \-./()x]{0,3}\d|[ ]?ext\.?[ ]?\d){5,29}(?![\w])", re.I)
_CARD = re.compile(r"(?<![\d\w-])\d(?:[ -]?\d){11,18}(?![\d\w])")
_SSN = re.compile(r"(?<![\d\w-])\d{3}([- ])\d\d\1\d{4}(?![\d\w]|-\d)|(?<![\d\w-])\d{9}(?![\d\w])")
_ACCOUNT = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d\d(?=[ -]?[A-Za-z0-9]{4})")
_CARD_CONTEXT = re.compile(
    r"\b(?:card|cards|cc|visa|mastercard|amex|maestro|credit|debit|karte\w*|kreditkarte\w*|carte|tarjeta|carta|cartão)\b"
)
_SSN_CONTEXT = re.compile(r"\b(?:ssn|ssns|social security|tin|itin)\b")
_PHONE_CONTEXT = re.compile(
    r"(?:\b(?:tele)?phones?\b|\bmobile\b|\bcell\b|\bfax\b|\bdesk\b|\bhotline\b|\bwhats "
    r"?app\b|\bsms\b|\btel\b|\bdial\b|\bmsisdn\b"
    r"|\b(?:call|calling|ring|reach|text|texting|message|contact)\b(?: (?:me|us|him|her|them|back|you|\w+))? "
    r"(?:back )?(?:on|at|under|to)\b"
    r"|\b(?:call|ring|text|dial|message)(?: (?:me|us|him|her|them))?\b|\b(?:messages|calls|texts) "
    r"(?:to|from|on)\b"
    r"|\bt[ée]l[ée](?:phone|fono)\b|\btelef[oó]no?\b|\bm[oó]vil\b|\bportable\b|\bhandy\w*\b|\bcellulare\b|\bcelular\b|\bpuhelin\b)"
    r"\W{0,6}(?:\b(?:number|no|nr|is|at|on|num|numero|número|numéro|nummer)\b\W{0,4}){0,3}$"
)
_NO_PHONE = re.compile(
    r"\d{4}[-/.]\d\d?[-/.]\d\d?(?: \d.*)?|\d\d?[-/.]\d\d?[-/.]\d{2,4}(?: "
    r"\d.*)?|\d+(?:\.\d+)?|\d{4}\D{1,3}\d{4}|[\d ]*\d\.\d[\d ]*"
    r"|\d{1,3}(?:\.\d{1,3}){3}|\d+/\d+.*"
)
"""Dates, plain numbers, decimals, spans of years, IP addresses, fractions: telephone numbers only where the
text says so."""
CONTEXT_CHARACTERS = 48
"""Characters before a number in which the text may announce what it is."""


def text_before(text: str, start: int) -> str:
    return text[max(0, start - CONTEXT_CHARACTERS) : start].casefold()


def digits_of(text: str) -> str:
    return "".join(letter for letter in text if letter.isdigit())


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for match in _CARD.finditer(text):
        if numbers.is_card(digits_of(match[0]), bool(_CARD_CONTEXT.search(text_before(text, match.start())))):
            yield match.span()


def _social_security_numbers(text: str) -> Iterator[tuple[int, int]]:
    for match in _SSN.finditer(text):
        if numbers.is_social_security_number(digits_of(match[0])) and (
            match[1] == "-" or _SSN_CONTEXT.search(text_before(text, match.start()))
        ):
            yield match.span()


def _accounts(text: str) -> Iterator[tuple[int, int]]:
    for match in _ACCOUNT.finditer(text):
        length, place, letters = numbers.IBAN_LENGTHS.get(match[0][:2].upper(), 0), match.start(), ""
        while len(letters) < length and place < len(text):
            if text[place].isascii() and text[place].isalnum():
                letters += text[place]
            elif text[place] not in " -":
                break
            place += 1
        if letters and not text[place : place + 1].isalnum() and numbers.is_iban(letters):
            yield match.start(), place


def _phones(text: str) -> Iterator[tuple[int, int]]:
    for match in _NUMBER.finditer(text):
        start, end = match.span()
        if text[start] == "(" and ")" not in match[0]:
            start += 1
        shown = text[start:end]
        announced = bool(_PHONE_CONTEXT.search(text_before(text, start)))
        if not announced and _NO_PHONE.fullmatch(shown):
            continue
        if numbers.is_phone_number(shown, digits_of(shown), announced):
            yield start, end


# -- machines and secrets

_IP4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IP6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]{6,39}(?:\.\d{1,3}){0,3}(?![\w:])")
_VERSION_CONTEXT = re.compile(r"\b(?:version|versions|release|build|section|v)[ :=]{0,2}$")


def _ip_addresses(text: str) -> Iterator[tuple[int, int]]:
    for match in _IP4.finditer(text):
        try:
            address = ipaddress.IPv4Address(match[0])
        except ValueError:
            continue
        nobody = address.is_loopback or address.is_unspecified or match[0].startswith("255.255.")
        if not nobody and not _VERSION_CONTEXT.search(text_before(text, match.start())):
            yield match.span()
    for match in _IP6.finditer(text):
        try:
            six = ipaddress.IPv6Address(match[0])
        except ValueError:
            continue
        if (
            not six.is_loopback
            and sum(letter.isdigit() for letter in match[0]) >= 2
            and match[0].count(":") >= 3
        ):
            yield match.span()


_KEYS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    # OpenAI, Anthropic, Stripe and their kin
    r"|\b(?:sk|pk|rk)[-_](?:live_|test_|proj-|ant-|or-)?[A-Za-z0-9_-]{20,}"
    r"|\b(?:AKIA|ASIA|AGPA|AIDA|AROA)[A-Z0-9]{16}\b"  # AWS
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_\w{22,}|\bglpat-[\w-]{20,}"
    r"|\bxox[abeprs]-[A-Za-z0-9-]{10,}|\bAIza[\w-]{35}|\bhf_[A-Za-z0-9]{30,}|\bnpm_[A-Za-z0-9]{36}|\bpypi-[\w-]{50,}"
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,}"  # JSON web tokens
    r"|\b0x[0-9a-fA-F]{64}\b"
)
_SECRET = re.compile(
    r"(?:api[ _-]?key|access[ _-]?key|secret(?:[ _-]?key)?|auth[ _-]?token|access[ "
    r"_-]?token|token|password|passwd|passphrase|pwd|passwort)"
    r"[\"']?(?: is)? ?[:=]{1,2} ?[\"']?([^\s\"',;<>(){}\[\]$]{6,200})",
    re.I,
)
_SECRET_MARKS = ("key", "secret", "token", "passw", "passphrase", "pwd")


def _secrets(text: str) -> Iterator[tuple[int, int]]:
    for match in _KEYS.finditer(text):
        yield match.span()
    for match in _SECRET.finditer(text):
        value = match[1].rstrip(".")
        mixed = any(letter.isdigit() for letter in value) and any(letter.isalpha() for letter in value)
        if mixed or (len(value) >= 8 and not value.isalpha() and "." not in value and "_" not in value):
            yield match.start(1), match.start(1) + len(value)


def _may_hold_key(text: str) -> bool:
    low = text.lower()
    return any(mark in text for mark in _KEY_MARKS) or (
        any(mark in low for mark in _SECRET_MARKS) and (":" in text or "=" in text)
    )


_KEY_MARKS = (
    *(
        "-----BEGIN",
        "sk-",
        "sk_",
        "pk-",
        "pk_",
        "rk-",
        "rk_",
        "AKIA",
        "ASIA",
        "AGPA",
        "AIDA",
        "AROA",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
    ),
    *("ghr_", "github_pat_", "glpat-", "xox", "AIza", "hf_", "npm_", "pypi-", "eyJ", "0x"),
)

# -- all together

_DIGIT = re.compile(r"\d")
_DIGITS = re.compile(r"(?:\d\D{0,6}){5}\d")


class _Search(NamedTuple):
    needs: Callable[
        [str, bool, bool], bool
    ]  # (text, has a digit, has six close together): necessary, and cheap
    find: Callable[[str], Iterator[tuple[int, int]]]


_SEARCHES: dict[str, _Search] = {
    "key": _Search(lambda text, digit, six: _may_hold_key(text), _secrets),
    "email": _Search(lambda text, digit, six: "@" in text, _emails),
    "account": _Search(lambda text, digit, six: digit, _accounts),
    "card": _Search(lambda text, digit, six: six, _cards),
    "ssn": _Search(lambda text, digit, six: six, _social_security_numbers),
    "ip": _Search(
        lambda text, digit, six: digit and (text.count(".") >= 3 or text.count(":") >= 3), _ip_addresses
    ),
    "phone": _Search(lambda text, digit, six: six, _phones),
    "address": _Search(lambda text, digit, six: digit, places.addresses),
}


def find(
    text: str, kinds: Sequence[str] = KINDS, more: Sequence[Callable[[str], Iterator[Span]]] = ()
) -> list[Span]:
    """All personal data of these kinds, in the order of the text, without overlaps. `more` finds further
    kinds, such as names."""
    ascii_text = to_ascii(text)
    digit = bool(_DIGIT.search(ascii_text))
    six = digit and bool(_DIGITS.search(ascii_text))
    spans = [
        Span(kind, start, end)
        for kind, search in _SEARCHES.items()
        if kind in kinds and search.needs(ascii_text, digit, six)
        for start, end in search.find(ascii_text)
    ]
    for finder in more:
        spans += finder(text)
    return _without_overlaps(spans)


def _without_overlaps(spans: list[Span]) -> list[Span]:
    """Of overlapping spans the earliest kind of KINDS stays (others come last), then the longest span."""
    if len(spans) < 2:
        return spans
    rank = {kind: place for place, kind in enumerate(KINDS)}
    chosen: list[Span] = []
    for span in sorted(spans, key=lambda f: (rank.get(f.kind, len(KINDS)), f.start - f.end, f.start)):
        if all(span.end <= earlier.start or earlier.end <= span.start for earlier in chosen):
            chosen.append(span)
    return sorted(chosen, key=lambda span: span.start)
