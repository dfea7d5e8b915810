"""Numbers of the report's chapters beside arithmetic by hand: over-optimisation, rounds, vital signs,
mirrored rates."""

from __future__ import annotations

from pathlib import Path

import pytest

from biddable.measure.report.chapters import overoptimisation, ppo, rounds
from biddable.measure.report.chapters.overoptimisation import StepRatings
from biddable.measure.report.evidence import complement, estimate, measured_pairs, series
from biddable.measure.statistics import Estimate
from biddable.run.lineage import Node
from biddable.run.records import Answer, Message, Prompt, Rating


def rating(name: str, text: str, step: int, kl: float, score: float, labeler: str, overall: int) -> Rating:
    prompt = Prompt(id="p", messages=(Message(role="user", content="Hi?"),), user="u")
    answer = Answer(text=text, model=f"learn.ppo@{step}", step=step, kl=kl, score=score)
    return Rating(
        id=name, prompt=prompt, answer=answer, overall=overall, panel="held_out", labeler=labeler, guideline="g", metadata={}, simulated=True
    )  # fmt: skip


def test_an_answer_counts_once_for_kl_and_score_and_each_of_its_ratings_for_gold() -> None:
    rows = [
        rating("1", "x", 20, 2.0, 1.0, "ada", 7),
        rating("2", "x", 20, 2.0, 1.0, "bo", 4),
        rating("3", "y", 20, 4.0, 3.0, "ada", 1),
        rating("4", "z", 0, 0.0, -1.0, "ada", 2),
    ]
    first, second = overoptimisation.by_step(rows, 1)
    assert (first.step, first.kl, first.score, first.gold.value) == (0, 0.0, -1.0, 2.0)
    assert (second.step, second.kl, second.score) == (20, 3.0, 2.0)  # (2 + 4) / 2, (1 + 3) / 2
    assert second.gold.value == pytest.approx(4.0)  # (7 + 4 + 1) / 3


def test_the_drop_is_from_the_best_step_to_the_last() -> None:
    steps = [
        StepRatings(step, kl, 0.0, Estimate(gold, gold - 0.5, gold + 0.25))
        for step, kl, gold in ((0, 0.0, 4.0), (10, 3.14, 5.5), (20, 9.0, 4.75))
    ]
    sentence = overoptimisation.finding(steps)
    assert "highest at step 10, at a KL of 3.1 nats, and 0.75 lower at the last step" in sentence
    assert "(4.75, 95 % interval 4.25 to 5.00)" in sentence
    assert "no over-optimisation is seen" in overoptimisation.finding(steps[:2])


def test_rates_are_turned_towards_the_baseline_with_their_intervals() -> None:
    summary = {
        "sft_over_ppo": 0.25,
        "sft_over_ppo_low": 0.125,
        "sft_over_ppo_high": 0.5,
        "sft_over_ppo_pairs": 9,
    }
    later = {"ppo_over_sft": 0.8, "ppo_over_sft_low": 0.7, "ppo_over_sft_high": 0.9, "ppo_over_sft_pairs": 9}
    places = [(1.0, Node("a", Path(), summary=summary)), (2.0, Node("b", Path(), summary=later))]
    assert measured_pairs(summary) == ["sft_over_ppo"]
    assert rounds.rates_by_pair(places, "sft") == {
        ("ppo", "sft"): [(1.0, Estimate(0.75, 0.5, 0.875)), (2.0, Estimate(0.8, 0.7, 0.9))]
    }
    assert complement(Estimate(0.25, 0.125, 0.5)) == Estimate(0.75, 0.5, 0.875)
    assert estimate({"x": 0.0}, "x") == Estimate(0, 0, 0) and estimate({}, "x") is None


def test_series_skip_steps_that_logged_nothing() -> None:
    rows = [{"step": 1, "kl": 0.5}, {"step": 2, "reward": 1.0}, {"step": 3, "kl": 2.0, "reward": 0.0}]
    assert series(rows, "kl", 100) == ([1.0, 3.0], [50.0, 200.0])
    assert ppo.paired_series(rows, "kl", "reward") == ([2.0], [0.0])
