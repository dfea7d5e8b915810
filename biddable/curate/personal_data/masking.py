"""Personal data of a prompt replaced by pseudonyms: `[email-1]`. The same value has the same pseudonym
throughout a prompt, and nowhere else.

The caller stores the values apart from the prompts; `unmask_prompt` puts them back.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

from biddable.curate.personal_data import detect
from biddable.curate.personal_data.detect import Span
from biddable.curate.personal_data.phones import REGIONS
from biddable.run.config import UserError
from biddable.run.records import Message, Prompt, Record

Finder = Callable[[str], Iterator[Span]]
_MASK = re.compile(r"\[([a-z_]+)-(\d+)\]")


class Original(Record):
    """What stood in a prompt before it was masked, stored here and nowhere else. One line a prompt."""

    id: str
    user: str
    values: dict[str, str]


def mask_prompt(
    prompt: Prompt,
    kinds: Sequence[str],
    more: Sequence[Finder] = (),
    phone_regions: Sequence[str] = REGIONS,
) -> tuple[Prompt, dict[str, str]]:
    """The prompt without personal data, and what each pseudonym stands for, in the order of the text."""
    texts, values = mask_texts([message.content for message in prompt.messages], kinds, more, phone_regions)
    if not values:
        return prompt, {}
    turns = [Message(role=turn.role, content=text) for turn, text in zip(prompt.messages, texts, strict=True)]
    return prompt.model_copy(update={"messages": tuple(turns)}), values


def mask_texts(
    texts: Sequence[str],
    kinds: Sequence[str],
    more: Sequence[Finder] = (),
    phone_regions: Sequence[str] = REGIONS,
) -> tuple[list[str], dict[str, str]]:
    """Texts that belong together, with one numbering. A pseudonym that stands in one of them already, as
    text, is not used again."""
    values: dict[str, str] = {}
    names: dict[tuple[str, str], str] = {}
    numbers: Counter[str] = Counter()
    used_names = {match[0] for text in texts for match in _MASK.finditer(text)}
    masked = []
    for text in texts:
        end, parts = 0, []
        for span in detect.find(text, kinds, more, phone_regions):
            value = text[span.start : span.end]
            if (span.kind, value) not in names:
                numbers[span.kind] += 1
                while (name := f"[{span.kind}-{numbers[span.kind]}]") in used_names:
                    numbers[span.kind] += 1
                names[span.kind, value] = name
                values[name] = value
            parts += [text[end : span.start], names[span.kind, value]]
            end = span.end
        masked.append("".join([*parts, text[end:]]))
    return masked, values


def unmask_prompt(prompt: Prompt, values: dict[str, str]) -> Prompt:
    """The prompt as it was."""
    turns = [
        Message(role=turn.role, content=_MASK.sub(lambda match: values.get(match[0], match[0]), turn.content))
        for turn in prompt.messages
    ]
    return prompt.model_copy(update={"messages": tuple(turns)})


def finders(names: str | None, presidio: Sequence[str]) -> list[Finder]:
    """Finders of names and of what presidio-analyzer knows. Raises UserError for what is not installed or
    does not exist."""
    finders: list[Finder] = [partial(find_names, _language_model(names))] if names else []
    return finders + [partial(find_with_presidio, _recogniser(name)) for name in presidio]


@cache
def _language_model(name: str) -> Any:
    try:
        import spacy
    except ModuleNotFoundError:
        raise UserError(
            "names need the package spacy: pip install 'biddable[names]'; or leave `spacy_model` out"
        ) from None
    try:
        return spacy.load(name)
    except OSError:
        raise UserError(
            f"spacy_model = {name!r}: neither an installed spaCy model nor a folder of one; install it, or "
            "leave `spacy_model` out"
        ) from None


def find_names(model: Any, text: str) -> Iterator[Span]:
    for entity in model(text).ents:
        if entity.label_ in ("PERSON", "PER"):
            yield Span("name", entity.start_char, entity.end_char)


@cache
def _recogniser(name: str) -> Any:
    try:
        module = importlib.import_module("presidio_analyzer.predefined_recognizers")
    except ModuleNotFoundError:
        raise UserError(
            "presidio needs the package presidio-analyzer: pip install 'biddable[names]'; or set presidio = "
            "[]"
        ) from None
    if not isinstance(kind := getattr(module, name, None), type):
        raise UserError(
            f"presidio: {name!r}: presidio-analyzer has no such recogniser; expected a class name such as "
            "UkNinoRecognizer"
        )
    return kind()


MIN_PRESIDIO_SCORE = 0.5
"""Presidio's own score of a match that its check confirmed, or whose form is rare, is above this; a bare run
of digits is below."""


def find_with_presidio(recogniser: Any, text: str) -> Iterator[Span]:
    if any(letter.isdigit() for letter in text):  # numbers of persons hold digits; its searches are slow
        for match in recogniser.analyze(text, recogniser.supported_entities, None) or []:
            if match.score >= MIN_PRESIDIO_SCORE:
                yield Span(match.entity_type.lower(), match.start, match.end)
