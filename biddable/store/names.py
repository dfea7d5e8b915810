"""Names that look alike: a Cyrillic а in ada is another letter and the same picture."""

from __future__ import annotations

import unicodedata

LOOKALIKES = str.maketrans(
    "авеікмнорстухѕјһԁԛԝгпьαβγικνορτυχω01" + "ɑɡıℓ",
    "abeikmhopctyxsjhdqwrnbabyikvoptuxwol" + "agil",
)
"""Cyrillic, Greek and other small letters, and two digits, with the Latin letter that each is taken for."""


def scripts(name: str) -> set[str]:
    """The alphabets of a name's letters, by the first word of their Unicode names: LATIN, CYRILLIC, ..."""
    return {unicodedata.name(c, "UNKNOWN").split()[0] for c in name if c.isalpha()}


def skeleton(name: str) -> str:
    """What a name looks like: two names with one skeleton are easily taken for each other. Accents and
    look-alike letters are brought to plain ones, spaces go."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return plain.replace(" ", "").translate(LOOKALIKES).replace("rn", "m").replace("vv", "w")
