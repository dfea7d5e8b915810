"""Screening: who is taken on for the training panel, by four things that can be looked at (Ouyang et al. 2022, B.1).

1. flagging sensitive speech as trusted people did, 2. ranking answers as they did, 3. demonstrations that an admin grades from 1 to 7,
4. their own word on which groups' sensitive speech they can tell. The first three have soft cut-offs; the fourth is for coverage and has none.
An admin decides. Held-out people are not screened, as in the paper.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field, model_validator

from biddable.label import collection, comparisons
from biddable.label.form import Fields, made, number, one
from biddable.run.config import Input, Settings, UserError, Waiting
from biddable.run.context import StageContext
from biddable.run.jsonl import read, write
from biddable.run.records import Comparison, Message, Prompt, Record, Replies
from biddable.store import gold, screening
from biddable.store.store import Store, open_store
from biddable.store.types import Label, Part, Screening, Task, TaskSet

KIND = "label.screening"


class Config(Settings):
    texts: Input | None = None
    """A JSONL file of texts with what trusted people said of them: {"id": "t1", "text": "...", "sensitive": true}."""
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
    """A folder with `training.md` and `evaluation.md` to show instead of ours; every answer is stamped with the version seen."""
    people: int = Field(default=12, ge=1)
    """How many have to be taken on before the stage is done (the paper had about 40)."""
    store: str | None = None
    """The store's path or SQLAlchemy URL; none: store.db in the run's folder."""


class Flagged(Record):
    """A text with what trusted people said of it: whether it is sensitive speech, that can hurt a group or stir strong feelings."""

    id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    sensitive: bool


class Question(Record):
    """What somebody is asked: to flag a text, or to say which groups they know."""

    prompt: Prompt
    part: Literal["sensitive", "groups"]
    groups: tuple[str, ...] = ()


class Answer(Record):
    """Whether the text is sensitive; or for each group how well sensitive speech about it could be told, 1 (not at all) to 5, null: not said."""

    sensitive: bool | None = None
    groups: dict[str, int | None] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Answer:
        if (self.sensitive is None) == (self.groups is None):
            raise ValueError("give either sensitive or groups")
        if any(value is not None and not 1 <= value <= 5 for value in (self.groups or {}).values()):
            raise ValueError("each group has a number from 1 to 5, or none")
        return self


class Screened(Record):
    """How somebody did in the screening, and what was decided. A line of screening.jsonl."""

    labeler: str
    scores: dict[str, float]
    groups: dict[str, int | None] = Field(default={})
    accepted: bool | None


class Score(NamedTuple):
    """How somebody did in one part."""

    value: float | None  # share or mean grade; None: nothing to go by yet
    answered: int
    asked: int
    graded: int  # of the answered ones those that count in the value
    passed: bool | None  # None: not finished, or the part has no cut-off


class Candidate(NamedTuple):
    """Somebody in the screening."""

    person: str
    pseudonym: str
    parts: dict[Part, Score]
    groups: dict[str, int | None]
    accepted: bool | None  # the newest verdict

    @property
    def finished(self) -> bool:
        return all(score.answered == score.asked for score in self.parts.values())

    @property
    def suggested(self) -> bool | None:
        """What the cut-offs say; None while something is missing."""
        passed = [score.passed for part, score in self.parts.items() if part != "groups"]
        return None if None in passed or not self.finished else all(passed)


def question(text: str) -> Question:
    """The question kept with a task."""
    return Question.model_validate_json(text)


def check(question: Question, answer: Answer) -> None:
    """Raises UserError when the answer does not fit the question."""
    if question.part == "sensitive" and answer.sensitive is None:
        raise UserError("say whether the text is sensitive")
    if question.part == "groups" and set(answer.groups or ()) != set(question.groups):
        raise UserError(f"groups: exactly {len(question.groups)} were expected: {', '.join(question.groups)}")


def form(question: Question, fields: Fields) -> Answer:
    """What the page sent. Raises UserError when a text is not said to be sensitive or not."""
    if question.part == "groups":
        return made(
            Answer, groups={group: number(fields, f"group-{i}") for i, group in enumerate(question.groups)}
        )
    said = {"yes": True, "no": False}.get(one(fields, "sensitive") or "")
    if said is None:
        raise UserError("say whether the text is sensitive")
    return made(Answer, sensitive=said)


def flags_score(said: Iterable[tuple[bool, bool]]) -> float | None:
    """Share of (somebody's, the trusted) flags that are the same."""
    same = [mine == theirs for mine, theirs in said]
    return sum(same) / len(same) if same else None


def rankings_score(said: Iterable[tuple[Sequence[int], Sequence[int]]]) -> float | None:
    """Share of answer pairs that the trusted ranking orders and that (somebody's, the trusted) ranking orders alike.

    A tie of somebody's where the trusted ranking has none counts half: tying everything scores 1/2, as guessing does.
    """
    right, pairs = 0.0, 0
    for mine, theirs in said:
        for i in range(len(theirs)):
            for j in range(i):
                if theirs[i] != theirs[j]:
                    pairs += 1
                    right += (
                        0.5 if mine[i] == mine[j] else float((mine[i] < mine[j]) == (theirs[i] < theirs[j]))
                    )
    return right / pairs if pairs else None


def put(store: Store, cfg: Config, key: str, seed: int) -> list[Screening]:
    """Put the parts' tasks and make them the screening. Raises UserError with everything that is wrong with the files."""
    wrong: list[str] = []
    sets = []
    for part, rows in _parts(cfg, key, wrong):
        kind = {"rankings": "label.comparisons", "demonstrations": "label.demonstrations"}.get(part, KIND)
        digest = hashlib.sha256(
            f"{seed}{[(t.id, t.question, k) for t, k in rows]}".encode("utf-8", "surrogatepass")
        )
        name = f"{key}/{part}/{digest.hexdigest()[:12]}"
        cutoff = {
            "sensitive": cfg.texts_cutoff,
            "rankings": cfg.rankings_cutoff,
            "demonstrations": cfg.grade_cutoff,
        }
        sets.append(
            (Screening(name, part, cutoff.get(part)), TaskSet(name, kind, "training", False, True), rows)
        )
    if wrong:
        raise UserError(wrong)
    parts = [part for part, _, _ in sets]
    for task_set, rows in [(whole, kept) for _, whole, kept in sets]:
        own = [(Task(f"{task_set.name}#{task.id}", task.question), answer) for task, answer in rows]
        keyed = [(task, answer) for task, answer in own if answer is not None]
        if keyed:
            gold.put_gold(store, task_set, keyed)
        else:
            store.put_tasks(task_set, [task for task, _ in own])
    screening.start_screening(store, parts)
    collection.put_in_force(store, "training", cfg.guidelines)
    return parts


Kept = tuple[Task, str | None]
"""A task and its known answer as JSON."""


def _parts(cfg: Config, key: str, wrong: list[str]) -> list[tuple[Part, list[Kept]]]:
    """The tasks of each part; mistakes go to `wrong`, each with file and line."""
    if cfg.texts is None and cfg.rankings is None and cfg.prompts is None:
        wrong.append(
            f"[{key}] at least one of texts, rankings and prompts was expected: nobody can be judged by nothing"
        )
    found: list[tuple[Part, list[Kept]]] = []
    if cfg.texts is not None:
        rows = read(cfg.texts, Flagged)
        asked = [
            (r.id, Question(prompt=_prompt(r.id, r.text), part="sensitive"), Answer(sensitive=r.sensitive))
            for r in rows
        ]
        found.append(("sensitive", [(Task(n, _text(q)), _text(a)) for n, q, a in asked]))
    if cfg.rankings is not None:
        ranked = [
            (Replies(prompt=r.prompt, answers=r.answers), r.ranks) for r in read(cfg.rankings, Comparison)
        ]
        known = [comparisons.Answer(ranks=comparisons.dense(ranks)) for _, ranks in ranked]
        tasks = [Task(collection.task_name(row), _text(row)) for row, _ in ranked]
        found.append(("rankings", [(task, _text(a)) for task, a in zip(tasks, known, strict=True)]))
    if cfg.prompts is not None:
        asked_for = [
            json.dumps({"prompt": p.model_dump(mode="json", exclude_none=True), "answers": []})
            for p in read(cfg.prompts, Prompt)
        ]
        found.append(("demonstrations", [(Task(json.loads(q)["prompt"]["id"], q), None) for q in asked_for]))
    if cfg.groups:
        asked_all = Question(
            prompt=_prompt("groups", "Which groups do you know?"), part="groups", groups=cfg.groups
        )
        found.append(("groups", [(Task("groups", _text(asked_all)), None)]))
    for part, kept in found:
        ids = [task.id for task, _ in kept]
        wrong += [
            f"[{key}] {part}: line {n}: {i} is there twice" for n, i in enumerate(ids, 1) if i in ids[: n - 1]
        ]
    return found


def _prompt(name: str, text: str) -> Prompt:
    return Prompt(id=name, messages=(Message(role="user", content=text),), user="screening")


def _text(row: BaseModel) -> str:
    return row.model_dump_json(exclude_none=True)


def candidates(store: Store) -> list[Candidate]:
    """Everybody who has begun the screening, with scores and the newest verdict, by pseudonym."""
    parts = screening.screening_parts(store)
    verdicts = screening.admissions_by_person(store)
    asked = {part.part: store.tasks(part.task_set) for part in parts}
    by_person: dict[str, dict[Part, list[Label]]] = {}
    names: dict[str, str] = {}
    for part in parts:
        for label in store.labels(part.task_set):
            by_person.setdefault(label.person.id, {}).setdefault(part.part, []).append(label)
            names[label.person.id] = label.person.pseudonym
    keys = {part.part: gold.gold_answers(store, part.task_set) for part in parts}
    marks = {
        label: n for part in parts for label, n in screening.grades_by_label(store, part.task_set).items()
    }
    found = []
    for person, said in by_person.items():
        scores = {
            p.part: _score(p, len(asked[p.part]), said.get(p.part, []), keys[p.part], marks) for p in parts
        }
        groups = [json.loads(label.answer)["answer"]["groups"] for label in said.get("groups", [])]
        verdict = verdicts[person][-1].accepted if person in verdicts else None
        found.append(Candidate(person, names[person], scores, groups[0] if groups else {}, verdict))
    return sorted(found, key=lambda one: one.pseudonym)


def _score(
    part: Screening, asked: int, said: list[Label], keys: dict[str, str], marks: dict[str, int]
) -> Score:
    """One person's score in one part."""
    kept = [(json.loads(label.answer), label) for label in said]
    value, graded = None, len(said)
    if part.part == "sensitive":
        value = flags_score(
            (one["answer"]["sensitive"], json.loads(keys[lb.task])["sensitive"]) for one, lb in kept
        )
    elif part.part == "rankings":
        value = rankings_score((_stored(one), json.loads(keys[lb.task])["ranks"]) for one, lb in kept)
    elif part.part == "demonstrations":
        given = [marks[label.id] for label in said if label.id in marks]
        value, graded = (sum(given) / len(given) if given else None), len(given)
    whole = len(said) == graded == asked
    passed = value >= part.cutoff if whole and value is not None and part.cutoff is not None else None
    return Score(value, len(said), asked, graded, passed)


def _stored(kept: dict[str, Any]) -> list[int]:
    """Ranks brought from the order shown back to the order of the replies; answers that were not ranked are all alike."""
    shown = kept["shown"]
    ranks = dict(zip(shown, kept["answer"]["ranks"] or [1] * len(shown), strict=True))
    return [ranks[i] for i in range(len(ranks))]


def run(cfg: Config, context: StageContext) -> None:
    with open_store(cfg.store or context.folder.parent / "store.db") as store:
        put(store, cfg, f"{context.folder.resolve().parent.name}/{context.key}", context.seed)
        found = candidates(store)
    taken = [one for one in found if one.accepted]
    context.progress(len(taken), cfg.people)
    if len(taken) < cfg.people:
        undecided = sum(one.finished and one.accepted is None for one in found)
        raise Waiting(
            f"{cfg.people - len(taken)} of {cfg.people} people still to be taken on; {undecided} finished the screening and wait for an "
            "admin's decision"
        )
    rows = [
        Screened(
            labeler=one.pseudonym,
            scores={part: score.value for part, score in one.parts.items() if score.value is not None},
            groups=one.groups,
            accepted=one.accepted,
        )
        for one in found
    ]
    write(context.path("screening.jsonl"), rows)
    context.summary = {
        "candidates": len(found),
        "accepted": len(taken),
        "rejected": sum(one.accepted is False for one in found),
        **{f"mean_{part}": _mean(taken, part) for part in ("sensitive", "rankings", "demonstrations")},
    }


def _mean(rows: Sequence[Candidate], part: Part) -> float | None:
    values = [v for one in rows if part in one.parts for v in [one.parts[part].value] if v is not None]
    return sum(values) / len(values) if values else None
