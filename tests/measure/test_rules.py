"""Violation rates: shares and differences worked out by hand, the frontier's lookup, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biddable.measure import rules
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Message, Probe, Prompt, RuleCheck


def check(model: str, rule: str, number: int, rater: str, level: Any) -> RuleCheck:
    name = f"{model}-{rule}-{number:03d}"
    return RuleCheck(
        id=f"{name}-{rater}",
        prompt=Prompt(id=name, messages=(Message(role="user", content=f"{rule} {number}?"),), user="u"),
        answer=Answer(text="a", model=model),
        rule=rule,
        rule_text="...",
        level=level,
        labeler=rater,
        panel="held_out",
        simulated=True,
        guideline="g",
    )


def rows() -> list[RuleCheck]:
    """Two policies, two rules, five openings each, two raters: start breaks 8 of 20 checks (4 dialogues by
    both raters), a2c 2 of 20 (one dialogue); one of a2c's checks is unsure."""
    broken = {("learn.start", "r1", n) for n in range(3)} | {("learn.start", "r2", 0), ("learn.a2c", "r1", 0)}
    checks = []
    for model in ("learn.start", "learn.a2c"):
        for rule in ("r1", "r2"):
            for number in range(5):
                for rater in ("ada", "bea"):
                    level = "probably_breaks" if (model, rule, number) in broken else "definitely_follows"
                    if (model, rule, number, rater) == ("learn.a2c", "r2", 4, "bea"):
                        level = "unsure"
                    checks.append(check(model, rule, number, rater, level))
    return checks


def context_in(folder: Path) -> StageContext:
    folder.mkdir()
    return StageContext(folder, "measure.rules", 3, lambda step, steps, numbers: None)


def test_rates_differences_and_lines_by_rule(tmp_path: Path) -> None:
    jsonl.write(tmp_path / "rulechecks.jsonl", rows())
    context = context_in(tmp_path / "out")
    cfg = rules.Config(rulechecks=tmp_path / "rulechecks.jsonl", baseline="start", resamples=400)
    rules.run(cfg, context)
    summary = context.summary
    assert summary["broken_start"] == pytest.approx(8 / 20)
    assert summary["broken_a2c"] == pytest.approx(2 / 20)
    assert summary["broken_a2c_low"] < 0.1 < summary["broken_a2c_high"]
    assert summary["unsure_a2c"] == pytest.approx(1 / 20)
    # ten openings: start broke 4 of them, a2c 1
    assert summary["broken_a2c_minus_start"] == pytest.approx((1 - 4) / 10)
    assert "broken_start_minus_start" not in summary
    assert (summary["dialogues"], summary["rules"], summary["raters"], summary["attacks"]) == (20, 2, 2, 10)
    lines = [json.loads(line) for line in context.path("by_rule.jsonl").read_text().splitlines()]
    assert {(line["model"], line["rule"]): line["value"] for line in lines} == pytest.approx(
        {("start", "r1"): 0.6, ("start", "r2"): 0.2, ("a2c", "r1"): 0.2, ("a2c", "r2"): 0.0}
    )


def test_rules_add_up_by_their_groups(tmp_path: Path) -> None:
    """r1 and r2 form one group; r3 has none and is in no line of a group."""
    table = '[[rule]]\nid = "{}"\ntext = "t"\nquestion = "q?"\n{}'
    groups = (("r1", 'group = "harm"\n'), ("r2", 'group = "harm"\n'), ("r3", ""))
    (tmp_path / "rules.toml").write_text("".join(table.format(*row) for row in groups))
    checks = [*rows(), check("learn.a2c", "r3", 0, "ada", "definitely_breaks")]
    jsonl.write(tmp_path / "rulechecks.jsonl", checks)
    context = context_in(tmp_path / "out")
    cfg = rules.Config(rulechecks=tmp_path / "rulechecks.jsonl", rules=tmp_path / "rules.toml", resamples=400)
    rules.run(cfg, context)
    lines = [json.loads(line) for line in context.path("by_group.jsonl").read_text().splitlines()]
    assert {(row["model"], row["group"], row["checks"]): row["value"] for row in lines} == pytest.approx(
        {("a2c", "harm", 20): 2 / 20, ("start", "harm", 20): 8 / 20}
    )
    assert all(row["low"] <= row["value"] <= row["high"] for row in lines)


def test_preference_is_looked_up_both_ways_round() -> None:
    summary = {"a2c_over_sft": 0.6, "a2c_over_sft_low": 0.5, "a2c_over_sft_high": 0.7}
    assert rules.preference_over(summary, "a2c", "sft") == (0.6, 0.5, 0.7)
    assert rules.preference_over(summary, "sft", "a2c") == pytest.approx((0.4, 0.3, 0.5))
    assert rules.preference_over(summary, "sft", "sft") == (0.5, 0.5, 0.5)
    assert rules.preference_over(summary, "start", "sft") is None


def test_the_frontier_has_a_line_for_each_policy_that_was_compared(tmp_path: Path) -> None:
    jsonl.write(tmp_path / "rulechecks.jsonl", rows())
    (tmp_path / "measure.winrate").mkdir()
    (tmp_path / "measure.winrate" / "summary.json").write_text(
        json.dumps({"start_over_a2c": 0.3, "start_over_a2c_low": 0.2, "start_over_a2c_high": 0.4})
    )
    context = context_in(tmp_path / "out")
    cfg = rules.Config(
        rulechecks=tmp_path / "rulechecks.jsonl",
        winrate=tmp_path / "measure.winrate",
        against="start",
        resamples=400,
    )
    rules.run(cfg, context)
    lines = [json.loads(line) for line in context.path("frontier.jsonl").read_text().splitlines()]
    assert {line["model"]: line["preferred"] for line in lines} == pytest.approx({"a2c": 0.7, "start": 0.5})
    assert all(line["broken_low"] <= line["broken"] <= line["broken_high"] for line in lines)


def test_nothing_to_count_is_refused(tmp_path: Path) -> None:
    jsonl.write(tmp_path / "rulechecks.jsonl", rows())
    cfg = rules.Config(rulechecks=tmp_path / "rulechecks.jsonl", panel="training")
    with pytest.raises(UserError, match="holds no check of the panel training"):
        rules.run(cfg, context_in(tmp_path / "a"))
    cfg = rules.Config(rulechecks=tmp_path / "rulechecks.jsonl", baseline="gone")
    with pytest.raises(UserError, match="no dialogue is with that policy; the policies are a2c, start"):
        rules.run(cfg, context_in(tmp_path / "b"))


def test_only_the_probed_rule_counts_where_the_probes_are_named(tmp_path: Path) -> None:
    """r2 was asked about in start's dialogues about r1 as well, and broken in each: that is no success of an
    attack on r1."""
    others = [
        check("learn.start", "r1", number, "ada", "definitely_breaks").model_copy(
            update={"rule": "r2", "id": f"x{number}"}
        )
        for number in range(5)
    ]
    jsonl.write(tmp_path / "rulechecks.jsonl", rows() + others)
    probes = [
        Probe(
            id=f"{model}-{rule}-{number:03d}",
            messages=(Message(role="user", content="a"), Message(role="assistant", content="b")),
            model=model,
            rule=rule,
            rule_text="...",
            level="unsure",
            labeler="p",
            simulated=True,
            guideline="g",
        )
        for model in ("learn.start", "learn.a2c")
        for rule in ("r1", "r2")
        for number in range(5)
    ]
    jsonl.write(tmp_path / "probes.jsonl", probes)
    for settings, expected in (({}, 13 / 25), ({"probes": tmp_path / "probes.jsonl"}, 8 / 20)):
        context = context_in(tmp_path / f"out{len(settings)}")
        cfg = rules.Config(rulechecks=tmp_path / "rulechecks.jsonl", resamples=400, **settings)
        rules.run(cfg, context)
        assert context.summary["broken_start"] == pytest.approx(expected)
    jsonl.write(tmp_path / "probes.jsonl", [probes[0].model_copy(update={"id": "gone"})])
    with pytest.raises(UserError, match="none of the rule checks is of a dialogue that stands there"):
        rules.run(
            rules.Config(rulechecks=tmp_path / "rulechecks.jsonl", probes=tmp_path / "probes.jsonl"),
            context_in(tmp_path / "refused"),
        )
