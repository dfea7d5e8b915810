"""Reward models and a judge on rankings: figures by hand, tau beside scipy's definition, files of other people, a real
scorer, a stand-in judge, stop and resume."""

from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from biddable.measure import rewards
from biddable.measure.judge.questions import JudgeQuestion
from biddable.measure.report.chapters.rewards import chapter
from biddable.measure.report.evidence import estimate
from biddable.measure.report.wording import with_interval
from biddable.measure.rewards import figures, rankings, scorers
from biddable.measure.rewards.rankings import Ranking
from biddable.measure.rewards.scorers import Scored
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Comparison, Message, Prompt


def ranking(ranks: tuple[int, ...], number: int = 0, labeler: str = "ada", subset: str = "chat") -> Ranking:
    prompt = Prompt(id=f"p{number}", user="u", messages=(Message(role="user", content=f"Say {number}"),))
    answers = tuple(Answer(text="x" * (i + 1), model=f"m{i}") for i in range(len(ranks)))
    return Ranking(prompt, answers, ranks, labeler, subset, False)


def scored(*scores: float) -> Scored:
    return Scored.by_scores(np.array(scores))


def test_accuracy_by_hand() -> None:
    """Ranks 1 2 2 and scores 3 1 2: both untied pairs are right. Ranks 1 2 and scores 0 1: wrong; 5 5: half. Of four
    pairs 2.5 are right; one more is tied."""
    rows = [ranking((1, 2, 2), 0), ranking((1, 2), 1), ranking((1, 2), 2)]
    views = [scored(3, 1, 2), scored(0, 1), scored(5, 5)]
    pairs, unjudged = figures.pairs_of(rows, views)
    share = figures.accuracy(rows, pairs, 200, 1)
    assert share and share.value == pytest.approx(2.5 / 4) and share.low < 2.5 / 4 < share.high
    assert (len(pairs), sum(pair.is_tied for pair in pairs), unjudged) == (5, 1, 0)
    assert figures.accuracy(rows, [pair for pair in pairs if pair.is_tied], 200, 1) is None
    pairs, unjudged = figures.pairs_of(rows, [None, *views[1:]])
    assert (len(pairs), unjudged) == (2, 3)


def test_the_interval_knows_that_pairs_of_a_prompt_hang_together() -> None:
    alone = [ranking((1, 2), number) for number in range(40)]
    together = [ranking((1, 2), number // 10) for number in range(40)]
    views: list[Scored | None] = [scored(number // 10 % 2, 0.5) for number in range(40)]
    widths = []
    for rows in (alone, together):
        share = figures.accuracy(rows, figures.pairs_of(rows, views)[0], 500, 1)
        assert share and share.value == 0.5
        widths.append(share.high - share.low)
    assert widths[1] > 1.5 * widths[0]


def naive_tau_b(ranks: tuple[int, ...], scores: tuple[float, ...]) -> float:
    """(concordant - discordant) / sqrt(pairs untied here · pairs untied there), from the definition."""
    signs = [
        (np.sign(ranks[j] - ranks[i]), np.sign(scores[i] - scores[j]))
        for i, j in combinations(range(len(ranks)), 2)
    ]
    untied = math.sqrt(sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs))
    return float(sum(a * b for a, b in signs) / untied)


def test_kendalls_tau() -> None:
    """1 2 3 4 and scores 4 3 1 2: five pairs in order, one not: (5 - 1) / 6. All tied, all equal, two answers: none."""
    estimate, count = figures.kendall([ranking((1, 2, 3, 4))], [scored(4, 3, 1, 2)], 200, 1)
    assert estimate and (estimate.value, count) == (pytest.approx(4 / 6), 1)
    rows = [ranking((1, 2, 2, 3), 1), ranking((2, 1, 3), 2), ranking((1, 1, 1), 3), ranking((1, 2), 4)]
    rows.append(ranking((1, 2, 3), 5))
    values = [(0.5, 0.1, 0.7, 0.1), (1.0, 2.0, 2.0), (1.0, 2.0, 3.0), (2.0, 1.0), (1.0, 1.0, 1.0)]
    estimate, count = figures.kendall(rows, [scored(*numbers) for numbers in values], 200, 1)
    expected = [naive_tau_b(row.ranks, numbers) for row, numbers in zip(rows[:2], values, strict=False)]
    assert estimate and (estimate.value, count) == (pytest.approx(np.mean(expected)), 2)


def test_best_of_four_with_ties_by_hand() -> None:
    """The best is first: 1. Two highest scores, one on the best: 1/2. Two best, the highest on one: 1. Wrong: 0.
    A pair does not count. Drawing gives (1/4 + 1/4 + 2/4 + 1/4) / 4."""
    rows = [ranking((1, 2, 2, 2), 0), ranking((1, 2, 2, 2), 1), ranking((1, 1, 2, 2), 2)]
    rows += [ranking((2, 1, 2, 2), 3), ranking((1, 2), 4)]
    views = [scored(9, 1, 2, 3), scored(5, 5, 1, 0), scored(1, 8, 2, 3), scored(9, 1, 1, 1), scored(2, 1)]
    numbers = figures.best_of(rows, views, 200, 1)
    assert numbers["best_of"] == pytest.approx(2.5 / 4) and numbers["best_of_rankings"] == 4
    assert numbers["best_of_chance"] == pytest.approx(1.25 / 4)
    assert figures.best_of(rows[-1:], views[-1:], 200, 1)["best_of"] is None


def test_several_right_answers_by_hand() -> None:
    """Right 5 and 4, others 1: above, and the gap 3 is wider than 1. Right 9 and 2, others 1: above, the gap 1 is not
    wider than 7. Right 5 and 0, others 1: not above."""
    rows = [ranking((1, 1, 2), number) for number in range(3)]
    numbers = figures.several_right(rows, [scored(5, 4, 1), scored(9, 2, 1), scored(5, 0, 1)])
    assert numbers["several_right"] == pytest.approx(2 / 3)
    assert numbers["several_right_wider_gap"] == pytest.approx(1 / 3)


def test_ties_by_hand() -> None:
    """Margins of untied pairs 3, -1, of tied ones 1, 2: 3 is above both, 1 equals one: (2 + 0.5) / 4."""
    pairs = [figures.Pair(0, 3.0, False), figures.Pair(0, -1.0, False)]
    pairs += [figures.Pair(0, 1.0, True), figures.Pair(0, -2.0, True)]
    assert figures.ties(pairs) == {"tied_pairs": 2, "ties_auc": pytest.approx(2.5 / 4)}
    assert figures.ties(pairs[:2]) == {"tied_pairs": 0, "ties_auc": None}


def test_calibration_by_hand() -> None:
    """Margins ±ln 3 claim 3/4; three of four are in order: no error. With margin ln 9 (0.9) and half of two in order
    the error is 0.4 there: over six pairs 2 · 0.4 / 6. The loss of ln 3 is ln(4/3), of -ln 3 it is ln 4."""
    three = [figures.Pair(0, sign * math.log(3), False) for sign in (1, 1, 1, -1)]
    numbers = figures.calibration(three)
    assert numbers["ece"] == pytest.approx(0)
    assert numbers["loss"] == pytest.approx((3 * math.log(4 / 3) + math.log(4)) / 4)
    nine = [figures.Pair(0, sign * math.log(9), False) for sign in (1, -1)]
    numbers = figures.calibration([*three, *nine])
    assert numbers["ece"] == pytest.approx(2 * 0.4 / 6)
    assert [row["pairs"] for row in numbers["calibration"]] == [4, 2]
    assert figures.calibration([])["ece"] is None


def test_a_judges_verdicts_become_scores() -> None:
    """Of three answers the first beats both, the others contradict themselves (a tie): 1, 1/4, 1/4. Without a verdict
    the pair counts nowhere."""
    row = ranking((1, 2, 3))
    asked = scorers.questions([row, row])
    assert len(asked) == 6 and asked[0] == JudgeQuestion(row.prompt, row.answers[0], row.answers[1])
    views, _ = scorers.by_judge([row], asked, ["A", "B", "A", "B", "A", "A"])
    assert views[0] and views[0].scores.tolist() == [1.0, 0.25, 0.25]
    pairs, unjudged = figures.pairs_of([row], views)
    assert [pair.outcome for pair in pairs] == [1.0, 1.0, 0.5] and unjudged == 0
    views, _ = scorers.by_judge([row], asked, ["A", "B", None, "B", "A", "A"])
    assert figures.pairs_of([row], views)[1] == 1
    assert figures.kendall([row], views, 200, 1) == (None, 0)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_files_of_other_people_are_read(tmp_path: Path) -> None:
    pairs = [{"prompt": "a?", "chosen": "yes", "rejected": "no", "subset": s} for s in ("easy", "hard")]
    rows, skipped = rankings.read(write(tmp_path / "pairs.jsonl", pairs), "auto", {}, None)
    assert [(row.ranks, row.subset, row.labeler) for row in rows] == [
        ((1, 2), "easy", "imported"),
        ((1, 2), "hard", "imported"),
    ]
    assert rows[0].prompt.id == rows[1].prompt.id and not skipped
    four = [{"prompt": "a?", "chosen": ["yes"], "rejected": ["no", "nope", "nah"]}]
    rows, _ = rankings.read(write(tmp_path / "four.jsonl", four), "auto", {}, None)
    assert rows[0].ranks == (1, 2, 2, 2)
    with pytest.raises(UserError, match="no ranking") as refused:
        rankings.read(
            write(tmp_path / "alpaca.jsonl", [{"instruction": "a", "output": "b"}]), "auto", {}, None
        )
    assert len(refused.value.lines) == 1
    bad = write(tmp_path / "bad.jsonl", [*pairs, {"prompt": "a?", "chosen": "yes", "rejected": 3}])
    with pytest.raises(UserError, match=r"bad\.jsonl"):
        rankings.read(bad, "auto", {}, None)


@pytest.fixture(scope="module")
def reward_folder(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random reward model's folder."""
    import torch

    from biddable.model import checkpoints, hardware, trunk

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "compute_dtype", lambda: torch.float32)
        folder = tmp_path_factory.mktemp("rewards") / "learn.reward"
        scorer = trunk.scorer_from(
            checkpoints.load_policy(policy), torch.Generator().manual_seed(3), deviation=0.5
        )
        checkpoints.save_scorer(scorer, folder / "model", policy)
    return folder


def stage(folder: Path, **settings: Any) -> StageContext:
    folder.mkdir(exist_ok=True)
    context = StageContext(folder, "measure.rewards", 1, lambda *_: None)
    rewards.run(rewards.Config(resamples=200, **settings), context)
    return context


def test_a_reward_model_beside_length(tmp_path: Path, reward_folder: Path) -> None:
    """Scores are those that the scorer gives alone; its own order measured against itself is right in every pair."""
    rows = [
        {"prompt": f"Say {n}", "chosen": ["yes indeed"], "rejected": ["no", "never"], "subset": f"s{n % 2}"}
        for n in range(6)
    ]
    file = write(tmp_path / "four.jsonl", rows)
    first = stage(tmp_path / "out", comparisons=file, rewards=(reward_folder,))
    summary = first.summary
    assert summary["accuracy_length"] == 1.0 and summary["best_of_length"] == 1.0
    assert summary["systems"] == ["reward", "length"] and summary["rankings"] == 6
    assert summary["accuracy_of_subsets_length"] == 1.0 and "judge" not in summary
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [(line["system"], line["subset"]) for line in lines[:3]] == [
        ("reward", None),
        ("reward", "s0"),
        ("reward", "s1"),
    ]
    scores = [json.loads(line) for line in (tmp_path / "out" / "scores.jsonl").read_text().splitlines()]
    own = []
    for number, line in enumerate(scores):
        order = np.argsort(np.argsort(-np.array(line["scores"]["reward"]))) + 1
        answers = [Answer(text=text, model="m") for text in ("yes indeed", "no", "never")]
        own.append(
            Comparison(
                id=f"c{number}",
                prompt=Prompt(
                    id=f"p{number}", user="u", messages=(Message(role="user", content=f"Say {number}"),)
                ),
                answers=tuple(answers),
                ranks=tuple(int(rank) for rank in order),
                labeler="itself",
                panel="held_out",
                simulated=True,
                guideline="g",
            ).model_dump(mode="json", exclude_none=True)
        )
    folder = tmp_path / "label.comparisons"
    folder.mkdir()
    write(folder / "comparisons.jsonl", own)
    summary = stage(tmp_path / "again", comparisons=folder, rewards=(reward_folder,)).summary
    assert summary["accuracy_reward"] == summary["best_of_reward"] == 1.0
    assert summary["tau_reward"] == pytest.approx(1.0) and summary["simulated"] is True


def test_the_reports_chapter(tmp_path: Path, reward_folder: Path) -> None:
    """Figures, a line a system, subsets, a plot of calibration; and a judge with a hostile name."""
    rows = [
        {"prompt": f"Say {n}", "chosen": "yes indeed", "rejected": "no", "subset": f"s{n % 2}"}
        for n in range(6)
    ]
    rows[0] |= {"chosen": "no", "rejected": "yes indeed"}
    context = stage(tmp_path / "out", comparisons=write(tmp_path / "a.jsonl", rows), rewards=(reward_folder,))
    summary = context.summary
    bins = [{"predicted": 0.6, "observed": 0.5, "pairs": 3}, {"predicted": 0.9, "observed": 0.8, "pairs": 4}]
    summary |= {"systems": ["large", "judge", "length"], "judge": "<script>", "judge_hash": "abc"}
    summary |= {
        "accuracy_large": 0.8,
        "accuracy_large_low": 0.6,
        "accuracy_large_high": 0.9,
        "ece_large": 0.1,
    }
    summary |= {"calibration_large": bins, "over_length_large": 0.05, "judge_consistent": 0.5}
    node = SimpleNamespace(folder=tmp_path / "out", summary=summary, name="measure.rewards")
    page = chapter(cast(Any, SimpleNamespace(rewards=node)))
    assert [figure.title for figure in page.figures] == [
        "Accuracy on the same rankings",
        "Calibration of large",
    ]
    assert [list(row)[:3] for row in page.tables[0].rows] == [
        ["large", "80.0\u202f% (60.0–90.0)", "+5.0 (+5.0 to +5.0)"],
        ["judge", "–", "–"],
        ["length", with_interval(estimate(summary, "accuracy_length"), 1), "–"],  # type: ignore[arg-type]
    ]
    assert [row[0] for row in page.tables[1].rows] == ["s0", "s1", "mean of subsets"]
    assert "hash abc" in page.paragraphs[2]
    assert chapter(cast(Any, SimpleNamespace(rewards=None))).left_out


def test_what_does_not_fit_is_not_judged(tmp_path: Path, reward_folder: Path) -> None:
    rows = [
        {"prompt": "a", "chosen": "b " * 3000, "rejected": "c"},
        {"prompt": "a", "chosen": "b", "rejected": "c"},
    ]
    file = write(tmp_path / "long.jsonl", rows)
    summary = stage(tmp_path / "out", comparisons=file, rewards=(reward_folder,)).summary
    assert (summary["pairs_reward"], summary["unjudged_pairs_reward"]) == (1, 1)
    assert (summary["pairs_length"], summary["unjudged_pairs_length"]) == (2, 0)


def test_a_judges_figures_carry_its_name_and_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(self: Any, model: str, messages: list[dict[str, str]], *_: Any) -> str:
        text = messages[1]["content"]
        return "[[A]]" if text.index("right") < text.index("wrong") else "[[B]]"

    monkeypatch.setattr("biddable.measure.judge.endpoint.Endpoint.answer", answer)
    rows = [{"prompt": f"{n}", "chosen": "right", "rejected": "wrong"} for n in range(4)]
    file = write(tmp_path / "pairs.jsonl", rows)
    settings = {"comparisons": file, "rewards": (), "judge": "theirs"}
    summary = stage(tmp_path / "out", **settings).summary
    assert summary["accuracy_judge"] == 1.0 and summary["judge"] == "theirs"
    assert summary["judge_consistent"] == 1.0 and "ece_judge" not in summary
    line = json.loads((tmp_path / "out" / "results.jsonl").read_text().splitlines()[0])
    assert (line["judge"], line["judge_hash"]) == ("theirs", summary["judge_hash"])
    warmer = stage(tmp_path / "warmer", **settings, temperature=1.0).summary
    assert warmer["judge_hash"] != summary["judge_hash"]


def test_mistakes_are_said_before_anything_is_asked(tmp_path: Path, policy: Path) -> None:
    file = write(tmp_path / "pairs.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    with pytest.raises(UserError) as refused:
        stage(tmp_path / "out", comparisons=file, rewards=(), format="csv")
    assert len(refused.value.lines) == 2
    with pytest.raises(UserError, match="holds a policy"):
        stage(tmp_path / "out", comparisons=file, rewards=(policy,))
    with pytest.raises(UserError, match="must be an address"):
        stage(tmp_path / "out", comparisons=file, judge="j", endpoint="nowhere")
