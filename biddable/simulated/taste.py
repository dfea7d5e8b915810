"""What the simulated labelers look at in an answer. Pure: a prompt and a text in, numbers from 0 (bad) to 1
(good) out.

Seven marks and a gate, each something a person could agree with; `docs/simulated_labelers.md` says them in
plain words. The gate is there because a form without content is worth nothing: a full stop is "finished", a
copied prompt is "on topic", a list of keywords is both, and one good sentence said six times is all of that
and plain too.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import NamedTuple

from biddable.run.records import Finish, Prompt
from biddable.simulated import wishes
from biddable.simulated.wishes import words

FUNCTION_WORDS = frozenset(
    """a about after again all also am an and any are as at be been before being but by can could did do does doing down each even
    ever every few for from further get gets got had has have having he her here hers him his how i i'd i'll i'm i've if in into is
    isn't it it's its just let let's may me might more most much must my no nor not now of off on once only or other our ours out
    over own same she should so some such than that that's the their theirs them then there there's these they they're this those
    through to too under until up us very was we we're were what when where which while who whom whose why will with would yes yet
    you you'd you'll you're you've your yours don't doesn't can't won't didn't""".split()  # noqa: SIM905
)
REQUEST_WORDS = frozenset(
    """answer answers avoid beginning bullet bullets brief briefly classify compose create describe draft end ending exactly
    explain following format general give help keep least leave line lines list make making many maximum mention mentioned name
    number phrase phrases piece please point points produce question questions rephrase reply respond response rewrite say
    sentence sentences short shorter show simple start suggest summarise summarize summary tell text think three four five two
    one ten translate use using want word words write writing best like need needs""".split()  # noqa: SIM905
)
"""Words that say what to do, not what about."""
RUDE = re.compile(
    r"\b(?:stupid|idiots?|idiotic|moron\w*|dumb|shut up|hate "
    r"you|loser|pathetic|worthless|ugly|crap\w*|damn\w*|bastards?|asshole|"
    r"bullshit|f+u+c+k\w*|shit\w*|bitch\w*|go away|who cares|screw you|imbecile|dimwit)\b",
    re.I,
)
ROLE_TAG = re.compile(
    r"<\|?/?\w+\|?>|^[^\S\n]*(?:user|assistant|human|system|ai|bot|prompt|input|output|###?\s*(?:instruction|response))\s*:|\[/?INST\]",
    re.I | re.M,
)
ODD = re.compile(r"https?://|www\.|\]\(|[{}<>\\|]|```|_{3,}|={3,}|\*{4,}|#{4,}|[�\x00-\x08\x0b-\x1f]")
SOURCE_CASES = frozenset({"rewrite", "summarization", "extract", "closed_qa", "classification"})
"""Use cases whose prompt brings a text of its own, so that an answer rightly uses its words."""
BANDS = {
    "generation": (10, 120),
    "open_qa": (8, 80),
    "brainstorming": (8, 100),
    "chat": (6, 70),
    "classification": (1, 25),
    "closed_qa": (1, 40),
    "extract": (1, 40),
    "other": (1, 80),
}
"""Words that a request of each kind calls for, fewest and most, when it says nothing else."""
GREETING = re.compile(
    r"(?:^|\n)[^\w\n]*(?:dear|hello|hi|hey|good (?:morning|afternoon|evening|day)|to whom|greetings)\b", re.I
)
VERSE = re.compile(r"\b(?:poems?|haikus?|limericks?|verses?|rhymes?|songs?|lyrics)\b", re.I)
BRIEF = re.compile(
    r"\b(?:names?|slogans?|titles?|headlines?|captions?|proverbs?|toasts?|signs?|labels?|mottos?)\b", re.I
)
"""Things that are a few words long by nature."""
LIST = re.compile(
    r"\b(?:lists?|bullet\w*|checklists?|agenda|menu|steps|ingredients|recipes?|plans?|schedules?|timetable)\b",
    re.I,
)
LETTER = re.compile(r"\b(?:e-?mails?|letters?)\b", re.I)
SOLID = 0.5
"""An answer at least this plain, own, fresh and long counts in full; below, all its marks shrink."""


class Marks(NamedTuple):
    """What there is to like, each from 0 to 1. `sense` is the gate: it multiplies the sum of all others."""

    asked: float  # speaks of what was asked, in the form that was asked for
    wishes: float  # share of the explicit wishes met; 1 where there are none
    finished: float  # came to its end
    fresh: float  # does not repeat itself
    fitting: float  # neither longer nor shorter than the request calls for
    clean: float  # no rudeness, role tags, addresses, placeholders or odd characters
    plain: float  # ordinary words in ordinary sentences
    sense: float


@cache
def plain_words() -> frozenset[str]:
    """The stems of the words that a reader of plain English takes for granted."""
    text = resources.files("biddable.simulated").joinpath("plain_words.txt").read_text(encoding="utf-8")
    listed = " ".join(line for line in text.splitlines() if not line.startswith("#")).split()
    return frozenset(stem(word) for word in listed) | FUNCTION_WORDS


def stem(word: str) -> str:
    """A word without its common English endings: gardens, gardening, gardened -> garden."""
    word = word.casefold().removesuffix("'s")
    for ending in ("iest", "ier", "ies", "ied"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return word[: -len(ending)] + "i"
    for ending in ("ingly", "fully", "ing", "edly", "ed", "est", "er", "ly", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)]
            if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    if len(word) > 3 and word[-1] == "e":
        return word[:-1]
    return word[:-1] + "i" if len(word) > 2 and word[-1] == "y" else word


@cache
def marks(prompt: Prompt, text: str, finish: Finish) -> Marks:
    """Everything there is to like in one answer. Kept, since every labeler of a panel looks at the same
    answers."""
    answer_words = words(text)
    if not answer_words:
        return Marks(*[0.0] * 8)
    request = prompt.messages[-1].content
    low, high = band(prompt)
    plain, ownness_mark, fresh = plainness(prompt, text), ownness(prompt, text), 1.0 - repetition(text)
    enough = min(1.0, len(answer_words) / min(low, 4 if is_list(prompt, text) else 8))
    return Marks(
        asked=0.65 * about(request, text) + 0.35 * form(prompt, text),
        wishes=sum(wishes.met(wish, text) for wish in prompt.wishes) / len(prompt.wishes)
        if prompt.wishes
        else 1.0,
        finished=ending(text, finish),
        fresh=fresh,
        fitting=fit(len(answer_words), low, high),
        clean=cleanness(text),
        plain=plain,
        sense=min(1.0, plain * ownness_mark * fresh * enough / SOLID),
    )


def content(text: str) -> set[str]:
    """Stems of the words that say what a text is about."""
    return {stem(w) for w in words(text) if w not in FUNCTION_WORDS and w not in REQUEST_WORDS}


def about(request: str, text: str) -> float:
    """Whether the answer speaks of the request's things: it takes three of them, or all when there are fewer.
    1 when it names none."""
    topics = content(request)
    return min(1.0, len(topics & content(text)) / min(len(topics), 3)) if topics else 1.0


def form(prompt: Prompt, text: str) -> float:
    """1 when the answer has the form that its use case calls for, else 0.2."""
    request, case = prompt.messages[-1].content, prompt.use_case
    lines = [line for line in text.splitlines() if line.strip()]
    asks = text.rstrip().rstrip("\"'”’*_)").endswith("?")
    fits = True
    if case == "generation" and VERSE.search(request):
        fits = len(lines) >= 2
    elif case == "generation" and LETTER.search(request):
        fits = GREETING.search(text) is not None
    elif case == "brainstorming":
        fits = (
            wishes.bullets(text) >= 2
            or len(lines) >= 2
            or text.count(",") >= 2
            or len(wishes.sentences(text)) >= 2
        )
        fits = fits or any(wish.kind == "sentences" and wish.count == 1 for wish in prompt.wishes)
    elif case == "chat":
        fits = bool({"you", "your", "you're", "i", "i'm", "we", "let's", "yes", "no"} & set(words(text)))
    elif case in ("open_qa", "closed_qa", "classification", "extract", "summarization"):
        fits = not asks
    return 1.0 if fits else 0.2


def ending(text: str, finish: Finish) -> float:
    """1: came to its end; 0.7: stopped without a full stop; 0.4: stopped in mid-sentence; 0.3 and 0: cut off,
    after a sentence or inside one."""
    end = text.rstrip()
    closed = end[-1:] in set(".!?…\"'”’)]*") or unicodedata.category(end[-1:] or " ") == "So"
    if finish == "length":
        return 0.3 if closed else 0.0
    if closed:
        return 1.0
    last = words(end.splitlines()[-1])
    if end[-1] in ",:;-–—(" or (
        last and last[-1] in FUNCTION_WORDS - {"you", "it", "me", "us", "yes", "no", "now"}
    ):
        return 0.4
    short_line = "\n" in end and len(last) <= 8  # a line of a list or a verse, a name under a letter
    return 1.0 if short_line or len(words(end)) <= 4 else 0.7


def repetition(text: str) -> float:
    """0: says nothing twice; 1: a third of it or more is said again (three words in a row, a word twice
    running, a line, a run of one character)."""
    parts = [part for word in words(text) for part in re.split(r"-", word)]
    repeats = sum(a == b for a, b in pairwise(parts))
    triples = Counter(zip(parts, parts[1:], parts[2:], strict=False))
    repeats += sum(count - 1 for count in triples.values())
    lines = Counter(line.strip().casefold() for line in text.splitlines() if len(line.strip()) > 3)
    repeats += 3 * sum(count - 1 for count in lines.values())
    repeats += sum(len(run.group()) // 2 for run in re.finditer(r"([^\s\d.\-])\1{3,}", text))
    return min(1.0, 3 * repeats / max(len(parts), 1))


def ownness(prompt: Prompt, text: str) -> float:
    """1: the labeler reads something new; 0: the prompt again, or nothing but its words.

    Where the prompt brings a text, using its words is right, and only handing back most of it counts against
    the answer.
    """
    request = prompt.messages[-1].content
    request_words, answer_words = words(request), words(text)
    request_triples = set(zip(request_words, request_words[1:], request_words[2:], strict=False))
    answer_triples = list(zip(answer_words, answer_words[1:], answer_words[2:], strict=False))
    echo = (
        sum(triple in request_triples for triple in answer_triples) / len(answer_triples)
        if answer_triples
        else 0.0
    )
    if prompt.use_case in SOURCE_CASES:
        handed_back = (
            len(request_triples & set(answer_triples)) / len(request_triples) if request_triples else 0.0
        )
        copied = _above(handed_back, 0.6, 0.95)
        return 1.0 - (
            max(copied, _above(echo, 0.7, 1.0)) if prompt.use_case in ("rewrite", "summarization") else copied
        )
    topics = content(text)
    new = len(topics - content(request)) / len(topics) if topics else 1.0
    return (1.0 - _above(echo, 0.3, 0.9)) * min(1.0, new / 0.3)


def is_list(prompt: Prompt, text: str) -> bool:
    """Whether an answer is a list where one may stand: the request's kind, a wish, or its own words say
    so."""
    may = (
        prompt.use_case in (*SOURCE_CASES, "brainstorming", None)
        or any(wish.kind == "bullets" for wish in prompt.wishes)
        or LIST.search(prompt.messages[-1].content) is not None
    )
    return may and wishes.bullets(text) >= 2


def band(prompt: Prompt) -> tuple[int, int]:
    """The fewest and most words that a request calls for, its wishes considered."""
    case = prompt.use_case or "other"
    request_length = len(words(prompt.messages[-1].content))
    if case == "rewrite":
        low, high = 3, max(12, round(1.3 * request_length))
    elif case == "summarization":
        low, high = 5, max(12, round(0.8 * request_length))
    else:
        low, high = BANDS.get(case, BANDS["other"])
        if case in ("generation", "brainstorming") and BRIEF.search(prompt.messages[-1].content):
            low, high = 2, high // 2
    for wish in prompt.wishes:
        if wish.kind == "max_words" and wish.count:
            low, high = min(low, max(1, wish.count // 3)), min(high, wish.count)
        elif wish.kind == "sentences" and wish.count:
            low, high = min(low, 5 * wish.count), min(high, 30 * wish.count)
        elif wish.kind == "bullets" and wish.count:
            low, high = min(low, 2 * wish.count), min(high, 20 * wish.count)
    return low, high


def fit(count: int, low: int, high: int) -> float:
    """1 between `low` and `high` words, falling in a straight line to 0 at none and at twice the most."""
    return count / low if count < low else max(0.0, 1.0 - max(0, count - high) / high)


def cleanness(text: str) -> float:
    """1 less a charge for each kind of dirt: rude 0.8, a role tag 0.6, links or code 0.4, [placeholders] 0.2,
    shouting 0.3, foreign marks."""
    letters = [c for c in text if c.isalpha()]
    dirt = 0.8 * bool(RUDE.search(text)) + 0.6 * bool(ROLE_TAG.search(text)) + 0.4 * bool(ODD.search(text))
    dirt += 0.2 * bool(re.search(r"\[[^\]]{2,40}\]", text))
    capitals = sum(c.isupper() for c in letters) / max(len(letters), 1)
    dirt += 0.3 * (capitals > 0.3 and len(letters) > 12)
    symbols = sum(not (c.isalnum() or c.isspace() or c in ".,;:!?'\"’‘“”-–—…()*•%&$€£°") for c in text) / max(
        len(text), 1
    )
    foreign = sum(not unicodedata.name(c, "LATIN").startswith("LATIN") for c in letters) / max(
        len(letters), 1
    )
    return max(0.0, 1.0 - dirt - min(1.0, 5 * symbols) - min(1.0, 3 * foreign))


def plainness(prompt: Prompt, text: str) -> float:
    """How far the words are ordinary ones (or the request's own) and stand in sentences, where about four in
    ten are small words.

    Sentences are asked of texts of six words or more; of four or more where the request calls for a text; and
    of lists never, where one may stand.
    """
    answer_words, plain = words(text), plain_words()
    allowed = {stem(w) for w in words(prompt.messages[-1].content)}
    parts = [part for word in answer_words for part in word.split("-") if part]
    ordinary = sum(w in plain or w.isdigit() or stem(w) in plain or stem(w) in allowed for w in parts) / max(
        len(parts), 1
    )
    spoken = 1.0
    if len(answer_words) >= (4 if band(prompt)[0] >= 6 else 6) and not is_list(prompt, text):
        spoken = _above(sum(w in FUNCTION_WORDS for w in answer_words) / len(answer_words), 0.0, 0.2)
    return _above(ordinary, 0.6, 0.95) * spoken


def _above(value: float, nothing: float, full: float) -> float:
    """0 up to `nothing`, 1 from `full` on, a straight line between."""
    return min(1.0, max(0.0, (value - nothing) / (full - nothing)))
