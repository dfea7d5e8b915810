"""What the kinds of label share: tasks made from replies, simulated people working through the queue, waiting for real ones."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel

from biddable.label import queue
from biddable.label.queue import AssignedTask, CollectedLabel
from biddable.label.simulated import labelers as people
from biddable.run import jsonl
from biddable.run.config import Settings, UserError, Waiting
from biddable.run.context import StageContext
from biddable.run.records import Answer, Prompt, Replies, Split, hash_fraction
from biddable.store import gold as store_gold
from biddable.store import guidelines as store_guidelines
from biddable.store.store import Store, open_store
from biddable.store.types import Person as Member
from biddable.store.types import Task as Asked
from biddable.store.types import TaskSet

Panel = Literal["training", "held_out"]

Labelers = Literal["simulated", "people"]
"""Who answers: the simulated panel, at once and by itself, or real people at the labeling site."""

GUIDELINES: dict[Panel, str] = {"training": "training", "held_out": "evaluation"}
"""Helpfulness comes first in training labels, truthfulness and harmlessness in evaluation (Ouyang et al. 2022, 3.4): two documents."""


NOT_ASKED = {"replies", "prompts", "store", "guidelines", "enough", "gold", "gold_share", "priority"}
"""Settings that change nothing about the questions: with others of them the same answers are found again."""


class Gold(NamedTuple):
    """Tasks whose answers are known, mixed unseen into real people's work."""

    known: Sequence[tuple[Asked, str]]  # each with the expected Answer as JSON, in the order of the replies
    share: float


class Crew(NamedTuple):
    """Who is asked, and where what they say is kept."""

    panel: Panel
    labelers: Labelers
    size: int  # simulated people
    store: str | None  # URL or path; None: store.db beside the stage folders
    guidelines: Path | None = None  # folder with training.md and evaluation.md; None: ours
    enough: float = 1.0  # share of the wanted answers after which the records are written
    priority: int = 0  # people are offered tasks of higher priority first
    gold: Gold | None = None


def read_replies(where: Path) -> list[tuple[str, Replies]]:
    """Each line of replies.jsonl with its task's id, which depends on the line alone: going on finds the same tasks again.

    The hash comes first, and tasks are given in the order of their ids: neighbours in the file do not go to neighbours in the panel.
    """
    rows = jsonl.read(where if where.is_file() else where / "replies.jsonl", Replies)
    found: dict[str, Replies] = {}
    for row in rows:
        name, copies = task_name(row), 1
        while name in found:  # the same answers twice are two tasks
            copies += 1
            name = f"{task_name(row)}-{copies}"
        found[name] = row
    return list(found.items())


def task_name(row: Prompted) -> str:
    """A task's id within its set."""
    digest = hashlib.sha256(
        row.model_dump_json(exclude_none=True).encode("utf-8", "surrogatepass")
    ).hexdigest()
    return f"{digest[:10]}-{row.prompt.id}"


def gold(
    where: Path | None, share: float, known: Sequence[tuple[Replies, BaseModel]], asked: Sequence[Asked]
) -> Gold | None:
    """Questions with their known answers, to be mixed in. Raises UserError for one that is asked in earnest as well, or known twice."""
    if where is None or not known:
        return None
    taken = {task.id for task in asked}
    wrong, found = [], {}
    for number, (replies, answer) in enumerate(known, 1):
        name = task_name(replies)
        if name in taken:
            wrong.append(
                f"{where}:{number}: prompt {replies.prompt.id} is among the replies too; a gold item must not be ordinary work"
            )
        if name in found:
            wrong.append(
                f"{where}:{number}: prompt {replies.prompt.id} with the same answers is known already from an earlier line"
            )
        found[name] = (Asked(name, replies.model_dump_json(exclude_none=True)), answer.model_dump_json())
    if wrong:
        raise UserError(wrong)
    return Gold(tuple(found.values()), share)


class Prompted(Protocol):
    """What belongs to a prompt."""

    @property
    def prompt(self) -> Prompt: ...

    def model_dump_json(self, *, exclude_none: bool) -> str: ...


Row = TypeVar("Row", bound=Prompted)


def chosen(
    rows: Sequence[tuple[str, Row]], splits: Sequence[Split] | None, limit: int | None, context: StageContext
) -> list[tuple[str, Row]]:
    """The rows whose prompts are of these splits, at most so many prompts, in their order. Raises UserError when a split has none."""
    wanted = [(name, row) for name, row in rows if splits is None or row.prompt.split in splits]
    wrong = [
        f"[{context.key}] splits: no prompt belongs to {split}; change splits, or those of the stage that it reads"
        for split in splits or ()
        if all(row.prompt.split != split for _, row in wanted)
    ]
    if wrong:
        raise UserError(wrong)
    by_hash = sorted(
        {row.prompt.id for _, row in wanted}, key=lambda one: (hash_fraction("limit", context.seed, one), one)
    )
    kept = set(by_hash[:limit])
    return [(name, row) for name, row in wanted if row.prompt.id in kept]


def blind(answers: Sequence[Answer], shown: Sequence[int]) -> tuple[Answer, ...]:
    """The answers in the order shown, with nothing that tells where they come from."""
    return tuple(Answer(text=answers[i].text, model="", finish=answers[i].finish) for i in shown)


def guideline(panel: Panel, folder: Path | None = None) -> tuple[str, str]:
    """Name and text of the guideline that a panel is shown. Raises UserError when the folder has none for it."""
    name = GUIDELINES[panel]
    path = (folder or Path(__file__).parent / "guidelines") / f"{name}.md"
    try:
        return name, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: the guideline of the panel {panel} was expected there, Markdown in UTF-8 ({error})"
        ) from error


def put_in_force(store: Store, panel: Panel, folder: Path | None = None) -> None:
    """Put a panel's guideline in force, unless there is one already: an admin may have written another."""
    name, text = guideline(panel, folder)
    if store_guidelines.current_guideline(store, name) is None:
        store_guidelines.publish_guideline(store, name, text)


def task_set_name(context: StageContext, cfg: Settings, asked: Sequence[Asked]) -> str:
    """Run, stage and a hash of settings and questions: other questions or settings are another set, a second start is the same."""
    digest = hashlib.sha256(f"{context.seed} {cfg.model_dump_json(exclude=NOT_ASKED)}".encode())
    for task in asked:
        digest.update(f"\n{task.id} {task.overlap} {task.question}".encode("utf-8", "surrogatepass"))
    return f"{context.folder.resolve().parent.name}/{context.key}/{digest.hexdigest()[:12]}"


def done_by(
    crew: Crew,
    task_set: str,
    asked: Sequence[Asked],
    answer: Callable[[people.Person, AssignedTask], BaseModel],
    context: StageContext,
) -> list[CollectedLabel]:
    """Put the tasks to the crew and give back all labels, sorted by task and person.

    `answer` is a simulated person's. Raises Waiting while real people still have to answer, UserError when the panel is too small.
    """
    most = max(task.overlap for task in asked)
    if crew.labelers == "simulated" and crew.size < most:
        raise UserError(
            f"[{context.key}] people = {crew.size}: some tasks go to {most} people each; at least {most} were expected"
        )
    kind = ".".join(context.key.split(".")[:2])
    simulated = crew.labelers == "simulated"
    with open_store(crew.store or context.folder.parent / "store.db", durable=not simulated) as store:
        whole = TaskSet(task_set, kind, crew.panel, simulated, priority=crew.priority)
        if crew.gold is not None and not simulated:
            whole = replace(whole, gold=f"{task_set}/gold", gold_share=crew.gold.share)
            own = [(replace(task, id=f"{task_set}#{task.id}"), key) for task, key in crew.gold.known]
            store_gold.put_gold(
                store, replace(whole, name=f"{task_set}/gold", gold=None, gold_share=0.0), own
            )
        store.put_tasks(whole, [replace(task, id=f"{task_set}#{task.id}") for task in asked])
        if not simulated:
            put_in_force(store, crew.panel, crew.guidelines)
        else:
            version = store.add_guideline(*guideline(crew.panel, crew.guidelines))
            panel = people.panel(crew.panel, context.seed, crew.size)
            store.add_people([Member(person.id, person.id, crew.panel, True) for person in panel])
            simulate(store, task_set, panel, version, answer, context)
        wanted, there = queue.progress(store, task_set)
        context.progress(there, wanted)
        if there < (needed := math.ceil(crew.enough * wanted)):
            noun = kind.split(".")[1]
            raise Waiting(
                f"{needed - there} of {needed} {noun} to go: people of the panel {crew.panel} give them"
            )
        return queue.collected_labels(store, task_set)


def asked_of_people(
    panel: Panel,
    store: str | None,
    guidelines: Path | None,
    enough: float,
    priority: int,
    task_set: str,
    asked: Sequence[Asked],
    context: StageContext,
) -> list[CollectedLabel]:
    """As `done_by`, of a kind that only real people can answer."""
    return done_by(
        Crew(panel, "people", 0, store, guidelines, enough, priority), task_set, asked, _nobody, context
    )


def _nobody(person: people.Person, task: AssignedTask) -> BaseModel:
    raise AssertionError(f"{person.id} was asked for {task.kind}")


def simulate(
    store: Store,
    task_set: str,
    panel: Sequence[people.Person],
    guideline_version: str,
    answer: Callable[[people.Person, AssignedTask], BaseModel],
    context: StageContext,
) -> None:
    """Simulated people take tasks in turn until none is left.

    Whose turn it is follows from the labels in the store alone (who gave fewest), so work that was broken off goes on as if it had not been.
    """
    counts = queue.answers_by_person(store, task_set)
    working = {person.id: person for person in panel}
    wanted, there = queue.progress(store, task_set)
    while working:
        name = min(working, key=lambda one: (counts.get(one, 0), one))
        task = queue.next_task(store, task_set, name)
        if task is None:
            del working[name]
            continue
        queue.submit(store, task, name, answer(working[name], task), guideline_version, 0.0)
        counts[name] = counts.get(name, 0) + 1
        there += 1
        if there % 20 == 0:
            context.progress(there, wanted)
