"""Files of two answers, or two groups, of which one was preferred: TRL's chosen and rejected in all its forms, Anthropic's
dialogues, RewardBench, HelpSteer's pairs, AlpacaEval's annotations, arena battles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from biddable.formats.labels import (
    PROMPTS,
    Fields,
    Label,
    Shown,
    Skip,
    Skipped,
    Turn,
    Unreadable,
    about,
    comparison,
    dialogue,
    first,
    is_spoken,
    name_of,
    number,
    prompt_of,
    side_of,
    spoken,
    text_of,
    unquoted,
    with_system,
)
from biddable.run.rows import Row


def preference(row: Row, fields: Fields) -> Iterator[Label | Skipped]:
    """`chosen` and `rejected`, as texts or turns, with the prompt beside them, within them, or both. Lists of texts are
    groups, as in RewardBench 2: all chosen ones above all rejected."""
    chosen, rejected = unquoted(row["chosen"]), unquoted(row["rejected"])
    if chosen is None or rejected is None:
        raise Skip("no answer")
    if _is_texts(chosen) and _is_texts(rejected):
        answers = [Shown(text) for text in (*chosen, *rejected)]
        ranks = [1] * len(chosen) + [2] * len(rejected)
        yield comparison(prompt_of(row), answers, ranks, **about(row))
        return
    turns, better, worse = two_answers(first(row, PROMPTS), chosen, rejected)
    models = [name_of(row.get(f"{side}_model")) or "unknown" for side in ("chosen", "rejected")]
    shown = [Shown(better, models[0]), Shown(worse, models[1])]
    yield comparison(with_system(row, turns), shown, (1, 2), **about(row))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def two_answers(prompt: Any, first_answer: Any, second_answer: Any) -> tuple[tuple[Turn, ...], str, str]:
    """The dialogue, and both answers to it, wherever the dialogue is."""
    if isinstance(first_answer, str) and isinstance(second_answer, str):
        if is_spoken(first_answer) and is_spoken(second_answer):
            return _last_turns(prompt, spoken(first_answer), spoken(second_answer))
        if prompt is None:
            return _common_beginning(first_answer, second_answer)
        if isinstance(prompt, str) and all(
            len(text) > len(prompt) and text.startswith(prompt) for text in (first_answer, second_answer)
        ):  # TRL: the prompt stands in both texts too
            first_answer, second_answer = (
                text[len(prompt) :].strip() for text in (first_answer, second_answer)
            )
        return dialogue(prompt), first_answer, second_answer
    return _last_turns(prompt, dialogue(first_answer, "chosen"), dialogue(second_answer, "rejected"))


def _last_turns(
    prompt: Any, first_text: tuple[Turn, ...], second_text: tuple[Turn, ...]
) -> tuple[tuple[Turn, ...], str, str]:
    """The last turns are the answers; what stands before them must be the same."""
    if (
        not first_text
        or not second_text
        or first_text[-1].role != "assistant"
        or second_text[-1].role != "assistant"
    ):
        raise Skip("no answer at the end of a dialogue")
    before = first_text[:-1]
    if before != second_text[:-1]:
        raise Skip("the two dialogues differ before their last turn")
    if prompt is not None:
        prompt_turns = dialogue(prompt)
        spoken_before = tuple(turn for turn in before if turn.role != "system")
        prompt_spoken = tuple(turn for turn in prompt_turns if turn.role != "system")
        # a prompt that is only the last, or the first, question of the dialogue is in it already
        if not before:
            before = prompt_turns
        elif (
            spoken_before[: len(prompt_spoken)] != prompt_spoken
            and spoken_before[-len(prompt_spoken) :] != prompt_spoken
        ):
            before = (*prompt_turns, *before)
    return before, first_text[-1].content, second_text[-1].content


def _common_beginning(first_text: str, second_text: str) -> tuple[tuple[Turn, ...], str, str]:
    """TRL's implicit prompt: the words that both texts begin with."""
    length = next(
        (i for i, (a, b) in enumerate(zip(first_text, second_text, strict=False)) if a != b),
        min(len(first_text), len(second_text)),
    )
    common = first_text[:length]
    if len(common) < len(first_text) and len(common) < len(second_text):
        common = common[: max((match.end() for match in re.finditer(r"\s", common)), default=0)]
    if not common.strip():
        raise Unreadable(
            "there is no prompt: neither a field for it, nor words that chosen and rejected begin with"
        )
    return (
        (Turn("user", common.strip()),),
        first_text[len(common) :].strip(),
        second_text[len(common) :].strip(),
    )


def preferred_side(row: Row, fields: Fields) -> Iterator[Label | Skipped]:
    """HelpSteer's pairs: two responses and a number, negative when the first is better, 0 for a tie."""
    names = ("response1", "response2") if "response1" in row else ("response_1", "response_2")
    strength = number(first(row, ("overall_preference", "preference_strength")))
    if strength is None:
        raise Skip("no preference")
    answers = [Shown(text_of(row[name], "answer")) for name in names]
    ranks = (1 + (strength > 0), 1 + (strength < 0))
    yield comparison(prompt_of(row, ("prompt", "context")), answers, ranks, **about(row))


def alpaca_eval(row: Row, fields: Fields) -> Iterator[Label | Skipped]:
    """AlpacaEval's annotations: preference is 1 for the first output, 2 for the second, anything between by how
    likely the second is; 1.5 and 0 are ties. A program said it."""
    value = row.get("preference")
    if value is None or (preference := number(value)) is None:
        raise Skip("no preference")
    if preference != 0 and not 1 <= preference <= 2:
        raise Unreadable(f"preference = {preference}: must be 0 or a number from 1 to 2")
    question = text_of(row.get("instruction"), "instruction")
    if isinstance(row.get("input"), str) and row["input"].strip():
        question += f"\n\n{row['input']}"
    answers = [
        Shown(
            text_of(row.get(f"output_{side}"), "answer"), name_of(row.get(f"generator_{side}")) or "unknown"
        )
        for side in (1, 2)
    ]
    side = 0.0 if preference == 0 else preference - 1.5
    more = about(row) | {"use_case": name_of(row.get("dataset")), "simulated": True}
    turns = dialogue(question)
    yield comparison(turns, answers, (1 + (side > 0), 1 + (side < 0)), **more)


def arena(row: Row, fields: Fields) -> Iterator[Label | Skipped]:
    """Arena battles: two conversations with two models, and which of them won."""
    winner = row.get("winner")
    if winner is None:
        raise Skip("no winner")
    names = [name_of(row.get(f"model_{side}")) or f"model_{side}" for side in "ab"]
    turns, first_text, second_text = two_answers(None, row["conversation_a"], row["conversation_b"])
    side = side_of(str(winner).replace("model_", ""), ("a", "b"))
    ranks = (1, 1) if side is None else (1 + side, 2 - side)
    more = about(row) | {"labeler": name_of(row.get("judge"))}
    yield comparison(turns, [Shown(first_text, names[0]), Shown(second_text, names[1])], ranks, **more)
