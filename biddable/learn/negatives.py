"""Answers to other dialogues, as negatives for a preference model and to measure it: it must know what
belongs to a dialogue at all (Glaese et al. 2022)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from biddable.learn.training import derive_seed
from biddable.run.config import UserError
from biddable.run.records import Answer, Comparison, Message


def opening(messages: Sequence[Message]) -> tuple[Message, ...]:
    """A dialogue up to its first user turn. Turns of one dialogue share it, whatever their prompts' ids."""
    for number, message in enumerate(messages, 1):
        if message.role == "user":
            return tuple(messages[:number])
    return tuple(messages)


def draw_negatives(rows: Sequence[Comparison], count: int, seed: int) -> list[tuple[Answer, ...]]:
    """For each ranking `count` answers to other dialogues, at random: a prompt's draw depends on its id, the
    seed and the answers there are. Never from the same dialogue, and never in the words of a shown answer.

    Raises UserError when a ranking has no other dialogue beside it.
    """
    if not count:
        return [()] * len(rows)
    everything = [(opening(row.prompt.messages), answer) for row in rows for answer in row.answers]
    drawn = []
    for row in rows:
        draw = random.Random(derive_seed("negatives", seed, row.prompt.id))
        # Nearly every answer belongs to another dialogue, so a few tries do; all are looked through only where
        # they do not.
        tries = draw.sample(everything, min(len(everything), 4 * count))
        pool = [answer for opens, answer in tries if is_off_topic(row, opens, answer)]
        if len(pool) < count:
            pool = [answer for opens, answer in everything if is_off_topic(row, opens, answer)]
        if not pool:
            raise UserError(
                f"negatives: prompt {row.prompt.id} has no answers to other dialogues beside it; set 0 or "
                "give more prompts"
            )
        drawn.append(tuple(draw.choices(pool, k=count) if len(pool) < count else draw.sample(pool, count)))
    return drawn


def is_off_topic(row: Comparison, opens: tuple[Message, ...], answer: Answer) -> bool:
    """Whether an answer to the dialogue that opens so is a negative for this ranking."""
    return opens != opening(row.prompt.messages) and all(
        (answer.text, answer.tokens) != (shown.text, shown.tokens) for shown in row.answers
    )


def off_topic_summary(rows: Sequence[Comparison], scores: Sequence[np.ndarray[Any, Any]]) -> dict[str, float]:
    """How often an answer to another dialogue scores below every shown one, and the mean scores of both.
    `scores[p]` (K + M,): K shown answers, then M others."""
    shown = [s[: len(row.answers)] for row, s in zip(rows, scores, strict=True)]
    off_topic = [s[len(row.answers) :] for row, s in zip(rows, scores, strict=True)]
    below = np.concatenate([o < s.min() for o, s in zip(off_topic, shown, strict=True)])
    return {
        "off_topic_below": float(below.mean()),
        "off_topic": len(below),
        "score_off_topic": float(np.concatenate(off_topic).mean()),
        "score_shown": float(np.concatenate(shown).mean()),
    }
