"""Screening: the four parts scored by hand, the decision, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from biddable.label import comparisons, demonstrations, queue, screening
from biddable.label.screening import Config, Screened, decision, sensitive
from biddable.label.screening.questions import KIND, ScreeningAnswer, ScreeningQuestion
from biddable.label.screening.sensitive import FlaggedText
from biddable.run import jsonl
from biddable.run.config import UserError, Waiting
from biddable.run.context import StageContext
from biddable.run.records import Answer, Comparison, Message, Prompt
from biddable.store import guidelines
from biddable.store import screening as store_screening
from biddable.store.store import Store, open_store
from biddable.store.types import Person, Screening


def prompt(name: str) -> Prompt:
    return Prompt(id=name, messages=(Message(role="user", content=f"say {name}"),), user="grey-heron")


def setting(folder: Path, **more: Any) -> tuple[Config, StageContext]:
    """Four texts (the first two sensitive), one ranking 1 2 2 of three answers, two prompts, two groups."""
    jsonl.write(
        folder / "texts.jsonl", [FlaggedText(id=f"x{i}", text=f"text {i}", sensitive=i < 2) for i in range(4)]
    )
    answers = tuple(Answer(text=f"answer {i}", model="m") for i in range(3))
    trusted = {"labeler": "trusted", "panel": "training", "simulated": False, "guideline": "g"}
    rows = [Comparison(id="c", prompt=prompt("r"), answers=answers, ranks=(2, 5, 5), **trusted)]  # type: ignore[arg-type]
    jsonl.write(folder / "rankings.jsonl", rows)
    jsonl.write(folder / "prompts.jsonl", [prompt("d0"), prompt("d1")])
    files = {
        "texts": folder / "texts.jsonl",
        "rankings": folder / "rankings.jsonl",
        "prompts": folder / "prompts.jsonl",
    }
    cfg = Config(**{**files, "groups": ("old", "young"), "people": 1, **more})
    (folder / "label.screening").mkdir(exist_ok=True)
    return cfg, StageContext(
        folder / "label.screening", "label.screening", 3, lambda step, steps, numbers: None
    )


def work_through(store: Store, person: str, flags: dict[str, bool], ranks: tuple[int, ...]) -> None:
    """Answer all parts; `ranks` belong to the answers as stored."""
    guideline = store.add_guideline("training", "be helpful")
    for part in store_screening.screening_parts(store):
        while (task := queue.next_task(store, part.task_set, person)) is not None:
            said: BaseModel
            if part.part == "sensitive":
                said = ScreeningAnswer(sensitive=flags[KIND.question(task).prompt.id])
            elif part.part == "rankings":
                said = comparisons.RankingAnswer(ranks=tuple(ranks[i] for i in task.shown))
            elif part.part == "demonstrations":
                view = demonstrations.KIND.question(task)
                assert view.answers == ()
                said = demonstrations.DemonstrationAnswer(text=f"{person} on {view.prompt.id}")
            else:
                said = ScreeningAnswer(groups={"old": 5, "young": None})
                KIND.check(KIND.question(task), said)
            queue.submit(store, task, person, said, guideline, 5.0)


def test_four_parts_and_a_decision(tmp_path: Path) -> None:
    """Ada flags three of four texts as the trusted did, and ranks 1 1 2 where they rank 1 2 2: of the pairs
    (0,1) and (0,2), which theirs orders, hers has a tie (1/2) and one alike (1): 1.5 of 2. Her demonstrations
    get 7 and 6. Bob reverses: 2 1 1: nothing right."""
    cfg, context = setting(tmp_path)
    with pytest.raises(Waiting, match="1 of 1 people still to be taken on; 0 finished"):
        screening.run(cfg, context)
    with open_store(tmp_path / "store.db") as store:
        store.add_people([Person(name, f"{name}-1", "training", False) for name in ("ada", "bob")])
        work_through(store, "ada", {"x0": True, "x1": False, "x2": False, "x3": False}, (1, 1, 2))
        work_through(store, "bob", {"x0": False, "x1": False, "x2": True, "x3": True}, (2, 1, 1))
        with pytest.raises(Waiting, match="1 of 1 people still to be taken on; 2 finished"):
            screening.run(cfg, context)
        ada, bob = decision.candidates(store)
        assert ada.parts["sensitive"] == (0.75, 4, 4, 4, True) and bob.parts["sensitive"].value == 0
        assert ada.parts["rankings"] == (0.75, 1, 1, 1, True) and bob.parts["rankings"].value == 0
        assert ada.parts["demonstrations"] == (None, 2, 2, 0, None) and ada.suggested is None
        assert ada.groups == {"old": 5, "young": None} and ada.finished and bob.suggested is None
        part = store_screening.screening_parts(store)[2]
        for label in store.labels(part.task_set):
            if label.person.id == "ada":
                store_screening.grade_label(store, label.id, 7 if label.task.endswith("d0") else 6, "admin")
        assert decision.candidates(store)[0].parts["demonstrations"] == (6.5, 2, 2, 2, True)
        assert decision.candidates(store)[0].suggested is True
        assert not store_screening.is_admitted(store, "ada")  # only an admin decides
        store_screening.decide_admission(store, "ada", True, {"sensitive": 0.75}, "admin")
        store_screening.decide_admission(store, "bob", False, {"sensitive": 0.0}, "admin", "too different")
    screening.run(cfg, context)
    rows = jsonl.read(context.path("screening.jsonl"), Screened)
    assert [(row.labeler, row.accepted) for row in rows] == [("ada-1", True), ("bob-1", False)]
    assert rows[0].scores == {"sensitive": 0.75, "rankings": 0.75, "demonstrations": 6.5}
    assert context.summary == {
        "candidates": 2,
        "accepted": 1,
        "rejected": 1,
        "mean_sensitive": 0.75,
        "mean_rankings": 0.75,
        "mean_demonstrations": 6.5,
    }


def test_guessing_scores_a_half() -> None:
    assert comparisons.rankings_score([((1, 1, 1), (1, 2, 3))]) == 0.5
    assert comparisons.rankings_score([((3, 2, 1), (1, 2, 3)), ((1, 2, 3), (1, 2, 3))]) == 0.5
    unranked = queue.CollectedLabel(
        "t", "label.comparisons", "", '{"ranks": null}', (2, 0, 1), Person("a", "a", "training", False), "g"
    )
    assert comparisons.KIND.ranks_or_ties(unranked) == (
        1,
        1,
        1,
    )  # "they cannot be ranked" orders nothing: a half too
    assert comparisons.rankings_score([((1, 2), (1, 1))]) is None  # the trusted ranking orders nothing
    assert sensitive.score([], {}) is None


def test_a_screening_may_have_one_part_only_but_not_none(tmp_path: Path) -> None:
    cfg, context = setting(tmp_path, rankings=None, prompts=None, groups=())
    with pytest.raises(Waiting):
        screening.run(cfg, context)
    with open_store(tmp_path / "store.db") as store:
        assert [part.part for part in store_screening.screening_parts(store)] == ["sensitive"]
    cfg, context = setting(tmp_path, texts=None, rankings=None, prompts=None)
    with pytest.raises(UserError, match="expected at least one of texts, rankings and prompts"):
        screening.run(cfg, context)


def test_the_guideline_is_in_force_from_the_screening_on(tmp_path: Path) -> None:
    """What labels of the screening are stamped with is what the pages show; one that an admin wrote stays."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "training.md").write_text("Be brief.\n")
    cfg, context = setting(tmp_path, guidelines=tmp_path / "own")
    with pytest.raises(Waiting):
        screening.run(cfg, context)
    with open_store(tmp_path / "store.db") as store:
        found = guidelines.current_guideline(store, "training")
        assert found is not None and found[1] == "Be brief.\n"
        guidelines.publish_guideline(store, "training", "Be kind.\n")
    with pytest.raises(Waiting):
        screening.run(cfg, context)
    with open_store(tmp_path / "store.db") as store:
        assert [row.text for row in guidelines.guideline_history(store)] == ["Be kind.\n", "Be brief.\n"]


def test_bad_files_are_refused_and_change_nothing(tmp_path: Path) -> None:
    cfg, context = setting(tmp_path)
    (tmp_path / "texts.jsonl").write_text(
        '{"id":"a","text":"x","sensitive":"maybe"}\n{"id":"b","texts":"x","sensitive":true}\n'
    )
    with pytest.raises(UserError) as caught:
        screening.run(cfg, context)
    assert [line.split(": ")[0] for line in caught.value.lines][:1] == [f"{tmp_path / 'texts.jsonl'}:1"]
    assert any("texts.jsonl:2" in line for line in caught.value.lines)
    row = json.dumps({"id": "a", "text": "x", "sensitive": True})
    (tmp_path / "texts.jsonl").write_text(f"{row}\n{row}\n")
    with pytest.raises(UserError, match=r"sensitive: line 2: a is there twice"):
        screening.run(cfg, context)
    with open_store(tmp_path / "store.db") as store:
        assert store_screening.screening_parts(store) == [] and store.task_sets() == []


def test_answers_check_themselves() -> None:
    for wrong in ({}, {"sensitive": True, "groups": {}}, {"groups": {"old": 6}}):
        with pytest.raises(ValidationError):
            ScreeningAnswer(**wrong)  # type: ignore[arg-type]
    asked = ScreeningQuestion(prompt=prompt("g"), part="groups", groups=("old", "young"))
    with pytest.raises(UserError, match="must be exactly these 2: old, young"):
        KIND.check(asked, ScreeningAnswer(groups={"old": 1}))
    with pytest.raises(UserError, match="say whether"):
        KIND.check(
            ScreeningQuestion(prompt=prompt("x"), part="sensitive"),
            ScreeningAnswer(groups={}),
        )


def test_a_part_is_passed_only_when_all_of_it_is_answered_and_graded() -> None:
    """Two prompts, cut-off 6: a 7 for the first is no pass while the second waits for its grade, or for its
    answer."""
    person = Person("ada", "ada-1", "training", False)
    labels = [
        queue.CollectedLabel(f"s#d{n}", "label.demonstrations", "", "{}", (), person, "g", id=f"l{n}")
        for n in range(2)
    ]
    part = Screening("s", "demonstrations", 6.0)

    def score(answered: int, grades: dict[str, int]) -> decision.PartScore:
        return decision.part_score(part, 2, labels[:answered], {}, grades)

    assert score(2, {"l0": 7}) == (7.0, 2, 2, 1, None)
    assert score(1, {"l0": 7}) == (7.0, 1, 2, 1, None)
    assert score(2, {"l0": 7, "l1": 5}) == (6.0, 2, 2, 2, True)
    assert score(2, {"l0": 7, "l1": 4}) == (5.5, 2, 2, 2, False)


def test_the_form_about_groups_and_about_a_text() -> None:
    groups = ScreeningQuestion(prompt=prompt("g"), part="groups", groups=("old", "young", "rich"))
    answer = KIND.form(groups, {"group-0": ["5"], "group-1": [""], "group-2": ["1"]})
    assert answer == ScreeningAnswer(groups={"old": 5, "young": None, "rich": 1})
    with pytest.raises(UserError, match=r"^each group has a number from 1 to 5, or none$"):
        KIND.form(groups, {"group-0": ["6"]})
    flagged = ScreeningQuestion(prompt=prompt("x"), part="sensitive")
    for said, flag in (("yes", True), ("no", False)):
        assert KIND.form(flagged, {"sensitive": [said]}) == ScreeningAnswer(sensitive=flag)
    for fields in ({}, {"sensitive": ["maybe"]}):
        with pytest.raises(UserError, match=r"^say whether the text is sensitive$"):
            KIND.form(flagged, fields)
    person = Person("a", "a", "training", False)
    label = queue.CollectedLabel("t", "label.screening", "", '{"sensitive": true}', (), person, "g")
    assert KIND.gold_score(label, ScreeningAnswer(sensitive=True)) == 1.0
    assert KIND.gold_score(label, ScreeningAnswer(sensitive=False)) == 0.0
    assert KIND.gold_score(label, ScreeningAnswer(groups={})) is None
    assert [
        KIND.subtitle(f"run/label.screening/{part}/1") for part in ("sensitive", "groups", "rankings")
    ] == [
        "Which texts are sensitive?",
        "Which groups do you know?",
        "",
    ]
