"""What a number is: check digits of cards and accounts, areas of social security numbers.

Pure functions on the characters of a candidate; `detect` finds the candidates.
"""

from __future__ import annotations

IBAN_LENGTHS = {
    **{
        "AD": 24,
        "AE": 23,
        "AL": 28,
        "AT": 20,
        "AZ": 28,
        "BA": 20,
        "BE": 16,
        "BG": 22,
        "BH": 22,
        "BI": 27,
        "BR": 29,
    },
    **{
        "BY": 28,
        "CH": 21,
        "CR": 22,
        "CY": 28,
        "CZ": 24,
        "DE": 22,
        "DJ": 27,
        "DK": 18,
        "DO": 28,
        "EE": 20,
        "EG": 29,
    },
    **{
        "ES": 24,
        "FI": 18,
        "FK": 18,
        "FO": 18,
        "FR": 27,
        "GB": 22,
        "GE": 22,
        "GI": 23,
        "GL": 18,
        "GR": 27,
        "GT": 28,
    },
    **{
        "HN": 28,
        "HR": 21,
        "HU": 28,
        "IE": 22,
        "IL": 23,
        "IQ": 23,
        "IS": 26,
        "IT": 27,
        "JO": 30,
        "KW": 30,
        "KZ": 20,
    },
    **{
        "LB": 28,
        "LC": 32,
        "LI": 21,
        "LT": 20,
        "LU": 20,
        "LV": 21,
        "LY": 25,
        "MC": 27,
        "MD": 24,
        "ME": 22,
        "MK": 19,
    },
    **{
        "MN": 20,
        "MR": 27,
        "MT": 31,
        "MU": 30,
        "NI": 28,
        "NL": 18,
        "NO": 15,
        "OM": 23,
        "PK": 24,
        "PL": 28,
        "PS": 29,
    },
    **{
        "PT": 25,
        "QA": 29,
        "RO": 24,
        "RS": 22,
        "RU": 33,
        "SA": 24,
        "SC": 31,
        "SD": 18,
        "SE": 24,
        "SI": 19,
        "SK": 24,
    },
    **{
        "SM": 27,
        "SO": 23,
        "ST": 25,
        "SV": 28,
        "TL": 23,
        "TN": 24,
        "TR": 26,
        "UA": 29,
        "VA": 22,
        "VG": 24,
        "XK": 20,
    },
    **{"YE": 30},
}
"""Characters of an IBAN by country: the IBAN registry of SWIFT, release 99."""


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_card(digits: str, announced: bool) -> bool:
    """Whether 12 to 19 digits are a payment card's: check digit, and an issuer's beginning with one of its
    lengths.

    Where the text announces a card (`announced`), the check digit is enough. Time stamps and article numbers
    have 12 or 13 digits too: such a number must be announced, or begin as a Visa card does.
    """
    if not 12 <= len(digits) <= 19 or not luhn(digits) or len(set(digits)) < 2:
        return False
    if announced:
        return True
    if digits[0] == "4":
        return len(digits) in (13, 16, 19)
    return len(digits) >= 14 and has_issuer(digits)


def has_issuer(digits: str) -> bool:
    """Beginnings and lengths of the large issuers (ISO/IEC 7812 ranges as the schemes publish them)."""
    two, four, length = int(digits[:2]), int(digits[:4]), len(digits)
    return (
        (
            length == 16 and (51 <= two <= 55 or 2221 <= four <= 2720 or 2200 <= four <= 2204)
        )  # Mastercard, Mir
        or (length == 15 and (two in (34, 37) or four in (1800, 2131)))  # American Express, JCB
        or (length >= 14 and (3000 <= four <= 3059 or four == 3095 or two in (36, 38, 39)))  # Diners Club
        or (length >= 16 and (3528 <= four <= 3589 or four == 6011 or 6440 <= four <= 6599 or two == 62))
        or (length >= 14 and (two == 50 or 56 <= two <= 58 or 60 <= two <= 69))  # Maestro
    )


def is_iban(letters: str) -> bool:
    """Whether the letters and digits are an IBAN: its country's length, and a remainder of 1 by 97 (ISO
    13616)."""
    text = letters.upper()
    if IBAN_LENGTHS.get(text[:2]) != len(text) or sum(letter.isdigit() for letter in text) < 0.4 * len(text):
        return False  # of plain sentences one in 97 passes the check
    return int("".join(str(int(letter, 36)) for letter in text[4:] + text[:4])) % 97 == 1


def is_social_security_number(digits: str) -> bool:
    """Whether nine digits can be a US social security number: no part is all zeros, and the area is one that
    is issued."""
    return (
        len(digits) == 9
        and digits[:3] not in ("000", "666")
        and digits[0] != "9"
        and digits[3:5] != "00"
        and digits[5:] != "0000"
        and digits not in ("123456789", "078051120", "219099999")  # in print everywhere, nobody's
    )
