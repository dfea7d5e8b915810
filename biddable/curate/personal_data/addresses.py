"""Street addresses: a house number with a street's name, a post office box, or what follows words that
announce an address."""

from __future__ import annotations

import re
from collections.abc import Iterator

_NUMBER = r"\d{1,6}[A-Za-z]?"
_NAME = (
    r"(?:[^\W\d_a-zà-ÿ][\w'’.-]{0,30}|of|the|de|la|le|les|du|des|da|do|dos|del|della|von|van|der|den"
    r"|\d{1,3}(?:st|nd|rd|th))"
)
"""A word of a street's name: with a capital, or a small one in between. "1930 while on her way" is no
street."""
_ENGLISH = re.compile(
    rf"(?<![\w.,$€£/]){_NUMBER}(?: {_NAME}){{1,4}}? "
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Ct|Place|Pl|Square|Sq"
    r"|Terrace|Way|Parkway|Pkwy|Highway|Hwy|Crescent|Close|Circle|Cir|Alley|Grove|Mews|Trail|Row)\b\.?(?:,? "
    r"(?:Apt|Suite|Unit|Flat|#)\.? ?\w{1,6}\b)?"
)
_JOINED = re.compile(
    r"\b[^\W\d_a-z][\w'’-]{0,30}(?:str(?:a(?:ß|ss)e|\.)|gasse|weg|platz|allee|straat|laan|plein|gatan|vägen|gata|vej|gade|veien|gaten|katu|tie|kuja)"
    rf" {_NUMBER}\b"
)
_ROMANCE = re.compile(
    rf"\b(?:[Rr]ue|[Aa]venue|[Bb]oulevard|[Cc]hemin|[Ii]mpasse|[Vv]ia|[Vv]iale|[Pp]iazza|[Cc]orso|[Cc]alle|[Aa]venida|[Pp]laza|[Pp]aseo|[Rr]ua"
    rf"|[Pp]raça|[Uu]lica|ul\.)(?: {_NAME}){{1,5}},? (?:n[º°o.]* ?)?{_NUMBER}\b"
    rf"|(?<![\w.,]){_NUMBER},? (?:bis )?(?:rue|avenue|boulevard|chemin|impasse|allée)(?: {_NAME}){{1,5}}"
)
_BOX = re.compile(
    r"\b(?:p\.? ?o\.? ?box|post office box|postfach|boîte postale|apartado)\.? ?\d{1,7}\b"
    r"|\b(?:psc|unit|cmr) \d{1,5},? box \d{1,5}\b(?:\s+[AFD]PO,? A[AEP],? \d{5})?",
    re.I,
)
_ANNOUNCED = re.compile(
    r"\b(?:(?:home|mailing|postal|street|shipping|billing|new|his|her|my|our|their|your)\s+address(?:\s+is\b|\s*:)|address\s*:|lives?\s+at\b"
    r"|residing\s+at\b|resides?\s+at\b|adresse\s*:|wohnt\s+in\s+der\b|dirección\s*:|indirizzo\s*:)\s+"
    r"([^\n,;!?@]{0,40}\d[^\n,;!?@]{0,40})",
    re.I,
)


def addresses(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of street addresses in a text. Without a register of streets this finds the common forms
    only."""
    for pattern in (_ENGLISH, _JOINED, _ROMANCE, _BOX):
        for match in pattern.finditer(text):
            yield match.span()
    for match in _ANNOUNCED.finditer(text):
        if not re.search(r"\w\.\w", match[1]):  # an internet address
            yield match.span(1)
