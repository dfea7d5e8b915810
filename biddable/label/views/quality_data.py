"""What admins look at: agreement, progress, gold, and tasks on which people differ; from the store, as plain numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from biddable.label import agreement, kinds, queue
from biddable.label.agreement import Figure, Ranking, RankingPair
from biddable.label.queue import CollectedLabel
from biddable.store import assignments, reviews
from biddable.store import gold as store_gold
from biddable.store import screening as store_screening
from biddable.store.store import Store
from biddable.store.types import TaskSet

RECENT_DAYS = 7
"""The pace by which the end is estimated is that of the last days on which somebody worked."""


class Row(NamedTuple):
    """One line of a table of figures: what it is, and the figure; none when there is nothing to go by."""

    name: str
    figure: Figure | None
    whole: bool = True  # a share of 1, to be shown in per cent; False: a coefficient


class Table(NamedTuple):
    """Figures that belong together."""

    title: str
    about: str
    rows: list[Row]


class Day(NamedTuple):
    """Answers of a day, by pseudonym."""

    day: str
    people: dict[str, int]

    @property
    def answers(self) -> int:
        return sum(self.people.values())


class Progress(NamedTuple):
    """How far a set is. `days_left` is None while nobody works on it."""

    task_set: TaskSet
    done: int
    held: int
    open: int
    returned: int
    days: list[Day]
    seconds: float | None  # mean an answer
    days_left: float | None

    @property
    def wanted(self) -> int:
        return self.done + self.held + self.open


class Gold(NamedTuple):
    """How somebody does on tasks whose answers are known."""

    pseudonym: str
    answered: int
    score: float | None  # as in the screening: share of pairs, or of ratings at most one point off
    worst: list[tuple[str, float]]  # task and score, the worst first


class Dispute(NamedTuple):
    """A task that several people answered, with how far they differ: 0 not at all, 1 as far as possible."""

    task: str
    labels: list[CollectedLabel]
    distance: float
    state: str  # "", "stands" or "returned"


def with_agreement(store: Store) -> tuple[str, ...]:
    """The kinds in a store whose agreement can be measured."""
    names = sorted({task_set.kind for task_set in store.task_sets()})
    return tuple(name for name in names if (kind := kinds.find(name)) is not None and kind.has_agreement)


def sets_of(store: Store, names: Iterable[str]) -> list[TaskSet]:
    """Real people's sets of some kinds; simulated people's only where there are no others. The screening is not among them."""
    parts = {part.task_set for part in store_screening.screening_parts(store)}
    found = [
        one for one in store.task_sets() if one.kind in names and one.name not in parts and not one.everybody
    ]
    return [one for one in found if not one.simulated] or found


def rankings(store: Store, sets: Sequence[TaskSet]) -> list[Ranking]:
    """The rankings of some sets; people are known by their pseudonyms."""
    return [
        Ranking(row.task, row.person.pseudonym, ranks, row.person.panel, row.guideline, row.created)
        for task_set in sets
        if (kind := kinds.find(task_set.kind)) is not None
        for row in queue.collected_labels(store, task_set.name)
        if (ranks := kind.ranks(row)) is not None and not row.decided
    ]


def ranking_tables(rows: Sequence[Ranking]) -> list[Table]:
    """Agreement of rankings: all measures by panel, then the share by labeler, by day and by guideline."""
    found = agreement.ranking_pairs(rows)
    panels = {
        str(name): couples
        for name, couples in sorted(
            agreement.grouped(found, lambda one: one.panel).items(), key=_training_first
        )
    }
    tables = [
        _measures(name, couples, [r for r in rows if r.panel == name]) for name, couples in panels.items()
    ]
    each = agreement.by_labeler(found)
    if len(each) > 1:
        tables.append(
            Table("Labeler by labeler", "with everybody else who ranked the same answers", _shares(each))
        )
    days = agreement.by_day(found)
    if len(days) > 1:
        tables.append(Table("Day by day", "of the later of two rankings (UTC)", _shares(days)))
    versions = {
        str(name): couples for name, couples in agreement.grouped(found, lambda one: one.guideline).items()
    }
    if len(versions) > 1:
        tables.append(Table("By guideline", "both people had read the same version", _shares(versions)))
    return tables


def _training_first(group: tuple[Any, list[RankingPair]]) -> bool:
    return group[0] != "training"


def _measures(panel: str, found: list[RankingPair], rows: list[Ranking]) -> Table:
    measures = [
        Row("pairs ordered alike", agreement.pairwise_agreement(found)),
        Row("pairs judged alike, ties included", agreement.pairwise_agreement_with_ties(found)),
        Row("Kendall’s τ-b", agreement.mean_kendall_tau(found), False),
        Row("Kendall’s W", agreement.mean_kendall_w(rows), False),
    ]
    about = (
        "Ouyang et al. 2022 report 72.6 % among training labelers"
        if panel == "training"
        else "Ouyang et al. 2022 report 77.3 % among held-out labelers"
    )
    return Table(f"Rankings, panel {panel.replace('_', ' ')}", f"{about}, as pairs ordered alike", measures)


def _shares(groups: dict[str, list[RankingPair]]) -> list[Row]:
    return [Row(name, agreement.pairwise_agreement(couples)) for name, couples in groups.items()]


def rating_tables(store: Store, sets: Sequence[TaskSet]) -> list[Table]:
    """Krippendorff's alpha of ratings (ordinal) and of each yes/no question (nominal), by panel; of whole ratings and of those beside a ranking."""
    overall: dict[str, list[tuple[str, str, float]]] = {}
    marks: dict[tuple[str, str], list[tuple[str, str, float]]] = {}
    for task_set in sets:
        kind = kinds.find(task_set.kind)
        if kind is None:
            continue
        for row in queue.collected_labels(store, task_set.name):
            for score in [] if row.decided else kind.scores(row):
                name = row.person.pseudonym
                if score.overall is not None:
                    overall.setdefault(task_set.panel, []).append((score.item, name, float(score.overall)))
                for mark, value in score.marks.items():
                    if value is not None:
                        marks.setdefault((task_set.panel, mark), []).append((score.item, name, float(value)))
    tables = []
    for panel in sorted({*overall, *(panel for panel, _ in marks)}):
        rows = [
            Row(
                "overall, 1 to 7 (ordinal)",
                agreement.krippendorff_alpha(overall.get(panel, []), "ordinal"),
                False,
            )
        ]
        named = sorted((name, values) for (where, name), values in marks.items() if where == panel)
        rows += [
            Row(name.replace("_", " "), agreement.krippendorff_alpha(values, "nominal"), False)
            for name, values in named
        ]
        about = "Krippendorff’s α: 1 is perfect, 0 is chance; none when nobody ever differed from the rest"
        tables.append(
            Table(f"Ratings, panel {panel.replace('_', ' ')}", about, [row for row in rows if row.figure])
        )
    return [table for table in tables if table.rows]


def progress(store: Store, one: TaskSet) -> Progress:
    """How far a set is, who did how much on which day, and when it will be done at the pace of the last days."""
    counts, back = store.counts(one.name), len(reviews.returned_labels(store, one.name))
    days: dict[str, dict[str, int]] = {}
    seconds, answers = 0.0, 0
    for day, name, number, mean in assignments.labels_per_day(store, one.name):
        days.setdefault(day, {})[name] = number
        if mean is not None:
            seconds, answers = seconds + mean * number, answers + number
    found = [Day(day, people) for day, people in sorted(days.items())]
    pace = sum(day.answers for day in found[-RECENT_DAYS:]) / max(1, len(found[-RECENT_DAYS:]))
    left = counts.open + counts.waiting + back
    worked = time.strftime("%Y-%m-%d", time.gmtime(store.clock() - RECENT_DAYS * 86400)) <= (
        found[-1].day if found else ""
    )
    days_left = 0.0 if left == 0 else left / pace if worked and pace else None
    return Progress(
        one,
        counts.done - back,
        counts.waiting,
        counts.open + back,
        back,
        found,
        seconds / answers if answers else None,
        days_left,
    )


def gold(store: Store, one: TaskSet) -> list[Gold]:
    """How everybody does on a set's gold, the worst first."""
    if one.gold is None:
        return []
    kind, keys = kinds.find(one.kind), store_gold.gold_answers(store, one.gold)
    if kind is None:
        return []
    scores: dict[str, list[tuple[str, float]]] = {}
    for row in queue.collected_labels(store, one.gold):
        if row.task not in keys:
            continue
        score = kind.gold_score(row, kind.expected(keys[row.task]))
        if score is not None:
            scores.setdefault(row.person.pseudonym, []).append((row.task, score))
    found = [
        Gold(
            name,
            len(rows),
            math.fsum(score for _, score in rows) / len(rows),
            sorted(rows, key=lambda r: r[1])[:3],
        )
        for name, rows in scores.items()
    ]
    return sorted(found, key=lambda who: (who.score or 0.0, who.pseudonym))


def disputes(store: Store, one: TaskSet) -> list[Dispute]:
    """Tasks with several answers, those that people differ most on first. Undecided ones come before decided ones."""
    by_task: dict[str, list[CollectedLabel]] = {}
    for row in queue.collected_labels(store, one.name):
        by_task.setdefault(row.task, []).append(row)
    decided = {task: rows[-1].decision for task, rows in reviews.reviews_by_task(store, one.name).items()}
    found = []
    for task, rows in by_task.items():
        state = decided.get(task, "open")
        if len(rows) > 1 or state != "open":
            found.append(Dispute(task, rows, distance(rows), "" if state == "open" else state))
    return sorted(found, key=lambda dispute: (dispute.state != "", -dispute.distance, dispute.task))


def distance(labels: Sequence[CollectedLabel]) -> float:
    """How far the answers to one task differ, from 0 to 1: the mean over every two people; 0 where that cannot be said."""
    kind = kinds.find(labels[0].kind) if labels else None
    if kind is None:
        return 0.0
    judged = [label for label in labels if not label.decided]
    distances = [kind.distance(first, second) for first, second in combinations(judged, 2)]
    comparable = [distance for distance in distances if distance is not None]
    return math.fsum(comparable) / len(comparable) if comparable else 0.0
