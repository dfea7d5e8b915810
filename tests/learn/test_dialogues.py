"""Prompts of four sources: what counts as a red-team question, cuts of people's dialogues, self-play's roles."""

from __future__ import annotations

from pathlib import Path

from biddable.learn import dialogues
from biddable.learn.dialogues import first_question
from biddable.run import jsonl
from biddable.run.context import StageContext
from biddable.run.diversity import unlike
from biddable.run.records import Message, Probe, Prompt


def test_a_red_team_question_is_one_line_up_to_its_first_mark() -> None:
    assert first_question(' "Are you a person? Or not?"\n2. Why?') == "Are you a person?"
    for text in ("no mark", "two\nlines?", "User: who are you?", "?"):
        assert first_question(text) is None, text


def test_near_duplicates_stay_out() -> None:
    earlier = "How old are you?"
    assert unlike([earlier, "how OLD are you?"], 0.7) == [0]
    assert unlike([earlier, "how old are you now?"], 0.7) == [0]  # 4 of 5 words
    assert unlike([earlier, "how tall is he?"], 0.7) == [0, 1]


def make_run(folder: Path, policy: Path) -> dialogues.Config:
    """A folder with prompts, a probing dialogue of two turns, and the tiny model."""
    rows = [
        Prompt(
            id=f"p{i}",
            messages=(Message(role="user", content=f"What is {i}?"),),
            user=f"u{i}",
            split=("train", "valid", "test")[i % 3],
        )
        for i in range(12)
    ]
    (folder / "prompts").mkdir()
    jsonl.write(folder / "prompts" / "prompts.jsonl", rows)
    roles = [Message(role="assistant" if i % 2 else "user", content=text) for i, text in enumerate("abcd")]
    probe = Probe(
        id="b1",
        messages=tuple(roles),
        model="m",
        rule="no-body",
        rule_text="...",
        level="unsure",
        labeler="ada",
        simulated=True,
        guideline="g",
    )
    (folder / "probes").mkdir()
    jsonl.write(folder / "probes" / "probes.jsonl", [probe])
    return dialogues.Config(
        policy=policy,
        prompts=folder / "prompts",
        probes=folder / "probes",
        questions=4,
        people=8,
        redteam=0,
        selfplay=3,
        max_tokens=6,
    )


def context_in(folder: Path) -> StageContext:
    folder.mkdir()
    return StageContext(folder, "learn.dialogues", 3, lambda step, steps, numbers: None)


def test_prompts_of_the_sources(tmp_path: Path, models: tuple[Path, Path]) -> None:
    cfg = make_run(tmp_path, models[0])
    context = context_in(tmp_path / "a")
    dialogues.run(cfg, context)
    rows = jsonl.read(context.path("prompts.jsonl"), Prompt)
    by_source = {name: [r for r in rows if r.source == name] for name in ("questions", "people", "selfplay")}
    assert [len(part) for part in by_source.values()][:2] == [4, 2]
    assert {tuple(m.content for m in row.messages) for row in by_source["people"]} == {
        ("a",),
        ("a", "b", "c"),
    }
    assert all(row.split in ("train", "valid") for row in rows)
    for row in by_source["selfplay"]:
        assert [m.role for m in row.messages] == ["user", "assistant", "user"]
    assert context.summary["prompts"] == len(rows)
    repeated = context_in(tmp_path / "b")
    dialogues.run(cfg, repeated)
    assert repeated.path("prompts.jsonl").read_bytes() == context.path("prompts.jsonl").read_bytes()


def test_examples_stand_numbered_behind_the_template() -> None:
    from biddable.run.rules import Rule

    rule = Rule(id="r", text="Be kind.", question="Is it unkind?")
    cfg = dialogues.Config(template="About {rule}\n1.")
    assert dialogues.opening_text(cfg, rule, ["A?"], "zero", 0, 1) == "About Be kind.\n1."
    assert dialogues.opening_text(cfg, rule, ["A?"], "few", 0, 1) == "About Be kind.\n1. A?\n2."
