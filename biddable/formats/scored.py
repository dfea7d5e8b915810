"""Files with a rank or a score for each answer: the seed's ranked and rewarded responses, UltraFeedback, HelpSteer, TRL's
unpaired preferences.

Scores become ranks: the higher the better, equal ones a tie. Where every row holds one answer, rows with the same
prompt are put together; so these files are read to their end before the first label comes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from biddable.formats.demonstrations import with_answer
from biddable.formats.labels import (
    ANSWERS,
    MALFORMED,
    Fields,
    Label,
    Result,
    Rows,
    Shown,
    Skip,
    Skipped,
    Turn,
    Unreadable,
    about,
    comparison,
    demonstration,
    first,
    name_of,
    number,
    prompt_of,
    ranks_of,
    reason_of,
    text_of,
    unquoted,
)
from biddable.run.rows import Row

LISTS = ("responses", "completions", "generations", "answers")
RANKS = ("ranking", "rank")
SCORES = ("overall_score", "score", "rating", "reward", "fine-grained_score", "overall")
LISTS_OF_SCORES = ("scores", "ratings", "rewards")
LISTS_OF_RANKS = ("ranks", "rankings", "ranking")
SINGLE_SCORES = ("expected_reward", "helpfulness", "overall_score", "score", "rating", "reward", "quality")


def answer_list(row: Row, fields: Fields) -> Iterator[Label | Skipped]:
    """A prompt and a list of answers, each with its rank or score, or with lists of these beside it."""
    entries = unquoted(first(row, LISTS))
    turns = prompt_of(row)
    more = about(row)
    if entries and all(isinstance(entry, str) for entry in entries):
        answers = [
            Shown(entry, model) for entry, model in zip(entries, _models(row, len(entries)), strict=True)
        ]
        is_rank = first(row, LISTS_OF_RANKS) is not None
        values: Any = unquoted(first(row, LISTS_OF_RANKS if is_rank else LISTS_OF_SCORES))
        if not isinstance(values, list) or len(values) != len(entries):
            raise Unreadable(f"{len(entries)} answers, but no list of as many scores or ranks")
        yield from _by_value(turns, answers, [number(value) for value in values], is_rank, more)
        return
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Unreadable("expected a list of answers")
    answers = [
        Shown(
            text_of(first(entry, ("text", "response", "answer", "completion", "content")), "answer"),
            name_of(first(entry, ("model", "author"))) or "unknown",
        )
        for entry in entries
    ]
    is_rank = any(first(entry, RANKS) is not None for entry in entries)
    names = RANKS if is_rank else (fields.question,) if fields.question else SCORES
    yield from _by_value(turns, answers, [number(first(entry, names)) for entry in entries], is_rank, more)


def _models(row: Row, count: int) -> Sequence[str]:
    names = first(row, ("models", "generation_models"))
    return (
        [str(name) for name in names]
        if isinstance(names, list) and len(names) == count
        else ["unknown"] * count
    )


def _by_value(
    turns: tuple[Turn, ...],
    answers: Sequence[Shown],
    values: Sequence[float | None],
    is_rank: bool,
    more: dict[str, Any],
) -> Iterator[Label | Skipped]:
    """A comparison by ranks, or by scores. Answers without a value are left out."""
    valued = [(answer, value) for answer, value in zip(answers, values, strict=True) if value is not None]
    if len(valued) < 2:
        raise Skip("fewer than two answers with a rank or score")
    ranks = ranks_of([-value if is_rank else value for _, value in valued])
    yield comparison(turns, [answer for answer, _ in valued], ranks, **more)


class _Scored(NamedTuple):
    where: str
    turns: tuple[Turn, ...]
    answer: Shown
    value: float
    more: dict[str, Any]


def scored_answers(rows: Rows, fields: Fields) -> Iterator[tuple[str, Result]]:
    """A prompt, a response and a number a row: HelpSteer's helpfulness (0 to 4), the seed's expected_reward (with the
    predicted_reward beside it), or another score. A prompt with one answer stays a prompt, or a rating where that is
    asked for."""
    scored: list[_Scored] = []
    for where, row in rows:
        try:
            name = fields.question or next((name for name in SINGLE_SCORES if name in row), "score")
            value = number(row.get(name))
            turns, text = with_answer(row, first(row, ANSWERS))
            if value is None:
                raise Skip(f"no {name}")
            scale = (0.0, 4.0) if name == "helpfulness" else fields.scale
            answer = Shown(text, name_of(row.get("model")) or "unknown", number(row.get("predicted_reward")))
        except Skip as reason:
            yield where, Skipped(str(reason))
            continue
        except MALFORMED as error:
            yield where, reason_of(error)
            continue
        if fields.kind == "ratings":
            yield where, _rating(turns, answer, value, scale, about(row))
        else:
            scored.append(_Scored(where, turns, answer, value, about(row)))
    yield from _grouped(scored)


def _rating(
    turns: tuple[Turn, ...],
    answer: Shown,
    value: float,
    scale: tuple[float | None, float | None],
    more: dict[str, Any],
) -> Result:
    worst, best = scale
    if best is None:
        return "a score without a scale; say with scale what the best value is"
    return Label(turns, (answer,), rating=value, scale=(1 if worst is None else worst, best), **more)


def _grouped(scored: Sequence[_Scored]) -> Iterator[tuple[str, Result]]:
    """Rows about one dialogue, judged by one person, as one comparison; an answer that comes twice counts once."""
    groups: dict[Any, list[_Scored]] = {}
    for row in scored:
        groups.setdefault((row.turns, row.more["labeler"]), []).append(row)
    for group in groups.values():
        row = group[0]
        answers = {entry.answer: entry.value for entry in group}
        if len(answers) == 1:
            yield row.where, Label(row.turns, **row.more)
        else:
            yield row.where, comparison(row.turns, tuple(answers), ranks_of([*answers.values()]), **row.more)


def unpaired(rows: Rows, fields: Fields) -> Iterator[tuple[str, Result]]:
    """TRL's unpaired preferences: prompt, completion and a label, true or false. Each is a rating, 7 or 1, and where a
    prompt has both, a comparison; the good ones are demonstrations where these are asked for."""
    scored: list[_Scored] = []
    for where, row in rows:
        try:
            good = {"true": True, "1": True, "false": False, "0": False}.get(str(row.get("label")).lower())
            if good is None:
                raise Skip("no label")
            turns, text = with_answer(row, first(row, ANSWERS))
        except Skip as reason:
            yield where, Skipped(str(reason))
            continue
        except MALFORMED as error:
            yield where, reason_of(error)
            continue
        if fields.kind == "demonstrations":
            yield where, demonstration(turns, text, **about(row)) if good else Skipped("not good")
            continue
        answer = Shown(text, name_of(row.get("model")) or "unknown")
        yield where, Label(turns, (answer,), rating=float(good), scale=(0, 1), **about(row))
        scored.append(_Scored(where, turns, answer, float(good), about(row)))
    for where, result in _grouped(scored):
        if isinstance(result, Label) and result.ranks is not None and len(set(result.ranks)) > 1:
            yield where, result
