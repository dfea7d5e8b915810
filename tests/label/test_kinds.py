"""The contract of the kinds of label, with labelers made for the test: their taste is a hash, so that every
answer can be foretold."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError

from biddable.label import collection, comparisons, demonstrations, queue, ratings
from biddable.run import jsonl, records
from biddable.run.config import UserError, Waiting
from biddable.run.context import StageContext
from biddable.run.records import Answer, Comparison, Demonstration, Message, Prompt, Rating, Replies
from biddable.simulated import labelers as people
from biddable.store.store import open_store
from biddable.store.types import Person, Task

KINDS = {
    "demonstrations": (demonstrations, Demonstration),
    "comparisons": (comparisons, Comparison),
    "ratings": (ratings, Rating),
}
SECRET = "learn.sft-secret"


class Fake(NamedTuple):
    """A labeler whose taste is the length of the text; `Person` of `people` as far as the kinds need it."""

    id: str


def panel(name: str, seed: int, size: int) -> tuple[Fake, ...]:
    return tuple(Fake(f"{name}-{number:02d}") for number in range(size))


def choose(person: Fake, prompt: Prompt, answers: Sequence[Answer]) -> int:
    return max(range(len(answers)), key=lambda i: len(answers[i].text))


def rank(person: Fake, prompt: Prompt, answers: Sequence[Answer]) -> tuple[int, ...]:
    return tuple(1 + sum(len(other.text) > len(one.text) for other in answers) for one in answers)


def rate(person: Fake, prompt: Prompt, answer: Answer) -> tuple[int, dict[str, bool | None]]:
    return 1 + len(answer.text) % 7, {"hallucination": None, "follows": len(answer.text) > 3}


def fake_people(set_attribute: Any) -> None:
    """Put the test's labelers in the place of the real ones."""
    for function in (panel, choose, rank, rate):
        set_attribute(people, function.__name__, function)


@pytest.fixture(autouse=True)
def _labelers(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_people(lambda where, name, value: monkeypatch.setattr(where, name, value, raising=False))


def make_replies(count: int, answers: int) -> list[Replies]:
    """Prompts p0, p1, ...; answers of 1 to 9 letters, each by a model with a telling name."""
    chance = random.Random(count * 10 + answers)
    return [
        Replies(
            prompt=Prompt(
                id=f"p{number}",
                messages=(Message(role="user", content=f"question {number}"),),
                user="grey-heron",
                split="train" if number % 3 else "valid",
            ),
            answers=tuple(
                Answer(
                    text="x" * chance.randint(1, 9),
                    model=f"{SECRET}@{k}",
                    tokens=(number, k),
                    step=k,
                    kl=0.5,
                    score=0.25,
                )
                for k in range(answers)
            ),
        )
        for number in range(count)
    ]


def setting(folder: Path, kind: str, count: int = 12, **settings: Any) -> tuple[Any, StageContext]:
    """A kind's Config and StageContext in a run folder whose replies are written."""
    rows = make_replies(count, 1 if kind == "ratings" else 4)
    for place in ("replies", f"label.{kind}"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    jsonl.write(folder / "replies" / "replies.jsonl", rows)
    cfg = KINDS[kind][0].Config(replies=folder / "replies", **settings)
    return cfg, StageContext(folder / f"label.{kind}", f"label.{kind}", 3, lambda step, steps, numbers: None)


def made(context: StageContext, kind: str) -> list[Any]:
    return jsonl.read(context.path(f"{kind}.jsonl"), KINDS[kind][1])


@pytest.mark.parametrize("kind", list(KINDS))
def test_question_answer_record_and_back(kind: str, tmp_path: Path) -> None:
    module = KINDS[kind][0]
    rows = {row.prompt.id: row for row in make_replies(12, 1 if kind == "ratings" else 4)}
    cfg, context = setting(tmp_path, kind, labelers="simulated", people=4)
    module.run(cfg, context)
    found = made(context, kind)
    assert [row.id for row in found] == sorted(row.id for row in found)
    assert {row.prompt.id for row in found} == set(rows)
    assert all(row.simulated and row.prompt == rows[row.prompt.id].prompt for row in found)
    assert context.summary[kind] == len(found) and context.summary["simulated"] is True
    assert context.summary["labelers"] == len({row.labeler for row in found}) == 4
    name = "evaluation" if kind == "ratings" else "training"
    assert context.summary["guideline"] == found[0].guideline and found[0].guideline.startswith(f"{name}-")
    first = context.path(f"{kind}.jsonl").read_bytes()
    module.run(cfg, context)  # again, with everything in the store
    assert context.path(f"{kind}.jsonl").read_bytes() == first
    other_cfg, other = setting(tmp_path / "another_run", kind, labelers="simulated", people=4)
    module.run(other_cfg, other)
    assert other.path(f"{kind}.jsonl").read_bytes() == first  # nothing depends on the run's name


def test_what_is_said_of_an_answer_reaches_that_answer(tmp_path: Path) -> None:
    rows = {row.prompt.id: row for row in make_replies(12, 4)}
    cfg, context = setting(tmp_path / "a", "demonstrations", labelers="simulated", people=3)
    demonstrations.run(cfg, context)
    for row in made(context, "demonstrations"):
        assert len(row.answer.text) == max(len(one.text) for one in rows[row.prompt.id].answers)
        assert row.answer in rows[row.prompt.id].answers  # tokens, model and all
    cfg, context = setting(tmp_path / "b", "comparisons", labelers="simulated", people=3)
    comparisons.run(cfg, context)
    for row in made(context, "comparisons"):
        assert row.answers == rows[row.prompt.id].answers
        assert row.ranks == rank(Fake("x"), row.prompt, row.answers)
    cfg, context = setting(tmp_path / "c", "ratings", labelers="simulated", people=3)
    ratings.run(cfg, context)
    single = {row.prompt.id: row.answers[0] for row in make_replies(12, 1)}
    found = made(context, "ratings")
    assert all(
        row.answer == single[row.prompt.id] and row.overall == 1 + len(row.answer.text) % 7 for row in found
    )
    assert context.summary["overall"] == pytest.approx(sum(1 + len(a.text) % 7 for a in single.values()) / 12)


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_question_is_blind(kind: str) -> None:
    replies = make_replies(1, 1 if kind == "ratings" else 4)[0]
    shown = tuple(reversed(range(len(replies.answers))))
    view = KINDS[kind][0].KIND.question(queue.AssignedTask("set#p0", kind, replies.model_dump_json(), shown))
    text = view.model_dump_json()
    assert SECRET not in text and "0.25" not in text and '"step":null' in text and '"tokens":null' in text
    if kind != "ratings":
        assert [one.text for one in view.answers] == [replies.answers[i].text for i in shown]


def test_people_are_waited_for_and_their_answers_kept(tmp_path: Path) -> None:
    cfg, context = setting(tmp_path, "comparisons", double_share=0.0)
    with pytest.raises(Waiting, match=r"^12 of 12 comparisons to go"):
        comparisons.run(cfg, context)
    assert not context.path("comparisons.jsonl").exists()
    with open_store(tmp_path / "store.db") as store:
        store.add_people([Person("id-1", "ada-1", "training", False)])
        version = store.add_guideline(*collection.guideline("training"))
        rows = collection.read_replies(tmp_path / "replies")
        asked = [Task(name, row.model_dump_json(exclude_none=True)) for name, row in rows]
        task_set = collection.task_set_name(context, cfg, asked)
        for number in range(12):
            task = queue.next_task(store, task_set, "id-1")
            assert task is not None
            question = comparisons.KIND.question(task)
            said = comparisons.RankingAnswer(ranks=rank(Fake("x"), question.prompt, question.answers))
            comparisons.KIND.check(question, said)
            queue.submit(store, task, "id-1", said, version, 30.0)
            if number == 4:
                with pytest.raises(Waiting, match=r"^7 of 12 comparisons to go"):
                    comparisons.run(cfg, context)
    comparisons.run(cfg, context)
    found = made(context, "comparisons")
    assert (
        len(found) == 12
        and not any(row.simulated for row in found)
        and {row.labeler for row in found} == {"ada-1"}
    )
    assert all(row.ranks == rank(Fake("x"), row.prompt, row.answers) for row in found)
    assert context.summary["simulated"] is False and "agreement" not in context.summary


def test_some_prompts_are_ranked_twice(tmp_path: Path) -> None:
    cfg, context = setting(
        tmp_path, "comparisons", count=60, labelers="simulated", people=5, double_share=0.3
    )
    comparisons.run(cfg, context)
    double = sum(records.hash_fraction("double", 3, f"p{number}") < 0.3 for number in range(60))
    assert 0 < double < 60
    assert context.summary["comparisons"] == 60 + double and context.summary["prompts"] == 60
    found = made(context, "comparisons")
    assert len({(row.prompt.id, row.labeler) for row in found}) == 60 + double  # nobody twice
    # everybody here has the same taste: of the prompts ranked twice, every pair that is not tied is ordered
    # alike
    twice = [row for row in found if sum(other.prompt == row.prompt for other in found) == 2]
    untied = sum(a != b for row in twice for a, b in itertools.combinations(row.ranks, 2)) // 2
    assert (context.summary["agreement"], context.summary["agreement_pairs"]) == (1.0, untied)
    pairs = [(a, b) for row in found for i, a in enumerate(row.ranks) for b in row.ranks[i + 1 :]]
    assert context.summary["ties"] == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
    counts = [sum(row.labeler == f"training-{number:02d}" for row in found) for number in range(5)]
    assert max(counts) - min(counts) <= 1  # the work is shared evenly


def test_every_labeler_ranks_everything_on_the_held_out_panel(tmp_path: Path) -> None:
    cfg, context = setting(
        tmp_path, "comparisons", labelers="simulated", people=3, overlap=3, double_share=0.0, panel="held_out"
    )
    comparisons.run(cfg, context)
    found = made(context, "comparisons")
    assert len(found) == 36 and {row.panel for row in found} == {"held_out"}
    assert context.summary["guideline"].startswith("evaluation-")


def test_splits_and_limit_choose_prompts(tmp_path: Path) -> None:
    cfg, context = setting(
        tmp_path, "comparisons", count=30, labelers="simulated", people=2, splits=("valid",), limit=4
    )
    comparisons.run(cfg, context)
    found = made(context, "comparisons")
    assert {row.prompt.split for row in found} == {"valid"}
    by_hash = sorted(
        (f"p{number}" for number in range(0, 30, 3)), key=lambda one: records.hash_fraction("limit", 3, one)
    )
    assert {row.prompt.id for row in found} == set(by_hash[:4])


def test_mistakes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    cfg, context = setting(tmp_path / "a", "comparisons", labelers="simulated", people=1)
    with pytest.raises(UserError, match=r"\[label.comparisons\] people = 1: some tasks go to 2 people"):
        comparisons.run(cfg, context)
    cfg, context = setting(tmp_path / "b", "comparisons", splits=("test",))
    with pytest.raises(UserError, match="no prompt belongs to test"):
        comparisons.run(cfg, context)
    cfg, context = setting(tmp_path / "c", "comparisons")
    jsonl.write(tmp_path / "c" / "replies" / "replies.jsonl", make_replies(5, 1))
    with pytest.raises(UserError, match="5 of 5 prompts have one answer only, the first is p0"):
        comparisons.run(cfg, context)
    cfg, context = setting(tmp_path / "d", "ratings")
    jsonl.write(tmp_path / "d" / "replies" / "replies.jsonl", make_replies(5, 2))
    with pytest.raises(UserError, match="5 of 5 lines have several answers"):
        ratings.run(cfg, context)
    assert not list(tmp_path.glob("*/store.db"))


def test_answers_check_themselves() -> None:
    for wrong in ((2, 3), (0, 1), (1, 3), (1,)):
        with pytest.raises(ValidationError):
            comparisons.RankingAnswer(ranks=wrong)
    assert comparisons.RankingAnswer(ranks=(1, 1, 3)).ranks == (1, 1, 3)
    question = comparisons.RankingQuestion(
        prompt=make_replies(1, 2)[0].prompt, answers=make_replies(1, 2)[0].answers
    )
    with pytest.raises(UserError, match="expected one for each of the 2 answers"):
        comparisons.KIND.check(question, comparisons.RankingAnswer(ranks=(1, 2, 3)))
    for nothing in ({}, {"text": " "}, {"text": "a", "best": 0}, {"best": -1}):
        with pytest.raises(ValidationError):
            demonstrations.DemonstrationAnswer(**nothing)
    view = demonstrations.DemonstrationQuestion(prompt=question.prompt, answers=question.answers)
    demonstrations.KIND.check(view, demonstrations.DemonstrationAnswer(text="my own words"))
    with pytest.raises(UserError, match="there are 2 answers"):
        demonstrations.KIND.check(view, demonstrations.DemonstrationAnswer(best=2))
    for overall in (0, 8):
        with pytest.raises(ValidationError):
            ratings.RatingAnswer(overall=overall)


def test_killed_while_labeling_goes_on_without_loss_or_doubles(tmp_path: Path) -> None:
    """Children kill themselves when they are asked for the label after their 5th, 12th and 14th: 5, 17 and 31
    labels are there, none is lost."""
    settings = {"labelers": "simulated", "people": 5, "double_share": 0.3}
    cfg, context = setting(tmp_path / "straight", "comparisons", count=40, **settings)
    comparisons.run(cfg, context)
    straight = context.path("comparisons.jsonl").read_bytes()
    cfg, context = setting(tmp_path / "broken", "comparisons", count=40, **settings)
    for count, total in ((5, 5), (12, 17), (14, 31)):
        arguments = [str(tmp_path / "broken"), json.dumps(settings), str(count)]
        child = subprocess.run([sys.executable, __file__, *arguments], check=False)
        assert child.returncode == -signal.SIGKILL
        assert labels_there(tmp_path / "broken") == total
        assert not context.path("comparisons.jsonl").exists()
    comparisons.run(cfg, context)
    assert context.path("comparisons.jsonl").read_bytes() == straight


def labels_there(folder: Path) -> int:
    if not (folder / "store.db").exists():
        return 0
    with open_store(folder / "store.db") as store, store.engine.connect() as db:
        return int(db.exec_driver_sql("SELECT count(*) FROM labels").scalar_one())


def test_no_torch_is_loaded() -> None:
    names = ", ".join(f"biddable.label.{name}" for name in (*KINDS, "queue", "collection"))
    code = f"import sys, {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def rank_and_die(labels: int) -> Callable[[Fake, Prompt, Sequence[Answer]], tuple[int, ...]]:
    """`rank` that kills its process, without any farewell, when it is asked once more after so many
    labels."""
    calls = itertools.count()

    def killing(person: Fake, prompt: Prompt, answers: Sequence[Answer]) -> tuple[int, ...]:
        if next(calls) == labels:
            os.kill(os.getpid(), signal.SIGKILL)
        return rank(person, prompt, answers)

    return killing


if __name__ == "__main__":  # the child that is killed
    fake_people(setattr)
    people.rank = rank_and_die(int(sys.argv[3]))  # type: ignore[assignment]
    comparisons.run(*setting(Path(sys.argv[1]), "comparisons", count=40, **json.loads(sys.argv[2])))
