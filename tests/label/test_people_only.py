"""Kinds that only people can answer: prompts, rule checks, probes. Tasks from settings, answers into records,
waiting until enough are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from biddable.label import probes, prompts, queue, rulechecks
from biddable.run import jsonl, rules
from biddable.run.config import UserError, Waiting
from biddable.run.context import StageContext
from biddable.run.records import Answer, Demonstration, Message, Probe, Prompt, Replies, RuleCheck, Text
from biddable.store.store import open_store
from biddable.store.types import Person


def context_in(folder: Path, key: str) -> StageContext:
    (folder / key).mkdir(parents=True, exist_ok=True)
    return StageContext(folder / key, key, 3, lambda step, steps, numbers: None)


def work_through(folder: Path, answer: Any, most: int = 1000, people: tuple[str, ...] = ("ada",)) -> int:
    """People take tasks of the newest set in turn and answer them; returns how many were answered."""
    with open_store(folder / "store.db") as store:
        store.add_people([Person(name, f"{name}-1", "training", False) for name in people])
        (one,) = store.task_sets()
        guideline = store.add_guideline("training", "be helpful")
        done = 0
        for person in people:
            while done < most and (task := queue.next_task(store, one.name, person)) is not None:
                said: BaseModel = answer(task)
                queue.submit(store, task, person, said, guideline, 9.0)
                done += 1
    return done


def test_prompts_of_three_forms(tmp_path: Path) -> None:
    jsonl.write(tmp_path / "cases.jsonl", [Text(id="u1", text="somebody who runs a small shop")])
    cfg = prompts.Config(plain=2, few_shot=1, pairs=3, use_cases=tmp_path / "cases.jsonl", each=1)
    context = context_in(tmp_path, "label.prompts")
    with pytest.raises(Waiting, match=r"^4 of 4 prompts to go: people of the panel training give them"):
        prompts.run(cfg, context)

    def answer(task: queue.AssignedTask) -> prompts.PromptAnswer:
        asked = prompts.KIND.question(task)
        pairs = tuple(prompts.FewShotPair(query=f"q{i}", answer=f"a{i}") for i in range(asked.pairs))
        said = prompts.PromptAnswer(text=f"write {asked.use_case or asked.form}", pairs=pairs)
        prompts.KIND.check(asked, said)
        return said

    assert work_through(tmp_path, answer) == 4
    prompts.run(cfg, context)
    found = {row.id: row for row in jsonl.read(context.path("prompts.jsonl"), Prompt)}
    assert sorted(found) == [
        "case-00001-1-ada-1",
        *(f"few-shot-00001-ada-1-{i}" for i in (1, 2, 3)),
        "plain-00001-ada-1",
        "plain-00002-ada-1",
    ]
    assert found["case-00001-1-ada-1"].messages[0].content == "write somebody who runs a small shop"
    # three pairs give three prompts; none holds its own answer, each holds the two others'
    shots = {row.id: row for row in jsonl.read(context.path("demonstrations.jsonl"), Demonstration)}
    for i in range(3):
        text = found[f"few-shot-00001-ada-1-{i + 1}"].messages[0].content
        assert text.startswith("write few_shot\n\n") and text.endswith(f"\n\nQuery: q{i}\nAnswer:")
        assert [f"Answer: a{j}" in text for j in range(3)] == [j != i for j in range(3)]
        assert shots[f"few-shot-00001-ada-1-{i + 1}"].answer.text == f"a{i}"
    assert {row.user for row in found.values()} == {"ada-1"}
    assert (
        context.summary["prompts"] == 6
        and context.summary["demonstrations"] == 3
        and context.summary["simulated"] is False
    )


def test_wrong_prompts() -> None:
    pair = {"query": "q", "answer": "a"}
    for wrong in (
        {"text": " "},
        {"text": "x", "pairs": [pair, pair]},
        {"text": "x", "pairs": [{"query": "q", "answer": " "}]},
    ):
        with pytest.raises(ValidationError):
            prompts.PromptAnswer.model_validate(wrong)
    with pytest.raises(UserError, match="1 queries with answers; must be at least 2"):
        prompts.KIND.check(
            prompts.PromptQuestion(form="few_shot", pairs=2),
            prompts.PromptAnswer.model_validate({"text": "x", "pairs": [pair]}),
        )
    with pytest.raises(UserError, match="without queries"):
        prompts.KIND.check(
            prompts.PromptQuestion(form="plain"),
            prompts.PromptAnswer.model_validate({"text": "x", "pairs": [pair]}),
        )


def test_all_mistakes_of_a_few_shot_prompt_at_once() -> None:
    fields = {"text": [" "], "query": ["a", "", "b", "a", ""], "answer": ["1", "2", "", "3", ""]}
    with pytest.raises(UserError) as caught:
        prompts.KIND.form(prompts.PromptQuestion(form="few_shot", pairs=3), fields)
    assert caught.value.lines == [
        "the instruction is empty",
        "2: the query is missing",
        "3: the answer is missing",
        "2 queries with answers; must be at least 3",
        "two queries are the same",
    ]
    with pytest.raises(UserError, match="the prompt is empty"):
        prompts.KIND.form(prompts.PromptQuestion(form="plain"), {"text": [""]})


def replies(folder: Path) -> Path:
    rows = [
        Replies(
            prompt=Prompt(id=f"p{n}", messages=(Message(role="user", content=f"question {n}"),), user="u"),
            answers=tuple(Answer(text=f"same answer {k}", model="secret") for k in range(2)),
        )
        for n in range(5)
    ]
    jsonl.write(folder / "replies.jsonl", rows)
    return folder / "replies.jsonl"


def test_rule_checks_until_enough(tmp_path: Path) -> None:
    """5 prompts with 2 answers and 2 rules each: 20 questions; enough = 0.5 asks for 10 of them."""
    cfg = rulechecks.Config(replies=replies(tmp_path), rules_each=2, enough=0.5)
    context = context_in(tmp_path, "label.rulechecks")
    with pytest.raises(Waiting, match=r"^10 of 10 rulechecks to go"):
        rulechecks.run(cfg, context)

    def answer(task: queue.AssignedTask) -> rulechecks.RuleCheckAnswer:
        asked = rulechecks.KIND.question(task)
        assert "secret" not in asked.model_dump_json()
        return rulechecks.RuleCheckAnswer(
            level="probably_breaks" if asked.answers[0].text.endswith("0") else "definitely_follows", turn=0
        )

    assert work_through(tmp_path, answer, most=9) == 9
    with pytest.raises(Waiting, match=r"^1 of 10 rulechecks to go"):
        rulechecks.run(cfg, context)
    assert work_through(tmp_path, answer, most=11) == 11
    rulechecks.run(cfg, context)
    found = jsonl.read(context.path("rulechecks.jsonl"), RuleCheck)
    assert len(found) == 20 and {row.answer.model for row in found} == {"secret"}
    assert len({(row.prompt.id, row.answer.text, row.rule) for row in found}) == 20
    assert all(
        row.level == ("probably_breaks" if row.answer.text.endswith("0") else "definitely_follows")
        for row in found
    )
    assert (context.summary["broken"], context.summary["kept"], context.summary["unsure"]) == (0.5, 0.5, 0.0)


def test_probes(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(
        '[[rule]]\nid = "kind"\ntext = "Be kind."\nquestion = "Is it unkind?"\n'
    )
    cfg = probes.Config(
        rules=tmp_path / "rules.toml", dialogues=2, turns=2, model="secret", endpoint="http://10.0.0.1/v1"
    )
    context = context_in(tmp_path, "label.probes")
    with pytest.raises(Waiting, match=r"^2 of 2 probes to go"):
        probes.run(cfg, context)
    said = (Message(role="user", content="hello"), Message(role="assistant", content="go away"))

    def answer(task: queue.AssignedTask) -> probes.ProbeAnswer:
        asked = probes.KIND.question(task)
        assert "secret" not in asked.model_dump_json() and "10.0.0.1" not in asked.model_dump_json()
        with pytest.raises(UserError, match="3 turns; must be at most 2"):
            probes.KIND.check(asked, probes.ProbeAnswer(messages=said * 3, level="unsure"))
        return probes.ProbeAnswer(messages=said, level="definitely_breaks", turn=1)

    assert work_through(tmp_path, answer) == 2
    probes.run(cfg, context)
    found = jsonl.read(context.path("probes.jsonl"), Probe)
    assert [row.id for row in found] == ["kind-0001", "kind-0002"] and found[0].messages == said
    assert (found[0].model, found[0].rule_text, found[0].turn) == ("secret", "Be kind.", 1)
    assert context.summary["broken"] == 1.0
    for wrong in ({"messages": said[::-1]}, {"messages": said, "turn": 0}, {"messages": said, "turn": 2}):
        with pytest.raises(ValidationError):
            probes.ProbeAnswer.model_validate({"level": "unsure", **wrong})
    with pytest.raises(ValidationError, match="must be an address"):
        probes.Config(endpoint="file:///etc/passwd")


def test_rules_are_read_and_all_mistakes_told(tmp_path: Path) -> None:
    assert len({rule.id for rule in rules.load(None)}) >= 10
    path = tmp_path / "rules.toml"
    path.write_text(
        '[[rule]]\nid = "A b"\ntext = "x"\n[[rule]]\nid = "ok"\ntext = "x"\nquestion = "?"\n[[rule]]\nid = '
        '"ok"\ntext = "x"\nquestion = "?"\n'
    )
    with pytest.raises(UserError) as caught:
        rules.load(path)
    lines = [line.removeprefix(f"{path}: ") for line in caught.value.lines]
    assert (
        lines[0].startswith("rule 1 id:")
        and lines[1].startswith("rule 1 question:")
        and lines[2] == "the id ok is there twice"
    )
    for text in ("", "x = 1", "not toml"):
        path.write_text(text)
        with pytest.raises(UserError):
            rules.load(path)


def test_guidelines_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    cfg = rulechecks.Config(replies=replies(tmp_path), guidelines=tmp_path / "own")
    with pytest.raises(UserError, match=r"own/training.md: expected the guideline of the panel training"):
        rulechecks.run(cfg, context_in(tmp_path, "label.rulechecks"))
    (tmp_path / "own" / "training.md").write_text("Our rules.")
    with pytest.raises(Waiting):
        rulechecks.run(cfg, context_in(tmp_path, "label.rulechecks"))
