"""Comparisons: one labeler's ranking of all answers to a prompt, best first, ties allowed, without knowing which model gave which.

Every prompt is ranked by `overlap` people, and a share of the prompts by one more, so that the panel's agreement with itself can be measured
(Ouyang et al. 2022, 3.4: 72.6 % among training labelers).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from biddable.label import collection, queue
from biddable.label.form import LETTERS, Fields, made, metadata, number, one
from biddable.label.queue import AssignedTask, CollectedLabel
from biddable.label.simulated import labelers as people
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.jsonl import read, write
from biddable.run.records import Answer as Given
from biddable.run.records import Comparison, Demonstration, Prompt, Record, Replies, Split, hash_fraction
from biddable.store.types import Task as Asked

Value = TypeVar("Value")


class Config(Settings):
    replies: Input = Path("learn.replies")
    """Prompts with the answers to be ranked (K = 4 to 9 each: Ouyang et al. 2022, 3.5)."""
    labelers: collection.Labelers = "people"
    """Who answers: `simulated` people, marked as such in everything made from it, or real `people`."""
    panel: Literal["training", "held_out"] = "training"
    """Whose rankings: the `training` panel reads the guideline that puts helpfulness first, `held_out` the evaluation's (3.4)."""
    people: int = Field(default=12, ge=1)
    """Simulated people in the panel (the paper had about 40 contractors). Not used when real people answer."""
    overlap: int = Field(default=1, ge=1)
    """People per prompt."""
    double_share: float = Field(default=0.2, ge=0, le=1)
    """Share of the prompts, chosen by hash, that one person more ranks: agreement is measured on them."""
    splits: tuple[Split, ...] | None = None
    """Only prompts of these splits; none: all."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many prompts, chosen by hash; none: all."""
    guidelines: Input | None = None
    """A folder with `training.md` and `evaluation.md` to show instead of ours; every answer is stamped with the version seen."""
    enough: float = Field(default=1.0, gt=0, le=1)
    """Share of the wanted answers after which the records are written."""
    gold: Input | None = None
    """A file of comparisons by people whose judgment is trusted; their questions are mixed unseen into real people's work, and never become records."""
    gold_share: float = Field(default=0.05, gt=0, lt=1)
    """How much of a person's work is gold."""
    priority: int = 0
    """People are offered tasks of higher priority first."""
    store: str | None = None
    """The store's path or SQLAlchemy URL; none: store.db in the run's folder."""


class Question(Record):
    """What a labeler sees."""

    prompt: Prompt
    answers: tuple[Given, ...] = Field(min_length=2)


class Answer(Record):
    """ranks[i] belongs to the answer shown at place i; 1 is best, equal ranks are a tie. None: they cannot be ranked, and no record comes of it.

    So do `overall`, the 1 to 7 of each answer, and `metadata`, its yes/no questions; both may be left open. `better` is an answer that the
    labeler wrote because none was good enough: a demonstration.
    """

    ranks: tuple[int, ...] | None = Field(min_length=2)
    overall: tuple[Annotated[int, Field(ge=1, le=7)] | None, ...] | None = None
    metadata: tuple[dict[str, bool | None] | None, ...] | None = None
    all_bad: bool | None = None
    better: str | None = None
    comment: str | None = None

    @model_validator(mode="after")
    def _from_one(self) -> Answer:
        if self.ranks is None:
            return self
        if min(self.ranks) != 1 or max(self.ranks) > len(self.ranks):
            raise ValueError(
                f"ranks {list(self.ranks)}: the best has rank 1, none is above {len(self.ranks)}"
            )
        return self


def dense(ranks: Sequence[int]) -> tuple[int, ...]:
    """The same order and ties without gaps: 2 5 5 becomes 1 2 2."""
    place = {rank: number for number, rank in enumerate(sorted(set(ranks)), 1)}
    return tuple(place[rank] for rank in ranks)


def question(task: AssignedTask) -> Question:
    """The blind view of a task."""
    replies = Replies.model_validate_json(task.question)
    return Question(prompt=replies.prompt, answers=collection.blind(replies.answers, task.shown))


def check(question: Question, answer: Answer) -> None:
    """Raises UserError when the answer does not fit the question."""
    for name, said in (("ranks", answer.ranks), ("overall", answer.overall), ("metadata", answer.metadata)):
        if said is not None and len(said) != len(question.answers):
            raise UserError(
                f"{name} {list(said)}: one for each of the {len(question.answers)} answers was expected"
            )


def form(question: Question, fields: Fields) -> Answer:
    """What the page sent. Raises UserError while an answer has no rank, unless it says that they cannot be ranked."""
    places = range(len(question.answers))
    ranks = [number(fields, f"rank-{i}") for i in places]
    unranked = one(fields, "not_ranked") is not None
    if not unranked and None in ranks:
        missing = ", ".join(LETTERS[i] for i in places if ranks[i] is None)
        raise UserError(f"no rank yet: {missing}; give each answer a rank, or say that they cannot be ranked")
    overall = [number(fields, f"overall-{i}") for i in places]
    return made(
        Answer,
        ranks=None if unranked else dense([rank for rank in ranks if rank is not None]),
        overall=overall if any(overall) else None,
        metadata=[metadata(fields, i) if overall[i] else None for i in places] if any(overall) else None,
        all_bad=one(fields, "all_bad") is not None or None,
        better=one(fields, "better"),
        comment=one(fields, "comment"),
    )


def contradictions(answer: Answer) -> list[str]:
    """Pairs whose ranks and 1 to 7 say opposite things: pointed out to the labeler, never forbidden."""
    if answer.ranks is None or answer.overall is None:
        return []
    rows = list(zip(LETTERS, answer.ranks, answer.overall, strict=False))
    return [
        f"{a} is ranked above {b} but has the lower score ({x} and {y})"
        for a, i, x in rows
        for b, j, y in rows
        if i < j and x is not None and y is not None and x < y
    ]


def simulated(person: people.Person, question: Question) -> Answer:
    """What this simulated person answers."""
    return Answer(ranks=people.rank(person, question.prompt, question.answers))


def records(labels: Sequence[CollectedLabel]) -> list[Comparison]:
    """Labels as records, the ranks brought from the order shown back to the order of the replies."""
    found = []
    for label in labels:
        replies, said = Replies.model_validate_json(label.question), Answer.model_validate_json(label.answer)
        if said.ranks is None:
            continue
        ranks = _stored(label.shown, said.ranks)
        assert ranks is not None
        found.append(
            Comparison(
                id=f"{queue.id_in_set(label.task)}-{label.person.pseudonym}",
                prompt=replies.prompt,
                answers=replies.answers,
                ranks=ranks,
                overall=_stored(label.shown, said.overall),
                metadata=_stored(label.shown, said.metadata),
                all_bad=said.all_bad,
                comment=said.comment,
                labeler=label.person.pseudonym,
                panel=label.person.panel,
                simulated=label.person.simulated,
                guideline=label.guideline,
            )
        )
    return found


def _stored(shown: Sequence[int], said: Sequence[Value] | None) -> tuple[Value, ...] | None:
    """What was said in the order shown, in the order of the replies."""
    if said is None:
        return None
    by_answer = dict(zip(shown, said, strict=True))
    return tuple(by_answer[i] for i in range(len(by_answer)))


def written(labels: Sequence[CollectedLabel]) -> list[Demonstration]:
    """The better answers that labelers wrote, as demonstrations."""
    found = []
    for label in labels:
        said = Answer.model_validate_json(label.answer)
        if said.better is not None:
            found.append(
                Demonstration(
                    id=f"{queue.id_in_set(label.task)}-{label.person.pseudonym}",
                    prompt=Replies.model_validate_json(label.question).prompt,
                    answer=Given(text=said.better, model="people"),
                    labeler=label.person.pseudonym,
                    simulated=label.person.simulated,
                    guideline=label.guideline,
                )
            )
    return found


def run(cfg: Config, context: StageContext) -> None:
    asked = [
        Asked(name, row.model_dump_json(exclude_none=True), cfg.overlap + double)
        for name, row in ranked(
            collection.chosen(collection.read_replies(cfg.replies), cfg.splits, cfg.limit, context), context
        )
        for double in [int(hash_fraction("double", context.seed, row.prompt.id) < cfg.double_share)]
    ]
    known = [
        (Replies(prompt=r.prompt, answers=r.answers), Answer(ranks=dense(r.ranks))) for r in _known(cfg.gold)
    ]
    gold = collection.gold(cfg.gold, cfg.gold_share, known, asked)
    crew = collection.Crew(
        cfg.panel, cfg.labelers, cfg.people, cfg.store, cfg.guidelines, cfg.enough, cfg.priority, gold
    )
    labels = collection.done_by(crew, collection.task_set_name(context, cfg, asked), asked, _answer, context)
    found = records([label for label in labels if label.stands])
    by_id = sorted(found, key=lambda row: row.id)
    write(context.path("comparisons.jsonl"), by_id)
    if better := written([label for label in labels if label.stands]):
        write(context.path("demonstrations.jsonl"), better)
    pairs = [a == b for row in found for a, b in itertools.combinations(row.ranks, 2)]
    context.summary = {
        "comparisons": len(found),
        "prompts": len({row.prompt.id for row in found}),
        "labelers": len({row.labeler for row in found}),
        "ties": sum(pairs) / max(1, len(pairs)),
        "simulated": any(row.simulated for row in found),
        "panel": cfg.panel,
        "guideline": ", ".join(sorted({row.guideline for row in found})),
    }
    if len({label.task for label in labels}) < len(labels):
        from biddable.label import agreement  # here: the statistics are needed for nothing else

        items = [
            (label.task, row.labeler, row.ranks)
            for label in labels
            if not label.decided
            for row in records([label])
        ]
        context.summary |= agreement.pairwise(items, context.seed)


def _known(gold: Path | None) -> list[Comparison]:
    return [] if gold is None else read(gold, Comparison)


def ranked(rows: Sequence[tuple[str, Replies]], context: StageContext) -> Sequence[tuple[str, Replies]]:
    """The same rows. Raises UserError for single answers."""
    single = [row.prompt.id for _, row in rows if len(row.answers) < 2]
    if single:
        raise UserError(
            f"[{context.key}] replies: {len(single)} of {len(rows)} prompts have one answer only, the first is {single[0]}; "
            "at least two to rank were expected: see least of [learn.replies]"
        )
    return rows


def _answer(person: people.Person, task: AssignedTask) -> Answer:
    asked = question(task)
    said = simulated(person, asked)
    check(asked, said)
    return said
