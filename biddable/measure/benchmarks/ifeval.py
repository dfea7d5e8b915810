"""IFEval: whether an answer does what its prompt asked for where a program can see it (Zhou et al. 2023, arXiv 2311.07911, tables 1 and 2).

`strict` reads the answer as it is; `loose` also tries it without its first line, its last line, and without asterisks, and is content with one that does. One difference
from the authors' program: sentences are told by nltk's Punkt with a list of abbreviations given here, not with its trained model, which would have to be downloaded.

An instruction is a name and arguments; each check is a function of the answer and these.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Check = Callable[[str, Mapping[str, Any]], bool]
ABBREVIATIONS = [
    "dr",
    "mr",
    "mrs",
    "ms",
    "prof",
    "rev",
    "gen",
    "st",
    "vs",
    "etc",
    "e.g",
    "i.e",
    "jr",
    "sr",
    "inc",
    "ltd",
    "co",
    "u.s",
    "u.k",
    "a.m",
    "p.m",
    "no",
    "fig",
    "approx",
    "dept",
    "est",
]


def strict(
    answer: str, names: Sequence[str], arguments: Sequence[Mapping[str, Any]], prompt: str
) -> list[bool]:
    """Whether each instruction is followed. Raises KeyError for an instruction that is not known. An empty answer follows none."""
    found = []
    for name, given in zip(names, arguments, strict=True):
        known = {key: value for key, value in given.items() if value is not None}
        known.setdefault("prompt_to_repeat", prompt)
        found.append(CHECKS[name](answer, known) if answer.strip() else False)
    return found


def loose(
    answer: str, names: Sequence[str], arguments: Sequence[Mapping[str, Any]], prompt: str
) -> list[bool]:
    """As `strict`, for the best of eight readings of the answer."""
    lines = answer.split("\n")
    cut = [answer, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    readings = [strict(text, names, arguments, prompt) for one in cut for text in (one, one.replace("*", ""))]
    return [any(column) for column in zip(*readings, strict=True)]


def _relation(count: int, given: Mapping[str, Any], bound: str, relation: str = "relation") -> bool:
    """count < bound, or count >= bound."""
    limit = int(given[bound])
    return count < limit if given.get(relation) == "less than" else count >= limit


@functools.cache
def _punkt() -> Any:
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    known = PunktParameters()
    known.abbrev_types = set(ABBREVIATIONS)
    return PunktSentenceTokenizer(known)


def sentences(text: str) -> int:
    """How many sentences a text has."""
    return len(_punkt().tokenize(text))


def language(text: str) -> str | None:
    """The likeliest language's code, the same at every call; None when the text gives nothing to tell from."""
    import langdetect

    langdetect.DetectorFactory.seed = 0
    try:
        return str(langdetect.detect(text))
    except langdetect.LangDetectException:
        return None


def _english(text: str) -> bool:
    return language(text) in ("en", None)


def _capital_words(text: str) -> int:
    from nltk.tokenize import NLTKWordTokenizer

    return sum(word.isupper() for word in NLTKWordTokenizer().tokenize(text))


def _bullets(text: str, given: Mapping[str, Any]) -> bool:
    stars, dashes = (len(re.findall(p, text, re.M)) for p in (r"^\s*\*[^\*].*$", r"^\s*-.*$"))
    return stars + dashes == int(given["num_bullets"])


def _highlights(text: str, given: Mapping[str, Any]) -> bool:
    single = [one for one in re.findall(r"\*[^\n\*]*\*", text) if one.strip("*").strip()]
    double = [
        one
        for one in re.findall(r"\*\*[^\n\*]*\*\*", text)
        if one.removeprefix("**").removesuffix("**").strip()
    ]
    return len(single) + len(double) >= int(given["num_highlights"])


def _sections(text: str, given: Mapping[str, Any]) -> bool:
    splitter = r"\s?" + re.escape(str(given["section_spliter"])) + r"\s?\d+\s?"
    return len(re.split(splitter, text)) - 1 >= int(given["num_sections"])


def _divided(text: str, divider: str) -> list[str] | None:
    """Parts between dividers, empty ones at the ends left out; None when an empty one stands between two."""
    parts = re.split(divider, text)
    held = [part for number, part in enumerate(parts) if part.strip() or 0 < number < len(parts) - 1]
    return held if all(part.strip() for part in held) else None


def _paragraphs(text: str, given: Mapping[str, Any]) -> bool:
    parts = _divided(text, r"\s?\*\*\*\s?")
    return parts is not None and len(parts) == int(given["num_paragraphs"])


def _two_responses(text: str, given: Mapping[str, Any]) -> bool:
    parts = _divided(text, re.escape("******"))
    return parts is not None and len(parts) == 2 and parts[0].strip() != parts[1].strip()


def _first_word(text: str, given: Mapping[str, Any]) -> bool:
    parts = text.split("\n\n")
    count, wanted = sum(bool(part.strip()) for part in parts), int(given["nth_paragraph"])
    if wanted > count or not (own := parts[wanted - 1].strip()):
        return False
    word = re.split(r"[.,?!'\"]", own.split()[0].lstrip("'").lstrip('"'))[0].lower()
    return count == int(given["num_paragraphs"]) and word == str(given["first_word"]).lower()


def _postscript(text: str, given: Mapping[str, Any]) -> bool:
    marker = str(given["postscript_marker"])
    known = {"P.P.S": r"\s*p\.\s?p\.\s?s.*$", "P.S.": r"\s*p\.\s?s\..*$"}
    pattern = known.get(marker, r"\s*" + re.escape(marker.lower()) + r".*$")
    return bool(re.search(pattern, text.lower(), re.M))


def _json(text: str, given: Mapping[str, Any]) -> bool:
    inner = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        inner = inner.removeprefix(fence)
    try:
        json.loads(inner.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _has(word: str, text: str) -> int:
    return len(re.findall(re.escape(word), text, re.I))


CHECKS: dict[str, Check] = {
    "keywords:existence": lambda text, given: all(_has(word, text) for word in given["keywords"]),
    "keywords:frequency": lambda text, given: _relation(
        _has(str(given["keyword"]), text), given, "frequency"
    ),
    "keywords:forbidden_words": lambda text, given: (
        not any(re.search(r"\b" + re.escape(word) + r"\b", text, re.I) for word in given["forbidden_words"])
    ),
    "keywords:letter_frequency": lambda text, given: _relation(
        text.lower().count(str(given["letter"]).lower()), given, "let_frequency", "let_relation"
    ),
    "language:response_language": lambda text, given: language(text) in (given["language"], None),
    "length_constraints:number_sentences": lambda text, given: _relation(
        sentences(text), given, "num_sentences"
    ),
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": lambda text, given: _relation(
        len(re.findall(r"\w+", text)), given, "num_words"
    ),
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": lambda text, given: (
        len(re.findall(r"\[.*?\]", text)) >= int(given["num_placeholders"])
    ),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": lambda text, given: any(
        one in text for one in ("My answer is yes.", "My answer is no.", "My answer is maybe.")
    ),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": lambda text, given: any(
        one.lstrip("<").rstrip(">").strip() for one in re.findall(r"<<[^\n]+>>", text)
    ),
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": lambda text, given: (
        text.strip().lower().startswith(str(given["prompt_to_repeat"]).strip().lower())
    ),
    "startend:end_checker": lambda text, given: (
        text.strip().strip('"').lower().endswith(str(given["end_phrase"]).strip().lower())
    ),
    "startend:quotation": lambda text, given: len(own := text.strip()) > 1 and own[0] == '"' == own[-1],
    "change_case:capital_word_frequency": lambda text, given: _relation(
        _capital_words(text), given, "capital_frequency", "capital_relation"
    ),
    "change_case:english_capital": lambda text, given: text.isupper() and _english(text),
    "change_case:english_lowercase": lambda text, given: text.islower() and _english(text),
    "punctuation:no_comma": lambda text, given: "," not in text,
}
ARGUMENTS: dict[str, dict[str, type]] = {
    "keywords:existence": {"keywords": list},
    "keywords:frequency": {"keyword": str, "frequency": int},
    "keywords:forbidden_words": {"forbidden_words": list},
    "keywords:letter_frequency": {"letter": str, "let_frequency": int},
    "language:response_language": {"language": str},
    "length_constraints:number_sentences": {"num_sentences": int},
    "length_constraints:number_paragraphs": {"num_paragraphs": int},
    "length_constraints:number_words": {"num_words": int},
    "length_constraints:nth_paragraph_first_word": {
        "num_paragraphs": int,
        "nth_paragraph": int,
        "first_word": str,
    },
    "detectable_content:number_placeholders": {"num_placeholders": int},
    "detectable_content:postscript": {"postscript_marker": str},
    "detectable_format:number_bullet_lists": {"num_bullets": int},
    "detectable_format:number_highlighted_sections": {"num_highlights": int},
    "detectable_format:multiple_sections": {"section_spliter": str, "num_sections": int},
    "startend:end_checker": {"end_phrase": str},
    "change_case:capital_word_frequency": {"capital_frequency": int},
}
"""What an instruction needs; the others need nothing."""
WORDS = {int: "a whole number from 0", str: "a text", list: "a list of texts"}


def mistakes(name: str, given: Mapping[str, Any]) -> list[str]:
    """What is wrong with an instruction and its arguments."""
    if name not in CHECKS:
        return [f"the instruction {name} is unknown; there are {', '.join(CHECKS)}"]
    found = []
    for key, kind in ARGUMENTS.get(name, {}).items():
        value = given.get(key)
        right = {
            int: isinstance(value, int | float)
            and not isinstance(value, bool)
            and value >= 0
            and value % 1 == 0,
            str: isinstance(value, str) and bool(value),
            list: isinstance(value, list)
            and bool(value)
            and all(isinstance(one, str) and one for one in value),
        }[kind]
        if not right:
            found.append(f"{name}: {key} = {json.dumps(value)}: {WORDS[kind]} was expected")
    for key in ("relation", "let_relation", "capital_relation"):
        if given.get(key) not in (None, "less than", "at least"):
            found.append(f"{name}: {key} = {json.dumps(given[key])}: less than or at least was expected")
    return found
