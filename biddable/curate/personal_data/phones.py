"""Telephone numbers: runs of digits that one of the world's numbering plans (package phonenumbers) has, or that
the words around announce.

What counts depends on what the text says (`announcement`): beside "call me on" nearly any run of digits is a
telephone number, beside "order" or "€" none is, and where nothing is context, the number has to be a plan's, and
grouped as telephone numbers are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal

from biddable.curate.personal_data import phone_words as words

_REGIONS = (
    "US GB FR DE IT ES BE NL CH AT AU NZ JP SE NO DK FI IE ZA BR IN PT PL CZ SK HU RO GR TR RU UA CN HK TW KR SG MY "
    "TH VN ID PH MX AR CL CO PE IL AE SA EG NG KE PK BD IR CA"
)
REGIONS = tuple(_REGIONS.split(" "))
"""Countries (ISO 3166) whose numbers are found without a country code; the order decides nothing."""
_TRUNKLESS = frozenset({"IN", "CN", "BR"})
"""Where numbers are commonly written without the 0 of a long-distance call that their plans ask for."""
_NUMBER = re.compile(
    r"(?<![^\W_])(?<!\d\.)[+(]{0,2}\d(?:[ \-./()\x01]{0,3}\d){5,29}"
    r"(?:[ ,;]{0,2}(?:ext|extension|x|durchwahl|poste|anexo|interno|int)[.:]? ?\d{1,6})?(?![^\W_])",
    re.I,
)
_DATE = re.compile(
    r"(?:(?:19|20)\d\d([-/. ])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])"
    r"|(?:0?[1-9]|[12]\d|3[01])([-/.])(?:0?[1-9]|[12]\d|3[01])\2(?:(?:19|20)\d\d|\d\d)"
    r"|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{6})?)(?:[ -]\d\d?)?"
)
_MAX_GROUPS = 8
_GAP = re.compile(r"[ /\x01]{1,3}(?=[(\d])")
_ADDRESS_V4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_NANP = re.compile(
    r"(?:1[ .-]?)?(?:\([2-9]\d\d\) ?|[2-9]\d\d[./-])[2-9]\d\d[.-]\d{4}(?: ?(?:x|ext\.?) ?\d{1,6})?"
)
_SHAPES = frozenset(
    [
        "333",
        "2222",
        "44",
        "55",
        "334",
        "344",
        "244",
        "254",
        "3222",
        "322",
        "3322",
        "13322",
        "1334",
        "234",
        "2322",
        "144",
        "433",
        "233",
        "56",
        "45",
        "46",
        "12222",
        "36",
        "343",
        "1422",
        "243",
        "422",
        "37",
        "28",
        "29",
        "323",
    ]
)
"""Digits between blanks or dashes of numbers that are written without a leading 0."""
Announcement = Literal["strong", "weak", "denied", None]


def phones(text: str, bounded: str, regions: Sequence[str] = REGIONS) -> Iterator[tuple[int, int, bool]]:
    """(start, end, whether it is surely one) of telephone numbers. `text` has plain digits, `bounded` of it only
    Latin letters."""
    for match in _NUMBER.finditer(bounded):
        begin, end = match.span()
        if bounded[begin] == "(" and ")" not in match[0]:
            begin += 1
        context = announcement(text, begin, end)
        for start, stop in _numbers_in(bounded, begin, end, context, tuple(regions)):
            yield start, stop, context in ("strong", "weak") or text[start] in "+0("


def _numbers_in(
    text: str, begin: int, end: int, context: Announcement, regions: tuple[str, ...]
) -> Iterator[tuple[int, int]]:
    """The numbers of one run of digits, the longest first; one may end where a blank or a stroke stands."""
    cuts = [begin, *(begin + gap.end() for gap in _GAP.finditer(text[begin:end])), end]
    first, parts, others = 0, [], False
    while first < len(cuts) - 1:
        for last in range(min(len(cuts) - 1, first + _MAX_GROUPS), first, -1):
            shown = text[cuts[first] : cuts[last]].rstrip(" /\x01-.(")
            if is_phone_number(shown, context, regions):
                parts.append((cuts[first], cuts[first] + len(shown)))
                break
        else:
            last, others = first + 1, True
        first = last
    for start, stop in parts:
        if not others or context in ("strong", "weak") or text[start] in "+0(":
            yield start, stop


def announcement(text: str, begin: int, end: int) -> Announcement:
    """What the text around a run of digits says about it: the nearest word before it counts, then the words
    after."""
    before = text[max(0, begin - words.BEFORE) : begin].casefold()
    after = text[end : end + words.AFTER].casefold().split("\n")[0]
    if words.MONEY_BEFORE.search(before) or words.MONEY_AFTER.match(after):
        return "denied"
    yes = no = -1
    for match in words.PHONE.finditer(before):
        yes = match.end()
    for match in words.OTHER.finditer(before):
        no = match.end()
    if yes > no:
        gap = before[yes:]
        near = (
            len(gap) <= words.NEAR and not words.MANY_WORDS.search(gap) and not re.search(r"\d|\n\s*\n", gap)
        )
        return "strong" if near else "weak"
    if words.PHONE_AFTER.match(after):
        return "weak"
    if no >= 0 or words.CODE_BEFORE.search(before) or words.UNIT_AFTER.match(after):
        return "denied"
    return None


def is_phone_number(shown: str, context: Announcement, regions: tuple[str, ...]) -> bool:
    """Whether a run of digits, with what stands between them, is a telephone number."""
    number = re.split(r"[ ,;]*[a-z]", shown, maxsplit=1, flags=re.I)[0]
    groups = re.findall(r"\d+", number)
    digits = "".join(groups)
    if not 6 <= len(digits) <= 20 or _DATE.fullmatch(number) or _ADDRESS_V4.fullmatch(number):
        return False
    abroad = number.lstrip("(").startswith("+") or (digits.startswith(("00", "011")) and len(digits) >= 12)
    if abroad and has_country_code(digits.removeprefix("011").lstrip("0")):
        return 8 <= len(digits) <= 19
    if len(set(digits)) < 3 or context == "denied":
        return False
    if context == "strong":
        return not re.fullmatch(r"\d{1,3}\.\d+", number)
    if len(digits) < 7 or _is_amount(number) or _is_span_of_numbers(groups, number):
        return False
    if _NANP.fullmatch(shown):
        return True
    if len(digits) > 15 or (groups[-1:] and len(groups[-1]) < 2):
        return False
    if context == "weak" and (len(groups) > 1 or digits[0] == "0" or len(digits) >= 9):
        return True
    if len(digits) in (11, 12, 13) and digits[0] != "0" and is_abroad(digits):
        return True
    return _is_grouped(number, groups) and any(is_national_number(digits, region) for region in regions)


def _is_amount(number: str) -> bool:
    """1.234.567, 1 234 567, 3.14159: digits in threes after the first few, or a decimal fraction."""
    return bool(
        re.fullmatch(r"[1-9]\d{0,2}(?:\.\d{3})+|[1-9]\d?(?: \d{3})+|\d{1,3}\.\d+|\d{5,}\.\d+", number)
    )


def _is_span_of_numbers(groups: list[str], number: str) -> bool:
    """1998-2004, 1200-1450, 2020 2021: years or pages."""
    if len(groups) > 1 and all(re.fullmatch("1[5-9]..|20..", group) for group in groups):
        return True
    if len(groups) != 2 or len(groups[0]) != len(groups[1]):
        return False
    return " - " in number or ("-" in number and groups[0] < groups[1])


def _is_grouped(number: str, groups: list[str]) -> bool:
    """Whether digits stand as those of a telephone number do: with a leading 0 or brackets, or in one of
    the usual shapes."""
    sizes = tuple(len(group) for group in groups)
    trunk = number[0] in "0("
    if len(groups) == 1:
        return sizes[0] in (9, 10, 11) if trunk else sizes[0] == 11 or (sizes[0] == 10 and number[0] != "1")
    if min(sizes[1:]) < 2 or len(groups) > 6 or max(sizes) > 9:
        return False
    if trunk:
        return True
    return "." not in number and "/" not in number and "".join(map(str, sizes)) in _SHAPES


def known_regions() -> frozenset[str]:
    """The countries whose numbering plans are known."""
    import phonenumbers

    return frozenset(phonenumbers.SUPPORTED_REGIONS)


def has_country_code(digits: str) -> bool:
    import phonenumbers

    return any(int(digits[:length] or 0) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE for length in (1, 2, 3))


@lru_cache(maxsize=65536)
def is_abroad(digits: str) -> bool:
    """Whether the digits are a mobile number with its country code, without the plus sign."""
    import phonenumbers

    try:
        number = phonenumbers.parse("+" + digits)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.number_type(number) == phonenumbers.PhoneNumberType.MOBILE


@lru_cache(maxsize=65536)
def is_national_number(digits: str, region: str) -> bool:
    """Whether a country's numbering plan has these digits, without a country code."""
    import phonenumbers

    plan = phonenumbers.PhoneMetadata.metadata_for_region(region)
    if plan is None or plan.general_desc is None:
        return False
    trunk = plan.national_prefix or ""
    lengths = plan.general_desc.possible_length
    if len(digits) not in lengths and len(digits) - len(trunk) not in lengths:
        return False
    if trunk == "0" and not digits.startswith("0") and region not in _TRUNKLESS:
        return False
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(digits, region))
    except phonenumbers.NumberParseException:
        return False


# -- numbers context aloud

_SPOKEN = re.compile(
    rf"\b(?:(?:double|triple|plus|area code)[ ,-]+)?(?:{words.DIGIT_WORDS})"
    rf"(?:[ ,.–-]{{1,3}}(?:(?:double|triple|and)[ ,-]+)?(?:{words.DIGIT_WORDS}))"
    r"{6,24}\b",
    re.I,
)


def may_be_spoken(text: str) -> bool:
    """Whether the text may hold a number in words: cheap."""
    return sum(f" {word}" in text for word in words.DIGIT_WORDS.split("|")) >= 3


def spoken_phones(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of seven and more digits context one after the other, as in transcripts."""
    for match in _SPOKEN.finditer(text):
        if len({word.casefold() for word in re.findall(r"\w+", match[0])}) >= 3:
            yield match.span()
