"""Files of answers to imitate: the seed's prompt and response, TRL's messages and completions, alpaca, ShareGPT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from biddable.formats.labels import (
    ANSWERS,
    PROMPTS,
    Fields,
    Label,
    Skip,
    Skipped,
    Turn,
    about,
    demonstration,
    dialogue,
    first,
    prompt_of,
    text_of,
    unquoted,
    with_system,
)
from biddable.run.rows import Row


def messages(row: Row, fields: Fields) -> Iterator[Label | Skipped]:
    """A whole dialogue (`messages`, or `conversations` of from and value): its last answer is the demonstration."""
    turns = dialogue(first(row, ("messages", "conversations", "conversation", "text")), "dialogue")
    places = [
        i for i, turn in enumerate(turns) if turn.role == "assistant" and i and turns[i - 1].role == "user"
    ]
    if not places:
        raise Skip("no answer")
    for i in places if fields.all_turns else places[-1:]:
        yield demonstration(with_system(row, turns[:i]), turns[i].content, **about(row))


def alpaca(row: Row, fields: Fields) -> Iterator[Label | Skipped]:
    """`instruction`, `input` (may be empty) and `output`; `history` holds earlier questions and answers."""
    question = text_of(row.get("instruction"), "instruction")
    if isinstance(row.get("input"), str) and row["input"].strip():
        question += f"\n\n{row['input']}"
    if not question.strip():
        raise Skip("no instruction")
    turns: list[Turn] = []
    for pair in row.get("history") or ():
        earlier, answered = pair
        turns += [Turn("user", text_of(earlier, "history")), Turn("assistant", text_of(answered, "history"))]
    turns.append(Turn("user", question))
    yield demonstration(with_system(row, tuple(turns)), text_of(row.get("output"), "answer"), **about(row))


def prompt_response(row: Row, fields: Fields) -> Iterator[Label | Skipped]:
    """A prompt and its response or completion, each a text or turns."""
    turns, text = with_answer(row, first(row, ANSWERS))
    yield demonstration(turns, text, **about(row))


def with_answer(row: Row, answer: Any) -> tuple[tuple[Turn, ...], str]:
    """The dialogue of a row, and one answer to it: a text, or turns of which the last is the answer."""
    answer = unquoted(answer)
    if not isinstance(answer, list | dict):
        return prompt_of(row, PROMPTS), text_of(answer, "answer")
    turns = dialogue(answer, "answer")
    if turns[-1].role != "assistant":
        raise Skip("no answer")
    before = dialogue(first(row, PROMPTS)) if len(turns) == 1 or turns[0].role == "assistant" else ()
    return with_system(row, (*before, *turns[:-1])), turns[-1].content
