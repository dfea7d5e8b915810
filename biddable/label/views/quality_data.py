"""What admins look at: agreement, progress, gold, and tasks on which people differ; from the store, as plain numbers."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from biddable.label import agreement, queue, screening
from biddable.label.agreement import Couple, Figure, Ranking
from biddable.label.queue import CollectedLabel
from biddable.store import assignments, reviews
from biddable.store import gold as store_gold
from biddable.store import screening as store_screening
from biddable.store.store import Store
from biddable.store.types import TaskSet

COMPARISONS, RATINGS = "label.comparisons", "label.ratings"
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


def sets_of(store: Store, kinds: Iterable[str]) -> list[TaskSet]:
    """Real people's sets of some kinds; simulated people's only where there are no others. The screening is not among them."""
    parts = {part.task_set for part in store_screening.screening_parts(store)}
    found = [
        one for one in store.task_sets() if one.kind in kinds and one.name not in parts and not one.everybody
    ]
    return [one for one in found if not one.simulated] or found


def stored(label: CollectedLabel) -> tuple[int, ...]:
    """A ranking's ranks, brought from the order shown to the order of the replies; answers that were not ranked are all alike."""
    ranks = dict(zip(label.shown, json.loads(label.answer)["ranks"] or [1] * len(label.shown), strict=True))
    return tuple(ranks[i] for i in range(len(ranks)))


def rankings(store: Store, sets: Sequence[TaskSet]) -> list[Ranking]:
    """The rankings of some sets; people are known by their pseudonyms."""
    return [
        Ranking(row.task, row.person.pseudonym, stored(row), row.person.panel, row.guideline, row.created)
        for one in sets
        for row in queue.collected_labels(store, one.name)
        if json.loads(row.answer).get("ranks") and not row.decided
    ]


def ranking_tables(rows: Sequence[Ranking]) -> list[Table]:
    """Agreement of rankings: all measures by panel, then the share by labeler, by day and by guideline."""
    found = agreement.couples(rows)
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


def _training_first(group: tuple[Any, list[Couple]]) -> bool:
    return group[0] != "training"


def _measures(panel: str, found: list[Couple], rows: list[Ranking]) -> Table:
    measures = [
        Row("pairs ordered alike", agreement.share(found)),
        Row("pairs judged alike, ties included", agreement.share_with_ties(found)),
        Row("Kendall’s τ-b", agreement.tau(found), False),
        Row("Kendall’s W", agreement.concordance(rows), False),
    ]
    about = (
        "Ouyang et al. 2022 report 72.6 % among training labelers"
        if panel == "training"
        else "Ouyang et al. 2022 report 77.3 % among held-out labelers"
    )
    return Table(f"Rankings, panel {panel.replace('_', ' ')}", f"{about}, as pairs ordered alike", measures)


def _shares(groups: dict[str, list[Couple]]) -> list[Row]:
    return [Row(name, agreement.share(couples)) for name, couples in groups.items()]


def rating_tables(store: Store, sets: Sequence[TaskSet]) -> list[Table]:
    """Krippendorff's alpha of ratings (ordinal) and of each yes/no question (nominal), by panel; of whole ratings and of those beside a ranking."""
    overall: dict[str, list[tuple[str, str, float]]] = {}
    marks: dict[tuple[str, str], list[tuple[str, str, float]]] = {}
    for one in sets:
        for row in (row for row in queue.collected_labels(store, one.name) if not row.decided):
            for item, score, form in _judged(row):
                who = row.person.pseudonym
                if score is not None:
                    overall.setdefault(one.panel, []).append((item, who, float(score)))
                for name, value in form.items():
                    if value is not None:
                        marks.setdefault((one.panel, name), []).append((item, who, float(value)))
    tables = []
    for panel in sorted({*overall, *(panel for panel, _ in marks)}):
        rows = [Row("overall, 1 to 7 (ordinal)", agreement.alpha(overall.get(panel, []), "ordinal"), False)]
        named = sorted((name, values) for (where, name), values in marks.items() if where == panel)
        rows += [
            Row(name.replace("_", " "), agreement.alpha(values, "nominal"), False) for name, values in named
        ]
        about = "Krippendorff’s α: 1 is perfect, 0 is chance; none when nobody ever differed from the rest"
        tables.append(
            Table(f"Ratings, panel {panel.replace('_', ' ')}", about, [row for row in rows if row.figure])
        )
    return [table for table in tables if table.rows]


def _judged(row: CollectedLabel) -> list[tuple[str, int | None, dict[str, bool | None]]]:
    """(item, 1 to 7, yes/no marks) of each answer that a label says something of."""
    said = json.loads(row.answer)
    if isinstance(said.get("overall"), int):
        return [(row.task, said["overall"], said.get("metadata") or {})]
    scores, forms = said.get("overall") or [], said.get("metadata") or []
    found = []
    for place, number in enumerate(row.shown):
        score = scores[place] if place < len(scores) else None
        form = forms[place] if isinstance(forms, list) and place < len(forms) else {}
        found.append((f"{row.task}/{number}", score, form or {}))
    return [one for one in found if one[1] is not None or one[2]]


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
    keys = store_gold.gold_answers(store, one.gold)
    scores: dict[str, list[tuple[str, float]]] = {}
    for row in queue.collected_labels(store, one.gold):
        if row.task in keys and (score := _on_gold(row, json.loads(keys[row.task]))) is not None:
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


def _on_gold(row: CollectedLabel, key: dict[str, object]) -> float | None:
    if "ranks" in key:
        return screening.rankings_score([(stored(row), key["ranks"])])  # type: ignore[list-item]
    if "overall" in key:
        return float(abs(json.loads(row.answer)["overall"] - key["overall"]) <= 1)
    return None


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


def distance(rows: Sequence[CollectedLabel]) -> float:
    """How far the answers to one task differ, from 0 to 1: rankings by tau-b, ratings by their span, anything else not at all."""
    rows = [row for row in rows if not row.decided]
    said = [json.loads(row.answer) for row in rows]
    if len(rows) > 1 and all(one.get("ranks") for one in said):
        found = agreement.couples(Ranking("", row.person.id, stored(row)) for row in rows)
        taus = [couple.tau for couple in found if couple.tau is not None]
        return (1 - math.fsum(taus) / len(taus)) / 2 if taus else 0.0
    if len(rows) > 1 and all(isinstance(one.get("overall"), int) for one in said):
        scores = [one["overall"] for one in said]
        return (max(scores) - min(scores)) / 6
    return 0.0
