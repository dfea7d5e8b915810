"""What two texts are compared by: letters, combining marks, numbers and signs, without what only sets them.

Forms of one character are made equal by Unicode's rules (UAX #15 and case folding): composed and decomposed,
full width and half width, ligatures, digits of any script. Superscripts, subscripts and fractions stay: x² is
not x2. Quotes, sentence punctuation, dashes between words and blanks say little and go; operators, currency,
emoji, a minus and a factorial say much and stay: C++ is not C#.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

LONG_CHARACTERS = 80
"""Texts from about a dozen words on are long: there a word may differ. In a shorter one a word or a sign makes
another question, so all its content has to agree."""
_QUOTES = "\"'`´‘’‚‛“”„‟«»‹›「」『』〝〞〟′″‴׳״｢｣ʼʹ"
_MEANINGFUL_PUNCTUATION = "#%&*/\\@§†‡‰"
_QUIET_SYMBOLS = "©®™℠"
_BANG, _PRIME, _MINUS = "\ue000", "\ue001", "−"
"""Stand for a factorial or a logical not, for a derivative and for a minus, so that they outlast the removal
of punctuation."""
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Thai, Lao, Burmese, Khmer, kana, Han; and Hangul, where blanks are often left out."""
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3})(?=\S)([^*]*[^*\s])\1(?![\w*])")
_MINUS_SIGN = re.compile(r"(?<=\d)\s*-\s*(?=\d)|(?<![^\s(=<>+*/^,])-(?=\d)")
_BANG_SIGN = re.compile(r"(?<=\d)!(?!!)|!(?==)|(?<![\w!?.)])!(?=\w)")
_PRIME_SIGN = re.compile(r"(?<=\w)['’′](?=\()")
_TIMES, _DIVIDED = re.compile(r"(?<=\d)\s*×\s*(?=\d)"), re.compile(r"(?<=\d)\s*÷\s*(?=\d)")
_REWRITES = (
    (",", _THOUSANDS, ""),
    ("*", _EMPHASIS, r"\2"),
    ("-", _MINUS_SIGN, _MINUS),
    ("!", _BANG_SIGN, _BANG),
)
"""A sign without which a pattern can't match, the pattern, and what it becomes."""
_NEEDLESS_BLANK = re.compile(rf" (?=[^\w ]|[{_UNSPACED}])|(?<=[^\w ]) |(?<=[{_UNSPACED}]) ")
_WIDE_LETTER = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_NUMBERS = re.compile(r"\d+")
_SEPARATORS = re.compile(r"(?<=\d)[.,:](?=\d)")
_BRACKETS = re.compile(r"[(\[{}\])]")
_SIGNS = re.compile(rf"[^\w\s\u0300-\u036f{_UNSPACED}]")
_NEGATIONS = re.compile(
    r"\b(?:not|no|never|without|cannot|(?:do|did|does|is|are|was|were|wo|ca|could|would"
    r"|should|have|has|had|must|need)nt|nicht|kein\w*|nie|ohne|ne|pas|jamais|sans|sin|nunca|não|sem|non"
    r"|не|нет|ни|без|никогда|δεν|δε|μην|όχι|χωρίς|لا|لم|لن|ليس|ليست|غير|بدون|לא|אין|בלי|ללא|नहीं|मत|बिना)\b"
    r"|ไม่|[不没沒无無未非]|ない|ません|않|없|못|\b안\b"
)


class _Folded(dict[int, str]):
    """For `str.translate`: each character as the form that stands for all its forms."""

    def __missing__(self, code: int) -> str:
        self[code] = form = _fold(chr(code))
        return form


def _fold(character: str) -> str:
    category = unicodedata.category(character)
    code = ord(character)
    if character in _QUOTES:
        return ""
    if category == "Cf" and not 0xE0020 <= code <= 0xE007F:  # tags spell the flags of England and Wales
        return " " if character == "\u200b" else ""
    if 0xFE00 <= code <= 0xFE0F or character == "\u0640":  # how an emoji is drawn; a stretched Arabic line
        return ""
    if character in "〜～":
        return "~"
    if category == "Pd" or character == "−":
        return "-"
    if category == "Nd":
        return str(unicodedata.decimal(character))
    decomposition = unicodedata.decomposition(character)
    same = decomposition.startswith(("<wide>", "<narrow>", "<compat>", "<square>", "<noBreak>"))
    same = same or decomposition.startswith(("<initial>", "<medial>", "<final>", "<isolated>"))
    if same or 0x1D400 <= code <= 0x1D7FF:
        form = unicodedata.normalize("NFKC", character)
        return form if form.isspace() or not form.startswith(" ") else character
    return character


class _Content(dict[int, str]):
    """For `str.translate`: what carries meaning as it is, a blank for everything else."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        meaningful = category[0] in "LMNS" or category == "Co" or character in _MEANINGFUL_PUNCTUATION
        tag = 0xE0020 <= code <= 0xE007F
        self[code] = form = character if (meaningful and character not in _QUIET_SYMBOLS) or tag else " "
        return form


class _Unpointed(dict[int, str]):
    """For `str.translate`: without the marks that Arabic, Hebrew and Greek capitals are mostly written
    without."""

    def __missing__(self, code: int) -> str:
        self[code] = form = _unpoint(chr(code))
        return form


def _unpoint(character: str) -> str:
    code = ord(character)
    if 0x064B <= code <= 0x0652 or code == 0x0670 or 0x0591 <= code <= 0x05C7:
        return ""
    if 0x0370 <= code <= 0x03FF or 0x1F00 <= code <= 0x1FFF:
        parts = unicodedata.normalize("NFD", character)
        bare = "".join(part for part in parts if part not in "\u0300\u0301\u0342\u0313\u0314")
        return unicodedata.normalize("NFC", bare)
    return character


_FOLDED, _CONTENT, _UNPOINTED = _Folded(), _Content(), _Unpointed()


def fold(text: str) -> str:
    """The text with one form of each character and its meaningful punctuation marked; other punctuation and
    blanks are still there."""
    if "(" in text:
        text = _PRIME_SIGN.sub(_PRIME, text)
    if text.isascii():
        text = text.casefold().translate(_FOLDED)
    else:
        text = unicodedata.normalize("NFC", text.casefold().translate(_FOLDED))
        text = unicodedata.normalize("NFC", text.casefold()).replace("i\u0307", "i")  # Turkish capital İ
        text = _TIMES.sub("*", _DIVIDED.sub("/", text))
    for sign, pattern, form in _REWRITES:
        if sign in text:
            text = pattern.sub(form, text)
    return text


def pointed_content(folded: str) -> str:
    """Content of a folded text, with optional marks; blanks only between words of a long text."""
    content = " ".join(folded.translate(_CONTENT).split())
    if not content:
        return "".join(folded.split())  # nothing but punctuation: then that is the content
    if not content.isascii() or _SIGNS.search(content):
        content = _NEEDLESS_BLANK.sub("", content)
    return content if is_long(content) else content.replace(" ", "")


def is_long(content: str) -> bool:
    """Whether a word may differ. A Han, kana or Hangul character counts as two."""
    characters = len(content)
    if characters < LONG_CHARACTERS and not content.isascii():
        characters += len(_WIDE_LETTER.findall(content))
    return characters >= LONG_CHARACTERS


def normalise(key: str) -> str:
    """What carries meaning in a text: equal for texts that differ in case, punctuation, blanks or forms of
    characters."""
    folded = fold(key)
    content = pointed_content(folded)
    return (content if content.isascii() else content.translate(_UNPOINTED)) or key


class Signs(NamedTuple):
    """What may set two texts of equal or nearly equal content apart."""

    numbers: list[str]
    separators: list[str]  # between digits: 3.45 and 3:45
    signs: list[str]
    brackets: list[str]
    alone: list[str]  # punctuation that stands between blanks, as in 'what does ; mean'
    negations: int
    pointed: str  # the content with optional marks
    plain: str  # and without


def signs_of(key: str) -> Signs:
    """Read a text's signs."""
    folded = fold(key)
    pointed = pointed_content(folded)
    chunks = folded.split()
    alone = [chunk for chunk in chunks if chunk.translate(_CONTENT).isspace()]
    if len(chunks) > 1 and alone and chunks[-1] == alone[-1] and not chunks[-1].strip(".,;:!?…。！？؟،।"):
        alone.pop()  # 'Pourquoi ?'
    separators = [separator.replace(",", ".") for separator in _SEPARATORS.findall(folded)]
    return Signs(
        _NUMBERS.findall(folded),
        separators,
        _SIGNS.findall(pointed),
        _BRACKETS.findall(folded),
        alone,
        len(_NEGATIONS.findall(folded)),
        pointed,
        pointed.translate(_UNPOINTED),
    )


def same_meaning(first: Signs, second: Signs) -> bool:
    """Whether no sign tells two similar texts apart.

    Numbers are the same and in the same order. Short texts have all their content in common; marks, brackets
    and punctuation between blanks that only one of the two writes are no difference, other ones are. Long
    texts deny equally often, and no sign stands in for another.
    """
    if first.numbers != second.numbers or replaced(first.separators, second.separators):
        return False
    if is_long(first.plain) and is_long(second.plain):
        return first.negations == second.negations and not replaced(first.signs, second.signs)
    marks_agree = first.pointed == second.pointed or (
        first.plain == second.plain and (first.pointed == first.plain or second.pointed == second.plain)
    )
    return marks_agree and not any(
        ours and theirs and ours != theirs
        for ours, theirs in ((first.brackets, second.brackets), (first.alone, second.alone))
    )


def replaced(first: list[str], second: list[str]) -> bool:
    """Whether two lists have as many signs and not the same ones."""
    return len(first) == len(second) and first != second
