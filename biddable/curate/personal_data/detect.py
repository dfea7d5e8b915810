"""Personal data in texts: where it stands and of what kind. Pure functions.

Every kind has a cheap condition that its data must meet (an `@`, four digits, ...), so a text without
personal data costs a few searches for single characters; only then the kind's own search runs, and what it
finds is checked: check digits, lengths, issuers, countries, and the words just before. Letters and digits of
other widths and scripts are read as their plain forms.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from biddable.curate.personal_data import numbers, phones, reserved, scripts
from biddable.curate.personal_data.addresses import addresses
from biddable.curate.personal_data.credentials import credentials, may_hold_credentials
from biddable.curate.personal_data.emails import emails, may_hold_emails

KINDS = ("key", "email", "account", "card", "ssn", "ip", "phone", "address", "name")
"""The kinds; where two overlap, the earlier one here counts."""


class Span(NamedTuple):
    """Personal data in a text."""

    kind: str
    start: int
    end: int


# -- numbers

_CARD = re.compile(
    r"(?<![^\W_])(?<!\d[-.])(?:\d(?:[ \x01-]?\d){11,18}|\d{4}(?:[./]\d{4}){3})(?![^\W_]|[-.]\d)"
)
_SSN = re.compile(
    r"(?<![^\W_])(?<!\d-)\d{3}([- .])\d\d\1\d{4}(?![^\W_]|-\d)|(?<![^\W_])(?<!\d-)\d{9}(?![^\W_])"
)
_ACCOUNT = re.compile(r"(?<![^\W_])[A-Za-z]{2}[ .-]?\d\d(?=[ .\x01-]{0,2}[A-Za-z0-9]{2})")
_ACCOUNT_WORDS = re.compile(r"(?:iban|konto\w*|compte|cuenta|conto|account)[ :.]{0,2}$", re.I)
_CARD_CONTEXT = re.compile(
    r"\b(?:cards?|cc|visa|mastercard|amex|maestro|credit|debit|karte\w*|kreditkarte\w*|carte|tarjeta|carta|cart[ãa]o|kort\w*"
    r"|kartu|kart\w*|карт\w*|κάρτα\w*)\b|卡|カード|카드|บัตร|بطاقة|כרטיס|कार्ड"
)
_SSN_CONTEXT = re.compile(r"\b(?:ssn|ssns|social security|social|tin|itin)\b|社会安全")
CONTEXT_CHARACTERS = 48
"""Characters before a number in which the text may announce what it is."""


def text_before(text: str, start: int) -> str:
    return text[max(0, start - CONTEXT_CHARACTERS) : start].casefold()


def digits_of(text: str) -> str:
    return "".join(letter for letter in text if letter.isdigit())


def _cards(text: Text) -> Iterator[tuple[int, int]]:
    for match in _CARD.finditer(text.numbers):
        announced = bool(_CARD_CONTEXT.search(text_before(text.plain, match.start())))
        if numbers.is_card(digits_of(match[0]), announced):
            yield match.span()


def _social_security_numbers(text: Text) -> Iterator[tuple[int, int]]:
    for match in _SSN.finditer(text.numbers):
        if numbers.is_social_security_number(digits_of(match[0])) and (
            match[1] == "-" or _SSN_CONTEXT.search(text_before(text.plain, match.start()))
        ):
            yield match.span()


def _accounts(text: Text) -> Iterator[tuple[int, int]]:
    shown = text.numbers
    for match in _ACCOUNT.finditer(shown):
        length, place, letters = numbers.IBAN_LENGTHS.get(match[0][:2].upper(), 0), match.start(), ""
        while len(letters) < length and place < len(shown):
            if shown[place].isascii() and shown[place].isalnum():
                letters += shown[place]
            elif shown[place] not in " -.\x01":
                break
            place += 1
        if letters and not shown[place : place + 1].isalnum() and numbers.is_iban(letters):
            yield match.start(), place


# -- machines

_IP4 = re.compile(r"(?<![^\W_])(?<!\d\.)(?:\d{1,3}\.){3}\d{1,3}(?![^\W_]|\.\d)")
_IP6 = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]{4,39}(?:\.\d{1,3}){0,3}(?:%\w{1,16})?(?![\w:])"
)
_VERSION_CONTEXT = re.compile(
    r"\b(?:version|versions|versión|versão|release|build|section|firmware|ver|v)[ :=.]{0,2}$|版本[:是]?\s?$"
)


def _ip_addresses(text: Text) -> Iterator[tuple[int, int]]:
    for match in _IP4.finditer(text.bounded):
        try:
            address = ipaddress.IPv4Address(match[0])
        except ValueError:
            continue
        nobody = address.is_loopback or address.is_unspecified or match[0].startswith("255.255.")
        if not nobody and not _VERSION_CONTEXT.search(text_before(text.plain, match.start())):
            yield match.span()
    for match in _IP6.finditer(text.numbers):
        try:
            six = ipaddress.IPv6Address(match[0])
        except ValueError:
            continue
        digits = sum(letter.isdigit() for letter in match[0])
        if not six.is_loopback and digits >= 2 and (match[0].count(":") >= 3 or len(match[0]) >= 7):
            yield match.span()


# -- all together

_DIGIT = re.compile(r"\d")
_DIGITS = re.compile(r"(?:\d\D{0,6}){5}\d")


class Text(NamedTuple):
    """A text in three forms of the same length, so that a place is the same in all of them."""

    plain: str
    """With ASCII's digits and signs for those of other widths and scripts."""
    bounded: str
    """Of the letters only Latin ones: where a number ends can be seen beside scripts without blanks."""
    numbers: str
    """Without identifiers, such as UUIDs, that hold nobody's numbers."""


def _forms(text: str) -> Text:
    plain = scripts.to_ascii(text)
    bounded = scripts.bounded(plain)
    return Text(plain, bounded, reserved.without_identifiers(bounded) if _DIGIT.search(plain) else bounded)


class _Search(NamedTuple):
    needs: Callable[
        [str, bool, bool], bool
    ]  # (text, has a digit, has six close together): necessary, and cheap
    find: Callable[[Text], Iterator[tuple[int, int]]]


_SEARCHES: dict[str, _Search] = {
    "key": _Search(lambda text, digit, six: may_hold_credentials(text), lambda text: credentials(text.plain)),
    "email": _Search(lambda text, digit, six: may_hold_emails(text), lambda text: emails(text.plain)),
    "account": _Search(lambda text, digit, six: six, _accounts),
    "card": _Search(lambda text, digit, six: six, _cards),
    "ssn": _Search(lambda text, digit, six: six, _social_security_numbers),
    "ip": _Search(
        lambda text, digit, six: digit and (text.count(".") >= 3 or text.count(":") >= 2), _ip_addresses
    ),
    "address": _Search(lambda text, digit, six: digit, lambda text: addresses(text.plain)),
}


def find(
    text: str,
    kinds: Sequence[str] = KINDS,
    more: Sequence[Callable[[str], Iterator[Span]]] = (),
    phone_regions: Sequence[str] = phones.REGIONS,
) -> list[Span]:
    """All personal data of these kinds, in the order of the text, without overlaps. `more` finds further
    kinds, such as names; `phone_regions` are the countries whose telephone numbers count without their code."""
    forms = _forms(text)
    digit = bool(_DIGIT.search(forms.plain))
    six = digit and bool(_DIGITS.search(forms.plain))
    spans = [
        Span(kind, start, end)
        for kind, search in _SEARCHES.items()
        if kind in kinds and search.needs(forms.plain, digit, six)
        for start, end in search.find(forms)
    ]
    unsure: list[Span] = []
    if "phone" in kinds:
        if six:
            searched = reserved.without_urls(forms.numbers)
            for start, end, sure in phones.phones(forms.plain, searched, phone_regions):
                (spans if sure else unsure).append(Span("phone", start, end))
        if phones.may_be_spoken(text):
            spans += [Span("phone", *span) for span in phones.spoken_phones(text)]
    for finder in more:
        spans += finder(text)
    return _without_overlaps(spans, unsure, len(text))


def _without_overlaps(spans: list[Span], unsure: list[Span], length: int) -> list[Span]:
    """Of overlapping spans the earliest kind of KINDS stays (others come last), then the longest span; the
    unsure ones where no other is."""
    rank = {kind: place for place, kind in enumerate(KINDS)}
    chosen: list[Span] = []
    masked = bytearray(length)
    for span in (
        *sorted(spans, key=lambda f: (rank.get(f.kind, len(KINDS)), f.start - f.end, f.start)),
        *unsure,
    ):
        if masked.find(1, span.start, span.end) < 0:
            chosen.append(span)
            masked[span.start : span.end] = b"\1" * (span.end - span.start)
    return sorted(chosen, key=lambda span: span.start)
