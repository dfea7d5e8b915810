"""The numbers behind the dashboard: what each person does and how well, how far each set is and when it will
be done."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from biddable.label import agreement
from biddable.label.agreement import Figure
from biddable.label.forecast import PAST_DAYS, Forecast, forecast
from biddable.label.queue import CollectedLabel
from biddable.label.views import agreement_tables, quality_data
from biddable.store import assignments, reviews
from biddable.store.store import Store
from biddable.store.types import Account, TaskSet
from biddable.store.work_days import WorkDay, day_of, list_work

NEWEST = 100
"""A person's pace is that of so many newest answers."""
NEWEST_OF_SET = 1000
"""Agreement, gold and disputes are of so many newest answers of each set."""
LEAST_ANSWERS = 20
"""Measured answers that a pace needs."""
OUTLIER_SCORE = 3.5
"""A pace is an outlier from this modified z-score on (Iglewicz and Hoaglin 1993): |log pace - median| * 0.6745
over the median distance from the median; and only at half or twice the usual time at least."""
HURRIED = 0.25
"""An answer in less than this share of the time usual for its set is hurried."""


class Pace(NamedTuple):
    """How fast somebody works, beside what is usual in the same sets: 0.5 is in half the time."""

    seconds: float  # median an answer
    ratio: float  # median of each answer's time over its set's median
    hurried: float  # share of answers
    outlier: str = ""  # "fast", "slow" or ""


class PersonRow(NamedTuple):
    """One person's work in the chosen days and sets."""

    account: Account
    answers: int
    corrections: int
    skips: int
    hours: float
    unmeasured: int
    pace: Pace | None
    gold: quality_data.Gold | None
    agreement: Figure | None
    last_answer: float | None


class SetRow(NamedTuple):
    """How far a set is."""

    task_set: TaskSet
    title: str
    answered: int
    leased: int
    open: int  # sent back ones included
    returned: int
    hours: float
    forecast: Forecast | None
    now: float

    @property
    def needed(self) -> int:
        """Answers that the set needs in all."""
        return self.answered + self.leased + self.open

    def date(self, days: int | None) -> str:
        """The date so many days from now, as 3 Dec 2026."""
        if days is None:
            return "more than a year"
        day = datetime.fromtimestamp(self.now, UTC) + timedelta(days=days)
        return f"{day.day} {day:%b %Y}"


class ChartDay(NamedTuple):
    """A day's answers, for a chart."""

    date: str
    answers: int


def chart_days(work: Iterable[WorkDay], now: float, days: int = 14) -> list[ChartDay]:
    """Answers of each of the last days, today included, days without any as 0."""
    today = day_of(now)
    totals = _answers_by_day(work)
    return [
        ChartDay(f"{datetime.fromtimestamp(day * 86400, UTC):%d %b}", totals.get(day, 0))
        for day in range(today - days + 1, today + 1)
    ]


def _answers_by_day(work: Iterable[WorkDay]) -> dict[int, int]:
    totals: dict[int, int] = {}
    for row in work:
        totals[row.day] = totals.get(row.day, 0) + row.answers
    return totals


def names_with_gold(task_sets: Iterable[TaskSet]) -> list[str]:
    """The names of sets and of the gold mixed into them: to whoever works they are one."""
    return [name for task_set in task_sets for name in (task_set.name, task_set.gold) if name is not None]


def set_rows(store: Store, task_sets: Sequence[TaskSet], titles: dict[str, str]) -> list[SetRow]:
    """How far sets are, and when they will be done at the pace of the last weeks."""
    now = store.clock()
    today, rows = day_of(now), []
    for task_set in task_sets:
        counts, returned = store.counts(task_set.name), len(reviews.returned_labels(store, task_set.name))
        work = list_work(store, task_sets=names_with_gold([task_set]))
        by_day = _answers_by_day(row for row in work if row.task_set == task_set.name)
        past = [by_day.get(day, 0) for day in range(today - PAST_DAYS, today)]  # today is not over yet
        to_do = counts.open + counts.waiting + returned  # a returned label has to be given again
        rows.append(
            SetRow(
                task_set,
                titles[task_set.name],
                counts.done - returned,
                counts.waiting,
                counts.open + returned,
                returned,
                sum(row.seconds for row in work) / 3600,
                forecast(past, to_do),
                now,
            )
        )
    return rows


def person_rows(
    store: Store,
    task_sets: Sequence[TaskSet],
    work: Sequence[WorkDay],
    people: Sequence[Account],
    labels: Mapping[str, Sequence[CollectedLabel]],
) -> list[PersonRow]:
    """What each person did in the given days of work, those who did most first. Agreement is that of the
    given labels, pace and gold that of the newest answers, whatever the days."""
    by_person: dict[str, list[WorkDay]] = {}
    for row in work:
        by_person.setdefault(row.person, []).append(row)
    paces, last_answers = _paces(store, people, task_sets)
    gold = _gold_by_person(store, task_sets)
    alike = agreement_by_person(labels)
    rows = []
    for account in people:
        days = by_person.get(account.person.id, [])
        rows.append(
            PersonRow(
                account,
                sum(day.answers for day in days),
                sum(day.corrections for day in days),
                sum(day.skips for day in days),
                sum(day.seconds for day in days) / 3600,
                sum(day.unmeasured for day in days),
                paces.get(account.person.id),
                gold.get(account.person.pseudonym),
                alike.get(account.person.pseudonym),
                last_answers.get(account.person.id),
            )
        )
    return sorted(rows, key=lambda row: (-row.answers, row.account.login))


def _gold_by_person(store: Store, task_sets: Sequence[TaskSet]) -> dict[str, quality_data.Gold]:
    """How everybody does on the gold of all these sets together, by pseudonym."""
    by_person: dict[str, quality_data.Gold] = {}
    for score in (
        score for task_set in task_sets for score in quality_data.gold(store, task_set, NEWEST_OF_SET)
    ):
        before = by_person.get(score.pseudonym)
        if before is not None:
            answered = before.answered + score.answered
            mean = (before.score * before.answered + score.score * score.answered) / answered
            score = score._replace(answered=answered, score=mean, worst=before.worst + score.worst)
        by_person[score.pseudonym] = score
    return by_person


def agreement_by_person(labels: Mapping[str, Sequence[CollectedLabel]]) -> dict[str, Figure]:
    """Each real person's share of answer pairs ordered as other people did, by pseudonym."""
    by_people = [label for rows in labels.values() for label in rows if not label.person.simulated]
    pairs = agreement.ranking_pairs(agreement_tables.rankings(by_people))
    figures = {
        name: agreement.pairwise_agreement(group) for name, group in agreement.by_labeler(pairs).items()
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def _paces(
    store: Store, people: Sequence[Account], task_sets: Sequence[TaskSet]
) -> tuple[dict[str, Pace], dict[str, float]]:
    """Each person's pace, and the time of their newest answer."""
    set_of = {name: task_set.name for task_set in task_sets for name in names_with_gold([task_set])}
    seconds: dict[str, list[tuple[str, float]]] = {}  # person -> (set, seconds)
    last_answers: dict[str, float] = {}
    for account in people:
        answers = assignments.past_answers(store, account.person.id, NEWEST)
        if answers:
            last_answers[account.person.id] = answers[0].created
        seconds[account.person.id] = [
            (set_of[answer.task_set], answer.seconds)
            for answer in answers
            if answer.seconds and answer.task_set in set_of
        ]
    return paces(seconds), last_answers


def paces(seconds: dict[str, list[tuple[str, float]]]) -> dict[str, Pace]:
    """Each person's pace, from person -> (set, seconds of an answer); people with too few answers have
    none."""
    by_set: dict[str, list[float]] = {}
    for answers in seconds.values():
        for name, spent in answers:
            by_set.setdefault(name, []).append(spent)
    usual = {name: statistics.median(spent) for name, spent in by_set.items()}
    measured: dict[str, Pace] = {}
    for person, answers in seconds.items():
        if len(answers) >= LEAST_ANSWERS:
            ratios = [spent / usual[name] for name, spent in answers]
            measured[person] = Pace(
                statistics.median(spent for _, spent in answers),
                statistics.median(ratios),
                sum(ratio < HURRIED for ratio in ratios) / len(ratios),
            )
    outliers = speed_outliers({person: pace.ratio for person, pace in measured.items()})
    return {person: pace._replace(outlier=outliers.get(person, "")) for person, pace in measured.items()}


def speed_outliers(ratios: dict[str, float]) -> dict[str, str]:
    """Who is "fast" or "slow" beyond what is usual among these people."""
    logs = {person: float(np.log(ratio)) for person, ratio in ratios.items()}
    if len(logs) < 3:
        return {}
    middle = statistics.median(logs.values())
    spread = statistics.median(abs(log - middle) for log in logs.values())
    return {
        person: "fast" if log < middle else "slow"
        for person, log in logs.items()
        if abs(log - middle) >= np.log(2) and 0.6745 * abs(log - middle) >= OUTLIER_SCORE * spread
    }
