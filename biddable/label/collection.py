"""Collecting labels: the settings that all kinds share, task sets made from replies, the simulated panel's
work, waiting for real people."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import pydantic_core
from pydantic import BaseModel, Field

from biddable.label import queue
from biddable.label.kinds import AnyKind
from biddable.label.queue import CollectedLabel
from biddable.run import jsonl
from biddable.run.config import Input, Settings, UserError, Waiting
from biddable.run.context import StageContext
from biddable.run.records import (
    Answer,
    Comparison,
    Demonstration,
    Probe,
    Prompt,
    Rating,
    Replies,
    RuleCheck,
    Split,
    hash_fraction,
)
from biddable.simulated import labelers
from biddable.store import gold as store_gold
from biddable.store import guidelines as store_guidelines
from biddable.store.store import Store, open_store
from biddable.store.types import Person, Task, TaskSet

Panel = Literal["training", "held_out"]

GUIDELINES: dict[Panel, str] = {"training": "training", "held_out": "evaluation"}
"""Helpfulness comes first in training labels, truthfulness and harmlessness in evaluation (Ouyang et al.
2022, 3.4): two documents."""


class LabelSettings(Settings):
    """What every kind of label can be told."""

    hashed_unless_default: ClassVar[frozenset[str]] = frozenset()
    """Settings that are younger than sets of this kind in people's stores: at their defaults a set's name is
    what it was without them."""
    guidelines: Input | None = None
    """A folder with `training.md` and `evaluation.md` to show instead of ours; every answer is stamped with
    the version seen."""
    enough: float = Field(default=1.0, gt=0, le=1)
    """Share of the wanted answers after which the records are written."""
    priority: int = 0
    """People are offered tasks of higher priority first."""
    store: str | None = None
    """The store's path or SQLAlchemy URL, whose password is written nowhere; none: store.db in the run's
    folder."""


class PanelSettings(Settings):
    """Kinds that either panel may be asked for; the others ask the training panel."""

    panel: Panel = "training"
    """Who is asked: the `training` panel reads the guideline that puts helpfulness first, `held_out` the
    evaluation's (Ouyang et al. 2022, 3.4)."""


class LabelerSettings(Settings):
    """Kinds that simulated people can answer too."""

    labelers: Literal["simulated", "people"] = "people"
    """Who answers: `simulated` people, marked as such in everything made from it, or real `people`."""
    people: int = Field(default=12, ge=1)
    """Simulated people in the panel (Ouyang et al. 2022 had about 40 contractors). Not used when real people
    answer."""


class PromptSettings(Settings):
    """Kinds that may be limited to some of the prompts."""

    splits: tuple[Split, ...] | None = None
    """Only prompts of these splits; none: all."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many prompts, chosen by hash; none: all."""


class GoldSettings(Settings):
    """Kinds whose answers can be compared with known ones."""

    gold: Input | None = None
    """A file of this kind's records by people whose judgment is trusted; their questions are mixed unseen
    into real people's work, and never become records."""
    gold_share: float = Field(default=0.05, gt=0, lt=1)
    """How much of a person's work is gold."""


NOT_HASHED = {"replies", "prompts", "store", "guidelines", "enough", "gold", "gold_share", "priority"}
"""Settings that change nothing about the questions: whatever they are, the same answers are found again."""
HASHED_LAST = ("labelers", "panel", "people", "overlap", "double_share", "splits", "limit")
"""Settings that several kinds have are hashed after a kind's own, in this order. It is frozen: sets in
people's stores are named by it."""


def task_set_name(context: StageContext, cfg: Settings, tasks: Sequence[Task]) -> str:
    """Run, stage and a hash of settings and questions: other questions or settings are another set, a second
    start is the same."""
    settings = cfg.model_dump(mode="json", exclude=NOT_HASHED)
    if isinstance(cfg, LabelSettings):
        defaults = {name: type(cfg).model_fields[name].default for name in cfg.hashed_unless_default}
        settings = {n: v for n, v in settings.items() if n not in defaults or getattr(cfg, n) != defaults[n]}
    names = [name for name in settings if name not in HASHED_LAST]
    names += [name for name in HASHED_LAST if name in settings]
    text = pydantic_core.to_json({name: settings[name] for name in names}).decode()
    digest = hashlib.sha256(f"{context.seed} {text}".encode())
    for task in tasks:
        digest.update(f"\n{task.id} {task.overlap} {task.question}".encode("utf-8", "surrogatepass"))
    return f"{context.folder.resolve().parent.name}/{context.key}/{digest.hexdigest()[:12]}"


class Prompted(Protocol):
    """What belongs to a prompt."""

    @property
    def prompt(self) -> Prompt: ...

    def model_dump_json(self, *, exclude_none: bool) -> str: ...


Row = TypeVar("Row", bound=Prompted)


def read_replies(path: Path) -> list[tuple[str, Replies]]:
    """Each line of replies.jsonl with its task's id, which depends on the line alone: a second start finds
    the same tasks again.

    Ids begin with a hash, and tasks are handed out in the order of their ids: neighbours in the file do not
    go to neighbours in the panel.
    """
    rows: dict[str, Replies] = {}
    for row in jsonl.read(jsonl.find_file(path, "replies.jsonl"), Replies):
        name, copies = task_id(row), 1
        while name in rows:  # the same answers twice are two tasks
            copies += 1
            name = f"{task_id(row)}-{copies}"
        rows[name] = row
    return list(rows.items())


def task_id(row: Prompted) -> str:
    """A task's id within its set."""
    text = row.model_dump_json(exclude_none=True).encode("utf-8", "surrogatepass")
    return f"{hashlib.sha256(text).hexdigest()[:10]}-{row.prompt.id}"


def select_prompts(
    rows: Sequence[tuple[str, Row]], cfg: PromptSettings, context: StageContext
) -> list[tuple[str, Row]]:
    """The rows whose prompts are of the wanted splits, at most `limit` prompts, in their order. Raises
    UserError when a split has none."""
    in_splits = [(name, row) for name, row in rows if cfg.splits is None or row.prompt.split in cfg.splits]
    errors = [
        f"[{context.key}] splits: no prompt belongs to {split}; change splits, or those of the stage that it "
        "reads"
        for split in cfg.splits or ()
        if all(row.prompt.split != split for _, row in in_splits)
    ]
    if errors:
        raise UserError(errors)
    by_hash = sorted(
        {row.prompt.id for _, row in in_splits}, key=lambda id: (hash_fraction("limit", context.seed, id), id)
    )
    selected = set(by_hash[: cfg.limit])
    return [(name, row) for name, row in in_splits if row.prompt.id in selected]


def blind(answers: Sequence[Answer], shown: Sequence[int]) -> tuple[Answer, ...]:
    """The answers in the order shown, with nothing that tells which model gave them."""
    return tuple(Answer(text=answers[i].text, model="", finish=answers[i].finish) for i in shown)


def gold_tasks(
    path: Path | None, rows: Sequence[tuple[Replies, BaseModel]], tasks: Sequence[Task]
) -> list[tuple[Task, str]]:
    """Tasks with their expected answers as JSON, to be mixed in unseen. `rows` are the lines of the file at
    `path`.

    Raises UserError for one that is ordinary work as well, or that comes twice: which answer is right then?
    """
    ordinary = {task.id for task in tasks}
    errors: list[str] = []
    gold: dict[str, tuple[Task, str]] = {}
    for number, (replies, answer) in enumerate(rows, 1):
        name = task_id(replies)
        if name in ordinary:
            errors.append(
                f"{path}:{number}: prompt {replies.prompt.id} is among the replies too; a gold item must not "
                "be ordinary work"
            )
        if name in gold:
            errors.append(
                f"{path}:{number}: prompt {replies.prompt.id} with the same answers is known already from an "
                "earlier line"
            )
        gold[name] = (Task(name, replies.model_dump_json(exclude_none=True)), answer.model_dump_json())
    if errors:
        raise UserError(errors)
    return list(gold.values())


def guideline(panel: Panel, folder: Path | None = None) -> tuple[str, str]:
    """Name and text of the guideline that a panel is shown. Raises UserError when the folder has none for
    it."""
    name = GUIDELINES[panel]
    path = (folder or Path(__file__).parent / "guidelines") / f"{name}.md"
    try:
        return name, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: expected the guideline of the panel {panel}, Markdown in UTF-8 ({error})"
        ) from error


def publish_default_guideline(store: Store, panel: Panel, folder: Path | None = None) -> None:
    """Put a panel's guideline in force, unless there is one already: an admin may have written another."""
    name, text = guideline(panel, folder)
    if store_guidelines.current_guideline(store, name) is None:
        store_guidelines.publish_guideline(store, name, text)


def panel_of(cfg: Settings) -> Panel:
    """The panel that is asked."""
    return cfg.panel if isinstance(cfg, PanelSettings) else "training"


def collect_labels(
    kind: AnyKind,
    cfg: LabelSettings,
    tasks: Sequence[Task],
    context: StageContext,
    gold: Sequence[tuple[Task, str]] = (),
) -> list[CollectedLabel]:
    """Put the tasks to the panel and give back all labels, sorted by task and person: simulated people's at
    once.

    `gold` are tasks with their expected answers, which real people get among the others. Raises Waiting while
    real people still have to answer, UserError when the simulated panel is too small.
    """
    name, panel = task_set_name(context, cfg, tasks), panel_of(cfg)
    simulated = isinstance(cfg, LabelerSettings) and cfg.labelers == "simulated"
    most = max(task.overlap for task in tasks)
    if isinstance(cfg, LabelerSettings) and simulated and cfg.people < most:
        raise UserError(
            f"[{context.key}] people = {cfg.people}: some tasks go to {most} people each; must be at least "
            f"{most}"
        )
    with open_store(cfg.store or context.folder.parent / "store.db", durable=not simulated) as store:
        task_set = TaskSet(name, f"label.{_noun(context)}", panel, simulated, priority=cfg.priority)
        if gold and isinstance(cfg, GoldSettings) and not simulated:
            task_set = replace(task_set, gold=f"{name}/gold", gold_share=cfg.gold_share)
            gold_set = replace(task_set, name=f"{name}/gold", gold=None, gold_share=0.0)
            store_gold.put_gold(
                store,
                gold_set,
                [(replace(t, id=f"{name}#{t.id}", language=language_of(t.question)), key) for t, key in gold],
            )
        store.put_tasks(
            task_set,
            [replace(task, id=f"{name}#{task.id}", language=language_of(task.question)) for task in tasks],
        )
        if isinstance(cfg, LabelerSettings) and simulated:
            version = store.add_guideline(*guideline(panel, cfg.guidelines))
            people = labelers.panel(panel, context.seed, cfg.people)
            store.add_people([Person(person.id, person.id, panel, True) for person in people])
            simulate(store, name, people, version, kind, context)
        else:
            publish_default_guideline(store, panel, cfg.guidelines)
        total, answered = queue.progress(store, name)
        context.progress(answered, total)
        if answered < (needed := math.ceil(cfg.enough * total)):
            raise Waiting(
                f"{needed - answered} of {needed} {_noun(context)} to go: people of the panel {panel} give "
                "them"
            )
        return queue.collected_labels(store, name)


def language_of(question: str) -> str | None:
    """The language of a question's prompt, where the prompt says it."""
    prompt = json.loads(question).get("prompt") or {}
    language: str | None = prompt.get("language")
    return language


def simulate(
    store: Store,
    task_set: str,
    panel: Sequence[labelers.Person],
    guideline_version: str,
    kind: AnyKind,
    context: StageContext,
) -> None:
    """Simulated people take tasks in turn until none is left.

    Whose turn it is follows from the labels in the store alone (who gave fewest), so work that was broken off
    goes on as if it had not been.
    """
    counts = queue.answers_by_person(store, task_set)
    working = {person.id: person for person in panel}
    total, answered = queue.progress(store, task_set)
    while working:
        name = min(working, key=lambda id: (counts.get(id, 0), id))
        task = queue.next_task(store, task_set, name)
        if task is None:
            del working[name]
            continue
        question = kind.question(task)
        answer = kind.simulate(working[name], question)
        kind.check(question, answer)
        queue.submit(store, task, name, answer, guideline_version, 0.0)
        counts[name] = counts.get(name, 0) + 1
        answered += 1
        if answered % 20 == 0:
            context.progress(answered, total)


class LabelRecord(Protocol):
    """What all records of labels say: who gave them under which guideline."""

    @property
    def id(self) -> str: ...
    @property
    def labeler(self) -> str: ...
    @property
    def simulated(self) -> bool: ...
    @property
    def guideline(self) -> str: ...


R = TypeVar("R", Prompt, Demonstration, Comparison, Rating, RuleCheck, Probe)


def records_of(kind: AnyKind, labels: Sequence[CollectedLabel], record_type: type[R]) -> list[R]:
    """The records of one type that labels come to, by id. Labels that an admin decided against count for
    nothing."""
    rows = [row for label in labels if label.stands for row in kind.records(label)]
    return sorted((row for row in rows if isinstance(row, record_type)), key=lambda row: str(row.id))


def write_records(
    kind: AnyKind, labels: Sequence[CollectedLabel], record_type: type[R], context: StageContext
) -> list[R]:
    """Write a stage's records into the file of its name, `ratings.jsonl` of `label.ratings`; returns them."""
    rows = records_of(kind, labels, record_type)
    jsonl.write(context.path(f"{_noun(context)}.jsonl"), rows)
    return rows


def summarise(rows: Sequence[LabelRecord], cfg: LabelSettings, context: StageContext) -> dict[str, Any]:
    """What the summaries of all kinds say of their records."""
    prompts = {
        row.prompt.id for row in rows if isinstance(row, Demonstration | Comparison | Rating | RuleCheck)
    }
    return {
        _noun(context): len(rows),
        **({"prompts": len(prompts)} if prompts else {}),
        "labelers": len({row.labeler for row in rows}),
        "simulated": any(row.simulated for row in rows),
        "panel": panel_of(cfg),
        "guideline": ", ".join(sorted({row.guideline for row in rows})),
    }


def _noun(context: StageContext) -> str:
    """What a stage collects: its name without the room and without the third word."""
    return context.key.split(".")[1]
