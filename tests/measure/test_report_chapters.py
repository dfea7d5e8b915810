"""The report's chapters beyond the headline: the alignment tax, the ladder, ratings and rounds."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from biddable.measure import ratings, report
from biddable.measure.benchmarks import aggregate
from biddable.measure.benchmarks.tasks import TASKS, Marks
from biddable.measure.report import paper_plots
from biddable.measure.report.chapters import benchmarks
from biddable.measure.report.chapters.ratings import question_of
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Rating, Replies


def benchmark(fixture: ModuleType, run: Path, word: str, shape: str, marks: dict[str, list[Marks]]) -> Path:
    """A finished [measure.benchmarks.WORD] with these marks."""
    key = f"measure.benchmarks.{word}"
    (run / key).mkdir(parents=True)
    count = len(next(iter(marks.values())))
    rows = aggregate.results_table(
        marks, [str(i) for i in range(count)], "start", TASKS[shape].metrics, 200, 1
    )
    (run / key / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = {"shape": shape, "items": count, "licence": ["MIT"], "sha256": "ab" * 32}
    fixture.stage(run, key, {"shape": shape}, {}, summary, 3.0)
    return run / key


@pytest.fixture(scope="module")
def shown(fixture: ModuleType, whole: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A page with every chapter, and its folder."""
    run = tmp_path_factory.mktemp("costs") / "sample"
    shutil.copytree(whole, run)
    chance = random.Random(2)
    models = {"start": 0.4, "sft": 0.4, "ppo": 0.44, "plain": 0.1}
    choice = {
        name: [
            {
                word: (float(chance.random() < p), 1.0)
                for word in ("accuracy_per_token", "accuracy_per_character")
            }
            for _ in range(200)
        ]
        for name, p in models.items()
    }
    toxic = {
        name: [{"toxicity": (chance.random(), 1.0), "toxic": (1.0, 1.0)} for _ in range(20)]
        for name in models
    }
    tests = [
        benchmark(fixture, run, "hellaswag", "hellaswag", choice),
        benchmark(fixture, run, "toxicity<b>"[:8], "realtoxicity", toxic),
    ]
    rows = jsonl.read(run / "learn.replies.test" / "replies.jsonl", Replies)
    rated = [
        Rating(
            id=f"{row.prompt.id}-{a.model}-{w}", prompt=row.prompt, answer=a, overall=chance.randint(1, 7), panel="held_out",
            metadata={"hallucination": chance.random() < 0.3, "follows_instruction": chance.random() < 0.7 if w else None},
            labeler=f"held-out-{w + 1}", simulated=True, guideline="g",
        )
        for row in rows
        for a in row.answers
        for w in range(2)
    ]  # fmt: skip
    fixture.write(run, "label.ratings.test", "ratings.jsonl", rated)
    fixture.stage(run, "label.ratings.test", {}, {}, {"simulated": True}, 1.0)
    own = run / "measure.ratings"
    own.mkdir()
    context = StageContext(own, "measure.ratings", 1, lambda step, steps, numbers: None)
    ratings.run(ratings.Config(ratings=run / "label.ratings.test", baseline="sft", resamples=200), context)
    fixture.stage(run, "measure.ratings", {}, {"ratings": "label.ratings.test"}, context.summary, 1.0)
    checked = run / "measure.rules"
    checked.mkdir()
    points = [
        {"model": name, "broken": b, "broken_low": b - 0.05, "broken_high": b + 0.05,
         "preferred": p, "preferred_low": p - 0.1, "preferred_high": p + 0.1}
        for name, b, p in (("start", 0.3, 0.4), ("sft", 0.25, 0.5), ("ppo", 0.125, 0.625))
    ]  # fmt: skip
    by_rule = [
        {"model": name, "rule": rule, "checks": 4, "value": value, "low": 0.0, "high": 1.0}
        for name, rule, value in (
            ("start", "no-threats", 0.75),
            ("ppo", "no-threats", 0.5),
            ("sft", "a<b>", 0.25),
        )
    ]
    by_group = [{"model": "start", "group": "stereotypes", "checks": 9, "value": 0.44}]
    by_name = {"frontier": points, "by_rule": by_rule, "by_group": by_group}
    for name, lines in ((f"{name}.jsonl", lines) for name, lines in by_name.items()):
        (checked / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    numbers = {
        f"broken_{point['model']}{end}": point[f"broken{end}"]
        for point in points
        for end in ("", "_low", "_high")
    }
    numbers |= {"broken_ppo_minus_start": -0.175, "broken_ppo_minus_start_low": -0.3, "checks": 96,
                "dialogues": 48, "raters": 3, "simulated": True}  # fmt: skip
    fixture.stage(run, "measure.rules", {"against": "sft"}, {}, numbers, 1.0)
    earlier = shutil.copytree(whole, run.parent / "earlier")
    out = tmp_path_factory.mktemp("page")
    cfg: dict[str, Any] = {
        "winrate": run / "measure.winrate", "ppo": run / "learn.ppo", "reward": run / "learn.reward", "sft": run / "learn.sft",
        "comparisons": run / "label.comparisons", "replies": run / "learn.replies.test", "plain": run / "learn.ppo.plain",
        "benchmarks": tuple(tests), "ratings_by_model": own, "rules": checked, "other_winrates": (earlier / "measure.winrate",),
    }  # fmt: skip
    report.run(
        report.Config(**cfg), StageContext(out, "measure.report", 1, lambda step, steps, numbers: None)
    )
    with pytest.raises(UserError, match="axis_values: 1 values for 1 other_winrates and this run"):
        report.run(
            report.Config(**cfg, axis_values=(1.0,)),
            StageContext(out, "measure.report", 1, lambda step, steps, numbers: None),
        )
    return (out / "report.html").read_text(encoding="utf-8"), out


def test_the_page_has_every_chapter(shown: tuple[str, Path]) -> None:
    page, _ = shown
    for anchor in ("benchmarks", "ratings", "rounds"):
        assert f'id="{anchor}"' in page
    assert "Benchmarks: value, 95 % interval" in page and "hellaswag" in page and "lower is better" in page
    assert "The ladder" in page and "Elo points" in page
    assert "follows instruction" in page
    assert (
        "PPO-ptx: " in page.split('id="rounds"')[1] and "start model: " in page.split('id="rounds"')[1]
    )  # start over SFT is drawn as well
    assert (
        "minus" not in page.split('id="ratings"')[1].split('id="rounds"')[0]
    )  # differences are no questions
    assert "the run has no [measure.benchmarks]" not in page


def test_the_rules_chapter_shows_rates_frontier_and_every_rule(shown: tuple[str, Path]) -> None:
    """The numbers of the fixture, read off the page: rates with their intervals, a point a policy, a cell a
    policy and rule."""
    page, _ = shown
    part = page.split('id="rules"')[1].split('id="rounds"')[0]
    assert "96 such checks of 48 dialogues by 3 simulated raters" in part
    alts = re.findall(r'aria-label="([^"]*)"', part)
    assert alts[2:] == ["Broken by group of rules", "Broken by rule"]
    assert "PPO-ptx: 12.5 % (7.5–17.5)".replace(" %", "\u202f%") in alts[0] and "minus" not in alts[0]
    frontier = alts[1].replace("\u202f", " ")
    assert "PPO-ptx: broken 12.5 % (7.5 to 17.5 %), preferred 62.5 % (52.5 to 72.5 %)" in frontier
    assert frontier.count("broken") == 3
    cells = [
        re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", part, re.S)
    ]
    row = cells[cells.index("no-threats") :][:4]
    assert [cell.replace("\u202f", " ") for cell in row] == ["no-threats", "75 %", "", "50 %"]
    group = cells[cells.index("stereotypes") :][:4]
    assert [cell.replace("\u202f", " ") for cell in group] == ["stereotypes", "44 %", "", ""]
    assert "a&lt;b&gt;" in part and "a<b>" not in part


def test_a_cell_says_value_interval_and_difference() -> None:
    row = {
        "value": 0.4841,
        "low": 0.366,
        "high": 0.604,
        "change": -0.012,
        "change_low": -0.02,
        "change_high": -0.004,
    }
    assert benchmarks.format_cell("accuracy", row) == "48.4 (36.6–60.4)\n−1.2*"
    assert benchmarks.format_cell("nll", row | {"change_high": 0.1}) == "0.484 (0.366–0.604)\n−0.012"
    assert (
        benchmarks.format_cell("bleu", {"value": 12.0, "low": 10.0, "high": 14.0}) == "12.000 (10.000–14.000)"
    )
    assert benchmarks.format_cell("nll", {"value": 1.0, "low": None, "high": None}) == "1.000 (?–?)"


def test_questions_are_told_from_models_by_the_longest_name() -> None:
    models = ["sft", "my_sft"]
    assert question_of("hallucination_my_sft", models) == "hallucination"
    assert question_of("hallucination_sft", models) == "hallucination"
    assert question_of("by_use_case", models) is None


def test_sizes_as_people_write_them() -> None:
    assert [paper_plots.size(n) for n in (3, 1.5, 2e3, 135e6, 1.7e9, 175e9)] == [
        "3",
        "1.5",
        "2k",
        "135M",
        "1.7B",
        "175B",
    ]
