"""IFEval (Zhou et al. 2023, arXiv 2311.07911, tables 1 and 2): does an answer follow those instructions of
its prompt that a program can check?

`follows` reads the answer as it is; `follows_loosely` also tries it without its first line, its last line,
and without asterisks, and is content with one of these. One difference from the authors' program: sentences
are split by nltk's Punkt with the abbreviations listed here, not with its trained model, which would have to
be downloaded.

An instruction is a name and arguments; each check is a function of the answer and these.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from pydantic import model_validator

from biddable.measure.benchmarks.tasks.task import UNJUDGED, GenerationItem, Marks, Texts, mark
from biddable.run.words import has_words, words

Check = Callable[[str, Mapping[str, Any]], bool]
ABBREVIATIONS = frozenset(
    [
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
)
"""Words that a full stop does not end a sentence after."""


class IFEval(GenerationItem):
    """A prompt with instructions of which a program can tell whether they were followed."""

    single_line = False
    prompt: str
    instruction_id_list: Texts
    kwargs: list[dict[str, Any]]

    @model_validator(mode="after")
    def _arguments_fit(self) -> Self:
        if len(self.kwargs) != len(self.instruction_id_list):
            raise ValueError(
                f"kwargs: {len(self.kwargs)} for {len(self.instruction_id_list)} instructions; must be one "
                "for each"
            )
        errors = [
            error
            for name, arguments in zip(self.instruction_id_list, self.kwargs, strict=True)
            for error in argument_errors(name, arguments)
        ]
        if errors:
            raise ValueError("; ".join(errors))
        return self

    def input_text(self) -> str:
        return self.prompt

    def score(self, output: str) -> Marks:
        """Shares of prompts with all instructions followed, and of instructions followed (Zhou et al. 2023,
        3), strictly and loosely."""
        marks: Marks = {}
        for word, check in (("strict", follows), ("loose", follows_loosely)):
            followed = check(output, self.instruction_id_list, self.kwargs, self.prompt)
            judged = [outcome for outcome in followed if outcome is not None]
            decided = len(judged) == len(followed) or not all(judged)  # one that is broken decides
            marks[f"prompt_{word}"] = mark(all(judged)) if decided else UNJUDGED
            marks[f"instruction_{word}"] = (float(sum(judged)), float(len(judged))) if judged else UNJUDGED
        return marks


def follows(
    answer: str, names: Sequence[str], arguments: Sequence[Mapping[str, Any]], prompt: str
) -> list[bool | None]:
    """Whether each instruction is followed; None where words or sentences would have to be counted of a text
    whose script does not part them. Raises KeyError for an unknown instruction. An empty answer follows
    none."""
    countable = has_words(answer)
    followed: list[bool | None] = []
    for name, named in zip(names, arguments, strict=True):
        values = {key: value for key, value in named.items() if value is not None}
        values.setdefault("prompt_to_repeat", prompt)
        if name in COUNTS_WORDS and not countable:
            followed.append(None)
        else:
            followed.append(CHECKS[name](answer, values) if answer.strip() else False)
    return followed


def follows_loosely(
    answer: str, names: Sequence[str], arguments: Sequence[Mapping[str, Any]], prompt: str
) -> list[bool | None]:
    """As `follows`, for the best of eight readings of the answer."""
    lines = answer.split("\n")
    cuts = [answer, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    readings = [
        follows(text, names, arguments, prompt) for cut in cuts for text in (cut, cut.replace("*", ""))
    ]
    return [
        True if any(column) else None if None in column else False for column in zip(*readings, strict=True)
    ]


def _relation(count: int, arguments: Mapping[str, Any], bound: str, relation: str = "relation") -> bool:
    """count < bound, or count >= bound."""
    limit = int(arguments[bound])
    return count < limit if arguments.get(relation) == "less than" else count >= limit


@functools.cache
def _punkt() -> Any:
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    parameters = PunktParameters()
    parameters.abbrev_types = set(ABBREVIATIONS)
    return PunktSentenceTokenizer(parameters)


def sentences(text: str) -> int:
    """How many sentences a text has."""
    return len(_punkt().tokenize(text))


def language(text: str) -> str | None:
    """The likeliest language's code, the same at every call; None for a text without letters."""
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


def _bullets(text: str, arguments: Mapping[str, Any]) -> bool:
    stars, dashes = (len(re.findall(p, text, re.M)) for p in (r"^\s*\*[^\*].*$", r"^\s*-.*$"))
    return stars + dashes == int(arguments["num_bullets"])


def _highlights(text: str, arguments: Mapping[str, Any]) -> bool:
    single = [span for span in re.findall(r"\*[^\n\*]*\*", text) if span.strip("*").strip()]
    double = [
        span
        for span in re.findall(r"\*\*[^\n\*]*\*\*", text)
        if span.removeprefix("**").removesuffix("**").strip()
    ]
    return len(single) + len(double) >= int(arguments["num_highlights"])


def _sections(text: str, arguments: Mapping[str, Any]) -> bool:
    splitter = r"\s?" + re.escape(str(arguments["section_spliter"])) + r"\s?\d+\s?"
    return len(re.split(splitter, text)) - 1 >= int(arguments["num_sections"])


def _divided(text: str, divider: str) -> list[str] | None:
    """Parts between dividers, empty ones at the ends left out; None when an empty one stands between two."""
    parts = re.split(divider, text)
    inner = [part for number, part in enumerate(parts) if part.strip() or 0 < number < len(parts) - 1]
    return inner if all(part.strip() for part in inner) else None


def _paragraphs(text: str, arguments: Mapping[str, Any]) -> bool:
    parts = _divided(text, r"\s?\*\*\*\s?")
    return parts is not None and len(parts) == int(arguments["num_paragraphs"])


def _two_responses(text: str, arguments: Mapping[str, Any]) -> bool:
    parts = _divided(text, re.escape("******"))
    return parts is not None and len(parts) == 2 and parts[0].strip() != parts[1].strip()


def _first_word(text: str, arguments: Mapping[str, Any]) -> bool:
    parts = text.split("\n\n")
    count, nth = sum(bool(part.strip()) for part in parts), int(arguments["nth_paragraph"])
    if nth > count or not (paragraph := parts[nth - 1].strip()):
        return False
    word = re.split(r"[.,?!'\"]", paragraph.split()[0].lstrip("'").lstrip('"'))[0].lower()
    return count == int(arguments["num_paragraphs"]) and word == str(arguments["first_word"]).lower()


def _postscript(text: str, arguments: Mapping[str, Any]) -> bool:
    marker = str(arguments["postscript_marker"])
    patterns = {"P.P.S": r"\s*p\.\s?p\.\s?s.*$", "P.S.": r"\s*p\.\s?s\..*$"}
    pattern = patterns.get(marker, r"\s*" + re.escape(marker.lower()) + r".*$")
    return bool(re.search(pattern, text.lower(), re.M))


def _json(text: str, arguments: Mapping[str, Any]) -> bool:
    inner = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        inner = inner.removeprefix(fence)
    try:
        json.loads(inner.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _stands_in(word: str, text: str) -> bool:
    """Whether the text has the word, not as a part of another; in scripts without blanks, anywhere."""
    if word.isascii():
        return bool(re.search(r"\b" + re.escape(word) + r"\b", text, re.I))
    sought, tokens = words(word.casefold()), words(text.casefold())
    return any(tokens[i : i + len(sought)] == sought for i in range(len(tokens) - len(sought) + 1))


def _has(word: str, text: str) -> int:
    return len(re.findall(re.escape(word), text, re.I))


CHECKS: dict[str, Check] = {
    "keywords:existence": lambda text, arguments: all(_has(word, text) for word in arguments["keywords"]),
    "keywords:frequency": lambda text, arguments: _relation(
        _has(str(arguments["keyword"]), text), arguments, "frequency"
    ),
    "keywords:forbidden_words": lambda text, arguments: (
        not any(_stands_in(word, text) for word in arguments["forbidden_words"])
    ),
    "keywords:letter_frequency": lambda text, arguments: _relation(
        text.lower().count(str(arguments["letter"]).lower()), arguments, "let_frequency", "let_relation"
    ),
    "language:response_language": lambda text, arguments: language(text) in (arguments["language"], None),
    "length_constraints:number_sentences": lambda text, arguments: _relation(
        sentences(text), arguments, "num_sentences"
    ),
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": lambda text, arguments: _relation(
        len(words(text)), arguments, "num_words"
    ),
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": lambda text, arguments: (
        len(re.findall(r"\[.*?\]", text)) >= int(arguments["num_placeholders"])
    ),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": lambda text, arguments: any(
        phrase in text for phrase in ("My answer is yes.", "My answer is no.", "My answer is maybe.")
    ),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": lambda text, arguments: any(
        title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", text)
    ),
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": lambda text, arguments: (
        text.strip().lower().startswith(str(arguments["prompt_to_repeat"]).strip().lower())
    ),
    "startend:end_checker": lambda text, arguments: (
        text.strip().strip('"').lower().endswith(str(arguments["end_phrase"]).strip().lower())
    ),
    "startend:quotation": lambda text, arguments: (
        len(inner := text.strip()) > 1 and inner[0] == '"' == inner[-1]
    ),
    "change_case:capital_word_frequency": lambda text, arguments: _relation(
        _capital_words(text), arguments, "capital_frequency", "capital_relation"
    ),
    "change_case:english_capital": lambda text, arguments: text.isupper() and _english(text),
    "change_case:english_lowercase": lambda text, arguments: text.islower() and _english(text),
    "punctuation:no_comma": lambda text, arguments: "," not in text,
}
COUNTS_WORDS = frozenset(
    [
        "length_constraints:number_words",
        "length_constraints:number_sentences",
        "length_constraints:nth_paragraph_first_word",
    ]
)
"""Checks that cannot judge a text whose script has no blanks between words."""
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
"""The arguments that an instruction cannot do without; the others need none."""
KINDS = {int: "a whole number from 0", str: "a text", list: "a list of texts"}


def argument_errors(name: str, arguments: Mapping[str, Any]) -> list[str]:
    """What is wrong with an instruction and its arguments."""
    if name not in CHECKS:
        return [f"the instruction {name} is unknown; there are {', '.join(CHECKS)}"]
    errors = [
        f"{name}: {key} = {json.dumps(arguments.get(key))}: must be {KINDS[kind]}"
        for key, kind in ARGUMENTS.get(name, {}).items()
        if not _is_kind(arguments.get(key), kind)
    ]
    errors += [
        f"{name}: {key} = {json.dumps(arguments[key])}: must be less than or at least"
        for key in ("relation", "let_relation", "capital_relation")
        if arguments.get(key) not in (None, "less than", "at least")
    ]
    return errors


def _is_kind(value: Any, kind: type) -> bool:
    """Whether an argument is a whole number from 0 (2.0 is one), a text, or a list of texts."""
    if kind is int:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return bool(is_number and value >= 0 and value % 1 == 0)
    if kind is str:
        return isinstance(value, str) and bool(value)
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) and text for text in value)
