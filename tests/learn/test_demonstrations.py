"""What SFT imitates: chosen replies, and replies that broke no rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from biddable.learn.demonstrations import chosen_replies, followed_replies, read_demonstrations, split_of
from biddable.run import jsonl
from biddable.run.records import Answer, Comparison, Demonstration, Message, Prompt, RuleCheck

COMMON: dict[str, Any] = {"labeler": "ada", "simulated": True, "guideline": "g"}


def prompt(name: str, split: Any = None) -> Prompt:
    return Prompt(id=name, messages=(Message(role="user", content=f"{name}?"),), user="u", split=split)


def comparison(name: str, ranks: tuple[int, ...], **more: Any) -> Comparison:
    answers = tuple(
        Answer(text=f"{name}{i}", model="m", finish="length" if i == 2 else "stop") for i in range(len(ranks))
    )
    return Comparison(
        id=name,
        prompt=prompt(name, "train"),
        answers=answers,
        ranks=ranks,
        panel="training",
        **COMMON,
        **more,
    )


def check(name: str, rule: str, level: Any) -> RuleCheck:
    return RuleCheck(
        id=f"{name}-{rule}-{level}",
        prompt=prompt(name),
        answer=Answer(text=f"reply {name}", model="m"),
        rule=rule,
        rule_text="...",
        level=level,
        panel="training",
        **COMMON,
    )


def test_the_single_best_answer_is_imitated_unless_all_were_bad_or_it_was_cut_off() -> None:
    rows = chosen_replies(
        [
            comparison("a", (2, 1, 3)),
            comparison("b", (1, 1, 2)),  # two best
            comparison("c", (3, 2, 1)),  # the best one was cut off
            comparison("d", (1, 2, 3), all_bad=True),
        ]
    )
    assert [(row.id, row.answer.text) for row in rows] == [("a", "a1")]


def test_one_doubt_about_one_rule_keeps_an_answer_out() -> None:
    rows = followed_replies(
        [
            check("a", "r1", "definitely_follows"),
            check("a", "r2", "probably_follows"),
            check("b", "r1", "definitely_follows"),
            check("b", "r2", "unsure"),
            check("c", "r1", "probably_breaks"),
        ]
    )
    assert [row.answer.text for row in rows] == ["reply a"]


def test_sources_are_added_up_each_reply_once_and_have_a_split(tmp_path: Path) -> None:
    demonstration = Demonstration(
        id="d", prompt=prompt("a", "train"), answer=Answer(text="a1", model="m"), **COMMON
    )
    for folder, name, row in (
        ("label.demonstrations", "demonstrations.jsonl", demonstration),
        ("learn.simulate", "comparisons.jsonl", comparison("a", (2, 1))),  # the same reply once more
        ("label.rulechecks", "rulechecks.jsonl", check("b", "r1", "definitely_follows")),
    ):
        (tmp_path / folder).mkdir()
        jsonl.write(tmp_path / folder / name, [row])
    rows = read_demonstrations(
        tmp_path / "label.demonstrations", [tmp_path / "learn.simulate"], [tmp_path / "label.rulechecks"]
    )
    assert [(row.answer.text, row.prompt.split) for row in rows] == [
        ("a1", "train"),
        ("reply b", split_of(prompt("b"))),
    ]
    assert read_demonstrations(None, (), ()) == []


def test_a_tenth_of_what_has_no_split_measures() -> None:
    splits = [split_of(prompt(f"p{i}")) for i in range(1000)]
    assert 70 <= splits.count("valid") <= 130 and splits.count("test") == 0
