"""The stage: means and shares by hand, questions that do not apply, paired differences, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biddable.measure import ratings, winrate
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Message, Prompt, Rating


def rating(
    prompt: int, labeler: str, model: str, overall: int, use_case: str = "chat", **said: bool | None
) -> Rating:
    return Rating(
        id=f"{prompt}-{labeler}-{model}",
        prompt=Prompt(
            id=f"p{prompt}", messages=(Message(role="user", content="Frage?"),), user="u", use_case=use_case
        ),
        answer=Answer(text=f"{model} says ünïcode", model=model),
        overall=overall,
        metadata=said,
        labeler=labeler,
        panel="held_out",
        simulated=False,
        guideline="g",
    )


ROWS = [
    rating(1, "w1", "learn.sft", 2, hallucination=True),
    rating(1, "w1", "learn.ppo", 5, hallucination=False),
    rating(1, "w2", "learn.sft", 4, hallucination=None),
    rating(1, "w2", "learn.ppo", 4, hallucination=True),
    rating(2, "w1", "learn.sft", 3, use_case="rewrite", hallucination=None),
    rating(2, "w1", "learn.ppo", 7, use_case="rewrite", hallucination=False),
]


def folder(tmp_path: Path, rows: list[Rating]) -> Path:
    (tmp_path / "in").mkdir(exist_ok=True)
    jsonl.write(tmp_path / "in" / "ratings.jsonl", rows)
    return tmp_path / "in"


def measure(tmp_path: Path, rows: list[Rating], **settings: Any) -> dict[str, Any]:
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    context = StageContext(out, "measure.ratings", 1, lambda step, steps, numbers: None)
    ratings.run(ratings.Config(ratings=folder(tmp_path, rows), resamples=300, **settings), context)
    return context.summary


def test_means_and_shares_by_hand(tmp_path: Path) -> None:
    found = measure(tmp_path, ROWS, baseline="sft")
    assert found["overall_sft"] == 3.0 and found["overall_ppo"] == pytest.approx((5 + 4 + 7) / 3)
    assert 1 <= found["overall_ppo_low"] <= found["overall_ppo"] <= found["overall_ppo_high"] <= 7
    assert (found["hallucination_ppo"], found["hallucination_ppo_count"]) == (pytest.approx(1 / 3), 3)
    assert (found["hallucination_sft"], found["hallucination_sft_count"]) == (1.0, 1)  # null is no answer
    assert found["overall_ppo_minus_sft"] == pytest.approx((3 + 0 + 4) / 3)
    assert found["hallucination_ppo_minus_sft"] == -1.0  # only w1 on prompt 1 answered about both
    assert (found["ratings"], found["labelers"], found["prompts"], found["simulated"]) == (6, 2, 2, False)
    lines = [json.loads(line) for line in (tmp_path / "out" / "by_use_case.jsonl").read_text().splitlines()]
    own = next(
        r for r in lines if (r["model"], r["question"], r["use_case"]) == ("ppo", "overall", "rewrite")
    )
    assert (own["value"], own["count"]) == (7.0, 1)


def test_ratings_give_win_rates(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    context = StageContext(out, "measure.winrate", 1, lambda step, steps, numbers: None)
    winrate.run(winrate.Config(comparisons=folder(tmp_path, ROWS), resamples=300), context)
    assert context.summary["ppo_over_sft"] == (1 + 0.5 + 1) / 3
    assert context.summary["ppo_over_sft_pairs"] == 3


def test_one_rating_says_nothing_certain(tmp_path: Path) -> None:
    found = measure(tmp_path, ROWS[:1])
    assert (found["overall_sft_low"], found["overall_sft_high"]) == (1.0, 7.0)
    assert (found["hallucination_sft_low"], found["hallucination_sft_high"]) == (0.0, 1.0)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no rating of the panel training"):
        measure(tmp_path, ROWS, panel="training")
    with pytest.raises(UserError, match="baseline = gpt: no answer is by that model"):
        measure(tmp_path, ROWS, baseline="gpt")


def test_means_and_differences_keep_the_people_apart(tmp_path: Path) -> None:
    """Two people on six prompts, one always 2 points higher: intervals with one degree of freedom, cut where
    the scale ends."""
    rows = [
        rating(i, f"w{j}", model, 3 + 2 * j + (model == "learn.ppo"))
        for i in range(6)
        for j in range(2)
        for model in ("learn.sft", "learn.ppo")
    ]
    found = measure(tmp_path, rows, baseline="sft")
    assert (found["overall_sft"], found["overall_ppo"]) == (4.0, 5.0)
    # t of one degree is 12.7, the standard error about 1: beyond both ends of the scale
    assert (found["overall_sft_low"], found["overall_sft_high"]) == (1.0, 7.0)
    # always +1 of at most 6 on six prompts: up to 1 - 0.025^(1/6) of them may be at the other end
    share = 1 - 0.025 ** (1 / 6)
    assert found["overall_ppo_minus_sft"] == 1.0
    assert found["overall_ppo_minus_sft_low"] == pytest.approx(1 - 7 * share)
    assert found["overall_ppo_minus_sft_high"] == pytest.approx(1 + 5 * share)
    assert found["overall_ppo_minus_sft_p"] == pytest.approx(0.5**5)


def test_a_panel_alone(tmp_path: Path) -> None:
    rows = [ROWS[0], ROWS[2].model_copy(update={"panel": "training"})]
    assert measure(tmp_path, rows)["overall_sft"] == 3.0
    assert measure(tmp_path, rows, panel="training")["overall_sft"] == 4.0
    assert measure(tmp_path, rows, panel="held_out")["overall_sft"] == 2.0


def test_shares_of_one_persons_answers_are_clustered(tmp_path: Path) -> None:
    """Three people on eight prompts; one says yes everywhere, two never: a third, and an interval of three
    opinions."""
    rows = [rating(i, f"w{j}", "learn.sft", 4, hallucination=j == 0) for i in range(8) for j in range(3)]
    found = measure(tmp_path, rows)
    assert found["hallucination_sft"] == pytest.approx(1 / 3)
    assert found["hallucination_sft_low"] < 0.05 and found["hallucination_sft_high"] > 0.8
