"""Street addresses: a house number with a street's name, a post office box, a corner, or what follows words that
announce an address; with the flat, the postcode and the town around it.

Without a register of streets this finds the common forms only, of some forty countries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from biddable.curate.personal_data import address_words as words

_NUMBER = r"\d{1,6}(?:[A-Za-zА-Яа-я](?![^\W_]))?(?:[-/]\d{1,4}[A-Za-z]?)?"
_CAPITAL = r"[^\W\d_a-zß-öø-ÿа-яα-ω]"
_WORD = rf"(?:(?!{words.NOT_NAMES})(?:{_CAPITAL}[^\W_]{{0,2}}\.|{_CAPITAL}[\w'’-]{{0,30}})|\d{{1,3}}(?:st|nd|rd|th)(?![^\W_]))"
_SMALL = (
    r"(?:(?:of|the|de|la|le|les|du|des|da|do|dos|das|del|della|delle|dei|di|van|von|der|den|het|te|ten|z|y|e|i|and)(?![^\W_])"
    r"|[a-zà-ÿ]{1,4}\.)"
)
_NAME = rf"(?:{_WORD}|{_SMALL})"
"""A word of a street's name: with a capital, or a small one in between. "1930 while on her way" is no
street."""
_HOUSE = rf"(?:[Nn][º°ro]{{0,2}}[.:]? ?|№ ?|#|д(?:ом)?\.? ?|nr\.? ?|No[.:]{{0,2}} ?)?{_NUMBER}(?![^\W_])"
_NO_YEAR = r"(?!(?:19|20)\d\d(?![^\W_]))"
_TYPED = (
    re.compile(
        rf"(?<![^\W_])(?<!\d[.,])(?<![.$€£/]){_NUMBER},? {_WORD}(?: {_NAME}){{0,3}}? (?:{words.TYPES_AFTER})(?![^\W_])\.?"
        r"(?: (?:[NSEW]|NE|NW|SE|SW)(?![^\W_]))?"
    ),
    re.compile(rf"(?<![^\W_])(?:{_WORD} ){{0,2}}[^\W\d_a-z][\w'’-]{{0,30}}(?:{words.ENDINGS}) {_HOUSE}"),
    re.compile(rf"(?<![^\W_]){_WORD}(?: [\w'’.-]{{1,20}}){{0,3}} (?:{words.TYPES_BETWEEN}),? {_HOUSE}"),
    re.compile(
        rf"(?<![^\W_])(?:{words.TYPES_BEFORE})(?: |(?<=[./]))(?:(?:\d{{1,2}} de |{_SMALL} ){{0,3}}{_WORD}[ ,]{{0,2}}){{1,4}}{_NO_YEAR}{_HOUSE}"
    ),
    re.compile(rf"(?<![^\W_])(?<![.,]){_NUMBER},? (?:bis |ter )?(?:{words.TYPES_BEFORE})(?: {_NAME}){{1,5}}"),
    re.compile(
        rf"(?<![^\W_])(?<![.,]){_NUMBER},? (?:bis |ter )?(?:rue|calle|avenida|(?:place|route|passage|square|quai) (?:de|du|des))(?: (?:{_SMALL}|[\w'’-]{{2,30}})){{1,3}}"
    ),
    re.compile(
        rf"(?:[Tt]he )?(?:[Cc]orner [Oo]f|[Ii]ntersection [Oo]f|[Ee]squina de|Ecke) (?=[\w'’.]*[A-ZÀ-Þ\d])[^\n;!?]{{2,50}}? (?:and|&|y|und|et) "
        rf"(?:{_NAME} ){{0,3}}{_WORD}"
    ),
)
"""A number and a name with the word of a street; two streets of a corner."""
_SHAPED = (
    re.compile(
        rf"(?<![^\W_])(?<![.,]){_NO_YEAR}\d{{3,6}}[A-Za-z]? (?:{_WORD} (?:(?:{_SMALL} )?{_WORD} ){{0,2}}|[A-ZÁÉ]\w+ [a-z]{{1,4}}\. ){_NO_YEAR}\d{{1,4}}[A-Za-z]?(?![^\W_]|[.,:/]\d)"
    ),
    re.compile(rf"(?<![^\W_])(?:{_WORD} ){{1,3}}{_NUMBER},?\s{{1,3}}(?:[A-Z]{{1,2}}-)?\d{{4,6}} [^\W\d_a-z]"),
)
"""A name between two numbers, as in lists of places; a name and a number before a postcode and a town."""
_OTHER = (
    re.compile(
        r"(?<![^\W_])(?:p\.? ?o\.? ?box|post office box|postfach|boîte postale|b\.?p\.?|apartado(?: postal)?|caixa postal|casilla|skrytka pocztowa"
        r"|а/я|postbus|postboks|box)\.? ?(?:n[º°o]\.? ?)?\d{2,7}(?![^\W_])"
        r"|(?<![^\W_])(?:psc|unit|cmr) \d{1,5},? box \d{1,5}(?![^\W_])(?:\s+[AFD]PO,? A[AEP],? \d{5})?",
        re.I,
    ),
    re.compile(r"(?:[^\W\d_a-z][^\n,]{1,30}\s)?(?<![^\W_])[AFD]PO,? A[AEP],? \d{5}(?:-\d{4})?(?![^\W_])"),
    re.compile(
        r"(?<![^\W_])(?:apt|apartment|suite|ste|wohnung|appartement)\.? ?(?:n[o°]\.? ?)?#?\d{1,5}[A-Za-z]?(?![^\W_])",
        re.I,
    ),
)
_UNSPACED_SCRIPTS = (
    # Chinese and Japanese: from the province or the town down to the house
    re.compile(
        r"(?:〒? ?\d{3}-\d{4}\s?)?(?:[\u3400-\u9fff々ケヶノ]{1,12}?[省市区區县縣郡町村镇鎮乡鄉州都道府県里]){1,5}[\u3400-\u9fff\u3040-\u30ff々]{0,14}?(?:[路街道巷弄段里丁目大]{1,3}|)"
        r"[\u3400-\u9fff\u3040-\u30ff々]{0,8}\s?[0-9一二三四五六七八九十百]{1,5}(?:[-−之]\d{1,4}){0,3}(?:号|號|弄|巷|番地|番|丁目|楼|樓)?"
        r"(?:\s?[0-9一二三四五六七八九十\-]{1,5}(?:号楼|号|號|番|单元|單元|室|层|層|楼|樓|栋|幢|之|階)){0,5}"
    ),
    re.compile(
        r"[\u3400-\u9fff]{2,8}[路街道巷弄胡同大街里]\s?\d{1,5}(?:号|號|弄)(?:\s?[\dA-Z\-]{1,5}(?:号楼|号|單元|单元|室|层|樓|楼|栋|幢)){0,4}"
    ),
    re.compile(r"〒\s?\d{3}-?\d{4}"),
    # Korean, Thai, Arabic, Hebrew, Hindi
    re.compile(
        r"(?:[\uac00-\ud7af]{1,10}(?:특별시|광역시|특별자치시|도|시|군|구|읍|면|동)\s){0,4}[\uac00-\ud7af0-9]{1,12}(?:로|길|대로)\s?\d{1,4}(?:-\d{1,4})?(?:번길\s?\d{1,4})?"
        r"(?:,?\s?\d{1,4}(?:동|호|층)){0,3}"
    ),
    re.compile(
        r"(?:บ้านเลขที่\s?|เลขที่\s?)?\d{1,5}(?:/\d{1,4})?\s?(?:หมู่(?:ที่)?\s?\d{1,3}\s?)?(?:ซอย|ถนน|ถ\.|ซ\.|หมู่บ้าน)\s?[\u0e00-\u0e7f]{2,30}(?:\s?\d{1,3})?(?:\s(?:ถนน|แขวง|เขต|ตำบล|อำเภอ|จังหวัด|กรุงเทพ)[\u0e00-\u0e7f]{0,30}){0,5}(?:\s\d{5})?"
        r"|(?:ซอย|ถนน)\s?[\u0e00-\u0e7f]{2,30}\s?\d{1,4}"
    ),
    re.compile(
        r"(?:شارع|طريق|حي|خیابان|کوچه)\s[\u0600-\u06ff ]{2,40}?[،,]?\s?(?:رقم|مبنى|عمارة|بناية|منزل|پلاک)?\s?\d{1,5}|\d{1,5}[،,]?\s(?:شارع|طريق)\s[\u0600-\u06ff]{2,20}(?:\s[\u0600-\u06ff]{2,20})?"
    ),
    re.compile(r"(?:רחוב|רח'|שדרות|שד'|דרך)\s[\u0590-\u05ff\"' ]{2,30}?\s\d{1,4}"),
    re.compile(
        r"(?:मकान|घर|फ्लैट|प्लॉट|म\.)\s?(?:नंबर|नं\.?|संख्या|सं\.?)\s?\d{1,5}[/A-Za-z\d-]{0,6}(?:,?\s[\u0900-\u097f]{1,20}){0,6}|\d{1,5},?\s(?:[\u0900-\u097f]{2,20}\s){1,3}(?:मार्ग|रोड|सड़क|गली|नगर|स्ट्रीट)"
    ),
)
_ANNOUNCED = re.compile(rf"(?<![^\W_])(?:{words.ANNOUNCING})[\s\"':,]{{1,6}}", re.I)
_CJK_ANNOUNCED = re.compile(
    r"(?:地址|住址|住在|住所|주소|ที่อยู่|العنوان|عنوان|כתובת|पता|ঠিকানা)(?:は|是|为|為|는|은|คือ|है)?\s?[:：]?\s?"
)
_FREE = re.compile(
    rf"(?:{_NAME}[ ,]{{1,2}}){{0,6}}{_NO_YEAR}{_NUMBER}(?![^\W_%]|[.,:]\d)(?:[ ,]{{1,2}}(?:{_NAME}|{_NUMBER}(?![^\W_]|[.,:]\d)))"
    rf"{{0,8}}(?: (?!{words.NOT_NAMES})[^\W\d_][\w'’.-]{{2,30}} {_NUMBER}(?![^\W_]|[.,:]\d))?"
)
_HAS_NAME = re.compile(rf"(?<![^\W_])(?!\d)(?:{_WORD}|[a-z][\w'’.-]{{4,30}} {_NUMBER}$)")
_BEFORE = re.compile(
    rf"(?:(?<![^\W_])(?:{words.UNITS})\.? ?\d\w{{0,5}},? )?(?<![^\W_])(?:\d{{1,6}} ){{0,2}}$", re.I
)
_AFTER = re.compile(
    rf"[\s,.>?]{{1,8}}(?:(?:{words.UNITS})[.:]? ?#?(?:\d[\w-]{{0,5}}|[A-Z](?![^\W_]))|#\d{{1,5}}|\d{{1,2}}[º°ª]{{1,2}} ?[A-Z]?(?![^\W_]))",
    re.I,
)
_CAPITALS = r"[^\W\d_a-z][\w'’.()-]{0,30}(?: [\w'’.()-]{1,30}){0,3}"
_BREAK = r"[ .]{0,3}[,\n][\s,>?]{0,6}"
_TOWN = re.compile(
    rf"(?:{_BREAK}|[ .]{{1,3}})(?:{_CAPITALS}{_BREAK}){{0,3}}?(?:{_CAPITALS} )?(?:\w{{2,3}}\s{{1,3}})?"
    r"(?:(?:[A-Z]{1,2}-)?\d{3,6}(?:-\d{3,4})?|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|\d{4} ?[A-Z]{2}|\d{3} \d{2}|[A-Z]\d[A-Z] ?\d[A-Z]\d)(?![^\W_]|[.,:-]\d)"
    r"(?: [^\W\d_a-z][^\W\d_]{1,30}(?:[ -][^\W\d_a-z][^\W\d_]{1,30}){0,2})?"
)
_PLACE = re.compile(
    rf"[ ,]{{0,3}}(?:\n[ ,>?]{{0,4}})?[ ,]{_CAPITALS}(?:, {_CAPITALS})?(?=[ ,]*(?:$|\n|[.,;!?]))|(?: [^\W\d_a-z][^\W\d_]{{1,25}}){{1,3}}"
)


_SMALL_LETTER = re.compile(
    r"(?<![^\W\d_])(?!(?:a|an|the|in|on|at|to|of|for|from|with|per|by|and|or|that|this|is|are|was|were|as|than|into|it|you|we|i)(?![^\W_]))[^\W\d_]"
)
"""The first letter of a word that may be a name, where somebody writes everything small."""


def addresses(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of street addresses in a text with plain digits (`scripts.to_ascii`)."""
    shown = _SMALL_LETTER.sub(lambda letter: letter[0].upper(), text) if text == text.lower() else text
    shown = shown if len(shown) == len(text) else text
    for pattern in _TYPED if shown != text else (*_TYPED, *_SHAPED):
        for match in pattern.finditer(shown):
            yield _whole(shown, *match.span())
    for pattern in _OTHER:
        for match in pattern.finditer(text):
            yield _whole(shown, *match.span())
    if not text.isascii():
        for pattern in _UNSPACED_SCRIPTS:
            for match in pattern.finditer(text):
                yield match.span()
    for pattern in (_ANNOUNCED, _CJK_ANNOUNCED):
        for sign in pattern.finditer(text):
            free = _FREE.match(shown, sign.end(), sign.end() + 120)
            if free and _HAS_NAME.search(free[0]) and not re.search(r"\w\.\w{2}|\d:\d", free[0]):
                yield _whole(shown, *free.span())


def _whole(text: str, start: int, end: int) -> tuple[int, int]:
    """The address with a number or flat before it, flats, postcode and town after it."""
    if before := _BEFORE.search(text[max(0, start - 32) : start]):
        start -= before.end() - before.start()
    flat = False
    for _ in range(3):
        if match := _AFTER.match(text, end, end + 140):
            end, flat = match.end(), True
    if match := _TOWN.match(text, end, end + 140):
        end = match.end()
    for _ in range(3 * flat):
        if match := _PLACE.match(text, end, end + 140):
            end = match.end()
    return start, end
