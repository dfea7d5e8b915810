"""Comparisons: one labeler's ranking of all answers to a prompt, best first, ties allowed, without knowing which model gave which.

Every prompt is ranked by `overlap` people, and a share of the prompts by one more, so that the panel's
agreement with itself can be measured (Ouyang et al. 2022, 3.4: 72.6 % among training labelers).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from biddable.label import collection
from biddable.label.collection import (
    GoldSettings,
    LabelerSettings,
    LabelSettings,
    PanelSettings,
    PromptSettings,
)
from biddable.label.form import LETTERS, Fields, build_answer, number_field, text_field, yes_no_fields
from biddable.label.kinds import LabelKind, Score, TaskView, in_stored_order
from biddable.label.queue import CollectedLabel
from biddable.run.config import Input, UserError
from biddable.run.context import StageContext
from biddable.run.jsonl import read, write
from biddable.run.records import Answer, Comparison, Demonstration, Prompt, Record, Replies, hash_fraction
from biddable.simulated import labelers
from biddable.store.types import Task


class Config(LabelerSettings, PanelSettings, PromptSettings, GoldSettings, LabelSettings):
    replies: Input = Path("learn.replies")
    """Prompts with the answers to be ranked (K = 4 to 9 each: Ouyang et al. 2022, 3.5)."""
    overlap: int = Field(default=1, ge=1)
    """People per prompt."""
    double_share: float = Field(default=0.2, ge=0, le=1)
    """Share of the prompts, chosen by hash, that one person more ranks: agreement is measured on them."""


class RankingQuestion(Record):
    """What a labeler sees."""

    prompt: Prompt
    answers: tuple[Answer, ...] = Field(min_length=2)


class RankingAnswer(Record):
    """ranks[i] belongs to the answer shown at place i; 1 is best, equal ranks are a tie. None: they cannot be
    ranked, and no record comes of it.

    So do `overall`, the 1 to 7 of each answer, and `metadata`, its yes/no questions; both may be left open.
    `better` is an answer that the labeler wrote because none was good enough: a demonstration.
    """

    ranks: tuple[int, ...] | None = Field(min_length=2)
    overall: tuple[Annotated[int, Field(ge=1, le=7)] | None, ...] | None = None
    metadata: tuple[dict[str, bool | None] | None, ...] | None = None
    all_bad: bool | None = None
    better: str | None = None
    comment: str | None = None

    @model_validator(mode="after")
    def _from_one(self) -> RankingAnswer:
        if self.ranks is not None and (min(self.ranks) != 1 or max(self.ranks) > len(self.ranks)):
            raise ValueError(
                f"ranks {list(self.ranks)}: the best has rank 1, none is above {len(self.ranks)}"
            )
        return self


def dense(ranks: Sequence[int]) -> tuple[int, ...]:
    """The same order and ties without gaps: 2 5 5 becomes 1 2 2."""
    place = {rank: number for number, rank in enumerate(sorted(set(ranks)), 1)}
    return tuple(place[rank] for rank in ranks)


def spell_ranks(ranks: Sequence[int]) -> str:
    """A ranking by the answers' letters, best first, ties with an equals sign: C > A = B."""
    groups = [[LETTERS[i] for i, rank in enumerate(ranks) if rank == place] for place in sorted(set(ranks))]
    return " > ".join(" = ".join(group) for group in groups)


class Comparisons(LabelKind[Replies, RankingQuestion, RankingAnswer]):
    title = "Rank the answers"
    task_type = Replies
    answer_type = RankingAnswer
    has_agreement = True

    def blind(self, task: Replies, shown: Sequence[int]) -> RankingQuestion:
        return RankingQuestion(prompt=task.prompt, answers=collection.blind(task.answers, shown))

    def check(self, question: RankingQuestion, answer: RankingAnswer) -> None:
        for name in ("ranks", "overall", "metadata"):
            values = getattr(answer, name)
            if values is not None and len(values) != len(question.answers):
                raise UserError(
                    f"{name} {list(values)}: expected one for each of the {len(question.answers)} answers"
                )

    def form(self, question: RankingQuestion, fields: Fields) -> RankingAnswer:
        """Raises UserError while an answer has no rank, unless the form says that they cannot be ranked."""
        places = range(len(question.answers))
        ranks = [number_field(fields, f"rank-{i}") for i in places]
        unranked = text_field(fields, "not_ranked") is not None
        if not unranked and None in ranks:
            missing = ", ".join(LETTERS[i] for i in places if ranks[i] is None)
            raise UserError(
                f"no rank yet: {missing}; give each answer a rank, or say that they cannot be ranked"
            )
        overall = [number_field(fields, f"overall-{i}") for i in places]
        # a form of an answer without a score was not filled in: its unticked boxes do not mean no
        marks = [yes_no_fields(fields, i) if overall[i] else None for i in places]
        return build_answer(
            RankingAnswer,
            ranks=None if unranked else dense([rank for rank in ranks if rank is not None]),
            overall=overall if any(overall) else None,
            metadata=marks if any(overall) else None,
            all_bad=text_field(fields, "all_bad") is not None or None,
            better=text_field(fields, "better"),
            comment=text_field(fields, "comment"),
        )

    def hints(self, answer: RankingAnswer) -> list[str]:
        """Pairs whose ranks and 1 to 7 say opposite things."""
        if answer.ranks is None or answer.overall is None:
            return []
        rows = list(zip(LETTERS, answer.ranks, answer.overall, strict=False))
        return [
            f"{a} is ranked above {b} but has the lower score ({x} and {y})"
            for a, i, x in rows
            for b, j, y in rows
            if i < j and x is not None and y is not None and x < y
        ]

    def summary(self, answer: RankingAnswer) -> str:
        """Such as "C > A = B; scores C 7, A 3; all are bad"."""
        parts = ["not ranked" if answer.ranks is None else spell_ranks(answer.ranks)]
        scores = [
            f"{letter} {score}" for letter, score in zip(LETTERS, answer.overall or (), strict=False) if score
        ]
        if scores:
            parts.append(f"scores {', '.join(scores)}")
        if answer.all_bad:
            parts.append("all are bad")
        parts += [
            f"with a {name}"
            for name, text in (("better answer", answer.better), ("comment", answer.comment))
            if text
        ]
        return "; ".join(parts)

    def simulate(self, person: labelers.Person, question: RankingQuestion) -> RankingAnswer:
        return RankingAnswer(ranks=labelers.rank(person, question.prompt, question.answers))

    def records(self, label: CollectedLabel) -> list[Comparison | Demonstration]:
        """The ranking, brought from the order shown to that of the replies, and the better answer that the
        labeler wrote."""
        task, answer, ranks = self.task(label.question), self.answer(label), self.ranks(label)
        rows: list[Comparison | Demonstration] = []
        if ranks is not None:
            rows.append(
                Comparison(
                    id=label.record_id,
                    prompt=task.prompt,
                    answers=task.answers,
                    ranks=ranks,
                    overall=None if answer.overall is None else in_stored_order(label.shown, answer.overall),
                    metadata=None
                    if answer.metadata is None
                    else in_stored_order(label.shown, answer.metadata),
                    all_bad=answer.all_bad,
                    comment=answer.comment,
                    panel=label.person.panel,
                    **label.provenance,
                )
            )
        if answer.better is not None:
            rows.append(
                Demonstration(
                    id=label.record_id,
                    prompt=task.prompt,
                    answer=Answer(text=answer.better, model="people"),
                    **label.provenance,
                )
            )
        return rows

    def ranks(self, label: CollectedLabel) -> tuple[int, ...] | None:
        ranks = self.answer(label).ranks
        return None if ranks is None else in_stored_order(label.shown, ranks)

    def scores(self, label: CollectedLabel) -> list[Score]:
        """The 1 to 7 and the yes/no questions beside the ranking; answers of which neither was said are left
        out."""
        answer, none = self.answer(label), (None,) * len(label.shown)
        rows = [
            Score(f"{label.task}/{number}", overall, marks or {})
            for number, overall, marks in zip(
                label.shown, answer.overall or none, answer.metadata or none, strict=True
            )
        ]
        return [row for row in rows if row.overall is not None or row.marks]

    def distance(self, first: CollectedLabel, second: CollectedLabel) -> float | None:
        """(1 - τ-b) / 2: 0 for the same order, 1 for the reverse; None when somebody ranked nothing, or
        everything alike."""
        from biddable.label import agreement  # here: numpy loads slowly, and no page for labelers needs it

        ranks = self.ranks(first), self.ranks(second)
        if ranks[0] is None or ranks[1] is None:
            return None
        tau = agreement.kendall_tau_b(ranks[0], ranks[1])
        return None if tau is None else (1 - tau) / 2

    def gold_score(self, label: CollectedLabel, expected: RankingAnswer) -> float | None:
        return rankings_score([(self.ranks_or_ties(label), expected.ranks or ())])

    def ranks_or_ties(self, label: CollectedLabel) -> tuple[int, ...]:
        """The ranks in the order stored; answers that cannot be ranked are all alike."""
        return self.ranks(label) or (1,) * len(label.shown)

    def view(self, task: Replies) -> TaskView:
        return TaskView.of_prompt(task.prompt, task.answers)


KIND = Comparisons()


def rankings_score(rankings: Iterable[tuple[Sequence[int], Sequence[int]]]) -> float | None:
    """Share of the answer pairs ordered by a trusted ranking that a labeler's orders alike, over (labeler's,
    trusted) ranks.

    A labeler's tie where the trusted ranking has none counts half: tying everything scores 1/2, as guessing
    does.
    """
    right, pairs = 0.0, 0
    for ranks, trusted in rankings:
        for i, j in itertools.combinations(range(len(trusted)), 2):
            if trusted[i] != trusted[j]:
                pairs += 1
                alike = (ranks[i] < ranks[j]) == (trusted[i] < trusted[j])
                right += 0.5 if ranks[i] == ranks[j] else float(alike)
    return right / pairs if pairs else None


def run(cfg: Config, context: StageContext) -> None:
    replies = collection.select_prompts(collection.read_replies(cfg.replies), cfg, context)
    check_answer_counts([row for _, row in replies], context.key)
    tasks = [
        Task(name, row.model_dump_json(exclude_none=True), cfg.overlap + is_double(row.prompt, cfg, context))
        for name, row in replies
    ]
    trusted = [
        (Replies(prompt=r.prompt, answers=r.answers), RankingAnswer(ranks=dense(r.ranks)))
        for r in ([] if cfg.gold is None else read(cfg.gold, Comparison))
    ]
    gold = collection.gold_tasks(cfg.gold, trusted, tasks)
    labels = collection.collect_labels(KIND, cfg, tasks, context, gold)
    rows = collection.write_records(KIND, labels, Comparison, context)
    if written := collection.records_of(KIND, labels, Demonstration):
        write(context.path("demonstrations.jsonl"), written)
    pairs = [a == b for row in rows for a, b in itertools.combinations(row.ranks, 2)]
    context.summary = {
        **collection.summarise(rows, cfg, context),
        "ties": sum(pairs) / max(1, len(pairs)),
        **agreement_of(labels, context.seed),
    }


def is_double(prompt: Prompt, cfg: Config, context: StageContext) -> bool:
    """Whether one person more ranks this prompt."""
    return hash_fraction("double", context.seed, prompt.id) < cfg.double_share


def check_answer_counts(rows: Sequence[Replies], key: str) -> None:
    """Raises UserError for prompts with a single answer."""
    single = [row.prompt.id for row in rows if len(row.answers) < 2]
    if single:
        raise UserError(
            f"[{key}] replies: {len(single)} of {len(rows)} prompts have one answer only, the first is {single[0]}; "
            "must be at least two to rank: see least of [learn.replies]"
        )


def agreement_of(labels: Sequence[CollectedLabel], seed: int) -> dict[str, float]:
    """Agreement of people who ranked the same prompt, if any did. An admin's decision is no independent
    ranking."""
    if len({label.task for label in labels}) == len(labels):
        return {}
    from biddable.label import agreement  # here: the statistics are needed for nothing else

    rankings = [(label, KIND.ranks(label)) for label in labels if not label.decided]
    rows = [(label.task, label.person.pseudonym, ranks) for label, ranks in rankings if ranks is not None]
    return agreement.agreement_summary(rows, seed)
