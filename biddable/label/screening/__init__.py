"""Screening: who is taken on for the training panel, by four things that can be looked at (Ouyang et al.
2022, B.1).

1. flagging sensitive speech as trusted people did, 2. ranking answers as they did, 3. demonstrations that an admin grades from 1 to 7,
4. what people say themselves of the groups whose sensitive speech they can tell. The first three have soft cut-offs; the fourth is for
coverage and has none. An admin decides. Held-out people are not screened, as in the paper.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pydantic import Field

from biddable.label import collection
from biddable.label.screening import demonstrations, groups, rankings, sensitive
from biddable.label.screening.decision import Candidate, candidates
from biddable.label.screening.questions import KIND as KIND
from biddable.run.config import Input, Settings, UserError, Waiting
from biddable.run.context import StageContext
from biddable.run.jsonl import write
from biddable.run.records import Record
from biddable.store import gold as store_gold
from biddable.store import screening as store_screening
from biddable.store.store import Store, open_store
from biddable.store.types import Part, Screening, Task, TaskSet

KINDS: dict[Part, str] = {
    "sensitive": "label.screening",
    "rankings": "label.comparisons",
    "demonstrations": "label.demonstrations",
    "groups": "label.screening",
}
"""The kind of label that each part asks for: its page and its answers."""


class Config(Settings):
    texts: Input | None = None
    """A JSONL file of texts with what trusted people said of them: {"id": "t1", "text": "...", "sensitive":
    true}."""
    rankings: Input | None = None
    """A JSONL file of comparisons ranked by trusted people."""
    prompts: Input | None = None
    """A JSONL file of prompts, sensitive ones among them, to write an answer to."""
    groups: tuple[str, ...] = (
        "women and men",
        "people of different ethnic origin",
        "people of different religions",
        "gay, lesbian, bisexual and transgender people",
        "people with disabilities",
        "old and young people",
        "people of different political views",
        "people of different nations",
        "poor and rich people",
    )
    """Groups of people; everybody says for which they could tell sensitive speech. Empty: nobody is asked."""
    texts_cutoff: float = Field(default=0.75, ge=0, le=1)
    """Soft cut-off: share of texts flagged as by trusted people (B.1: 75 %)."""
    rankings_cutoff: float = Field(default=0.75, ge=0, le=1)
    """Soft cut-off: share of answer pairs ordered as by trusted people (B.1: 75 %)."""
    grade_cutoff: float = Field(default=6.0, ge=1, le=7)
    """Soft cut-off: mean grade of the demonstrations (B.1: 6 of 7)."""
    guidelines: Input | None = None
    """A folder with `training.md` and `evaluation.md` to show instead of ours; every answer is stamped with
    the version seen."""
    people: int = Field(default=12, ge=1)
    """How many have to be taken on before the stage is done (the paper had about 40)."""
    store: str | None = None
    """The store's path or SQLAlchemy URL, whose password is written nowhere; none: store.db in the run's
    folder."""


class Screened(Record):
    """How somebody did in the screening, and what was decided. A line of screening.jsonl."""

    labeler: str
    scores: dict[str, float]
    groups: dict[str, int | None] = Field(default={})
    accepted: bool | None


def put_parts(store: Store, cfg: Config, key: str, seed: int) -> list[Screening]:
    """Put the parts' tasks and make them the screening. Raises UserError with everything that is wrong with
    the files."""
    rows = part_tasks(cfg, key)
    parts = []
    for part, keyed_tasks in rows.items():
        # the hash names the set in people's stores: its text is frozen
        text = f"{seed}{[(task.id, task.question, answer) for task, answer in keyed_tasks]}"
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        task_set = TaskSet(f"{key}/{part}/{digest}", KINDS[part], "training", False, everybody=True)
        named = [(Task(f"{task_set.name}#{task.id}", task.question), answer) for task, answer in keyed_tasks]
        if gold := [(task, answer) for task, answer in named if answer is not None]:
            store_gold.put_gold(store, task_set, gold)
        else:
            store.put_tasks(task_set, [task for task, _ in named])
        parts.append(Screening(task_set.name, part, _cutoff(cfg, part)))
    store_screening.start_screening(store, parts)
    collection.publish_default_guideline(store, "training", cfg.guidelines)
    return parts


def _cutoff(cfg: Config, part: Part) -> float | None:
    cutoffs: dict[Part, float] = {
        "sensitive": cfg.texts_cutoff,
        "rankings": cfg.rankings_cutoff,
        "demonstrations": cfg.grade_cutoff,
    }
    return cutoffs.get(part)


def part_tasks(cfg: Config, key: str) -> dict[Part, list[tuple[Task, str | None]]]:
    """The tasks of each part that the settings ask for, with their expected answers as JSON. Raises UserError
    with file and line."""
    if cfg.texts is None and cfg.rankings is None and cfg.prompts is None:
        raise UserError(
            f"[{key}] expected at least one of texts, rankings and prompts: nobody can be judged by nothing"
        )
    parts: dict[Part, list[tuple[Task, str | None]]] = {}
    if cfg.texts is not None:
        parts["sensitive"] = sensitive.tasks(cfg.texts)
    if cfg.rankings is not None:
        parts["rankings"] = rankings.tasks(cfg.rankings)
    if cfg.prompts is not None:
        parts["demonstrations"] = demonstrations.tasks(cfg.prompts)
    if cfg.groups:
        parts["groups"] = groups.tasks(cfg.groups)
    errors = []
    for part, rows in parts.items():
        ids = [task.id for task, _ in rows]
        errors += [
            f"[{key}] {part}: line {number}: {id} is there twice"
            for number, id in enumerate(ids, 1)
            if id in ids[: number - 1]
        ]
    if errors:
        raise UserError(errors)
    return parts


def run(cfg: Config, context: StageContext) -> None:
    with open_store(cfg.store or context.folder.parent / "store.db") as store:
        put_parts(store, cfg, f"{context.folder.resolve().parent.name}/{context.key}", context.seed)
        rows = candidates(store)
    accepted = [candidate for candidate in rows if candidate.accepted]
    context.progress(len(accepted), cfg.people)
    if len(accepted) < cfg.people:
        undecided = sum(candidate.finished and candidate.accepted is None for candidate in rows)
        raise Waiting(
            f"{cfg.people - len(accepted)} of {cfg.people} people still to be taken on; {undecided} finished "
            "the screening and wait for an "
            "admin's decision"
        )
    write(context.path("screening.jsonl"), [_screened(candidate) for candidate in rows])
    context.summary = {
        "candidates": len(rows),
        "accepted": len(accepted),
        "rejected": sum(candidate.accepted is False for candidate in rows),
        "mean_sensitive": _mean(accepted, "sensitive"),
        "mean_rankings": _mean(accepted, "rankings"),
        "mean_demonstrations": _mean(accepted, "demonstrations"),
    }


def _screened(candidate: Candidate) -> Screened:
    return Screened(
        labeler=candidate.pseudonym,
        scores={part: score.value for part, score in candidate.parts.items() if score.value is not None},
        groups=candidate.groups,
        accepted=candidate.accepted,
    )


def _mean(rows: Sequence[Candidate], part: Part) -> float | None:
    """Mean score in a part of those who have one."""
    scores = [candidate.parts[part].value for candidate in rows if part in candidate.parts]
    values = [value for value in scores if value is not None]
    return sum(values) / len(values) if values else None
