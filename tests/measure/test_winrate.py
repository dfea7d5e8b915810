"""The stage: numbers by hand, names and directions of pairs, counts, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biddable.measure import winrate
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Answer, Comparison, Message, Prompt

MODELS = ("learn.start", "learn.sft", "learn.ppo", "learn.ppo.plain")


def context(folder: Path) -> StageContext:
    folder.mkdir(parents=True, exist_ok=True)
    return StageContext(folder, "measure.winrate", 1, lambda step, steps, numbers: None)


def ranking(
    number: int,
    labeler: str,
    ranks: dict[str, int],
    panel: str = "held_out",
    use_case: str | None = "chat",
    **more: Any,
) -> Comparison:
    """One labeler's ranking of one answer by each model; an answer of the model at place i has 10 · (i + 1)
    tokens."""
    answers = [
        Answer(
            text=f"answer of {model}",
            model=model,
            tokens=tuple(range(10 * (MODELS.index(model) + 1))) if model in MODELS else None,
            finish="length" if model == "learn.start" else "stop",
        )
        for model in ranks
    ]
    prompt = Prompt(
        id=f"p{number}",
        messages=(Message(role="user", content="Question?"),),
        user="user-1",
        use_case=use_case,
    )
    fields: dict[str, Any] = {"panel": panel, "simulated": True, "guideline": "evaluation-1"} | more
    return Comparison(
        id=f"{number}-{labeler}",
        prompt=prompt,
        answers=tuple(answers),
        ranks=tuple(ranks.values()),
        labeler=labeler,
        **fields,
    )


def put(folder: Path, rows: list[Comparison]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    jsonl.write(folder / "comparisons.jsonl", rows)
    return folder


def measure(tmp_path: Path, rows: list[Comparison], **settings: Any) -> dict[str, Any]:
    stage = context(tmp_path / "out")
    winrate.run(winrate.Config(comparisons=put(tmp_path / "in", rows), resamples=300, **settings), stage)
    return stage.summary


def test_rates_by_hand(tmp_path: Path) -> None:
    rows = [
        ranking(1, "w1", {"learn.start": 3, "learn.sft": 2, "learn.ppo": 1}),  # ppo > sft > start
        ranking(1, "w2", {"learn.ppo": 1, "learn.start": 2, "learn.sft": 1}),  # ppo = sft > start
        ranking(2, "w1", {"learn.sft": 1, "learn.ppo": 2, "learn.start": 2}),  # sft > ppo = start
        ranking(2, "w2", {"learn.sft": 2, "learn.ppo": 1, "learn.start": 3}),  # ppo > sft > start
    ]
    found = measure(tmp_path, rows)
    assert found["ppo_over_sft"] == (1 + 0.5 + 0 + 1) / 4
    assert found["sft_over_start"] == (1 + 1 + 1 + 1) / 4
    assert found["ppo_over_start"] == (1 + 1 + 0.5 + 1) / 4
    assert found["ppo_over_sft_ties"] == 1 / 4
    assert (found["ppo_over_sft_pairs"], found["ppo_over_sft_prompts"], found["ppo_over_sft_labelers"]) == (
        4,
        2,
        2,
    )
    assert 0 <= found["ppo_over_sft_low"] < 0.625 < found["ppo_over_sft_high"] <= 1
    assert found["ppo_over_sft_longer"] == 30 - 20
    assert (found["length_start"], found["length_ppo"], found["length_unit"]) == (10, 30, "tokens")
    assert (found["finished_start"], found["finished_ppo"]) == (0.0, 1.0)
    assert found["simulated"] is True
    assert (found["rankings"], found["prompts"], found["labelers"], found["panel"]) == (4, 2, 2, "held_out")


def test_a_pair_has_one_direction_whatever_the_order_on_the_page(tmp_path: Path) -> None:
    rows = [
        ranking(i, "w1", {m: 1 + (m == "learn.sft") for m in models})
        for i, models in enumerate((MODELS, tuple(reversed(MODELS))))
    ]
    found = measure(tmp_path, rows)
    names = {key for key in found if "_over_" in key and f"{key}_pairs" in found}
    assert names == {
        "sft_over_start",
        "plain_over_start",
        "plain_over_sft",
        "ppo_over_start",
        "ppo_over_sft",
        "ppo_over_plain",
    }
    assert (found["plain_over_sft"], found["sft_over_start"], found["ppo_over_plain"]) == (1.0, 0.0, 0.5)


def test_several_answers_of_a_model_give_several_pairs(tmp_path: Path) -> None:
    row = ranking(1, "w1", {"learn.sft": 2, "learn.ppo": 1})
    twice = row.model_copy(update={"answers": (*row.answers, row.answers[1]), "ranks": (2, 1, 3)})
    found = measure(tmp_path, [twice, ranking(2, "w1", {"learn.sft": 2, "learn.ppo": 1})])
    assert (
        found["ppo_over_sft_pairs"] == 3
    )  # two of the first ranking, one of the second; none of ppo with itself
    assert found["ppo_over_sft"] == 2 / 3


def test_use_cases_have_their_own_lines(tmp_path: Path) -> None:
    rows = [
        ranking(1, "w1", {"learn.sft": 2, "learn.ppo": 1}, use_case="chat"),
        ranking(2, "w1", {"learn.sft": 1, "learn.ppo": 2}, use_case="rewrite"),
        ranking(3, "w1", {"learn.sft": 1, "learn.ppo": 1}, use_case=None),
    ]
    measure(tmp_path, rows)
    lines = [json.loads(line) for line in (tmp_path / "out" / "use_cases.jsonl").read_text().splitlines()]
    assert [(one["use_case"], one["rate"], one["pairs"]) for one in lines] == [
        ("chat", 1.0, 1),
        ("not stated", 0.5, 1),
        ("rewrite", 0.0, 1),
    ]
    assert {one["pair"] for one in lines} == {"ppo_over_sft"}


def test_running_again_writes_the_same(tmp_path: Path) -> None:
    rows = [ranking(i, "w1", {"learn.sft": 2, "learn.ppo": 1 + i % 2}) for i in range(6)]
    first = measure(tmp_path, rows)
    lines = (tmp_path / "out" / "use_cases.jsonl").read_text()
    assert measure(tmp_path, rows) == first
    assert (tmp_path / "out" / "use_cases.jsonl").read_text() == lines


def test_only_the_asked_panel_counts(tmp_path: Path) -> None:
    rows = [
        ranking(1, "w1", {"learn.sft": 2, "learn.ppo": 1}),
        ranking(1, "t1", {"learn.sft": 1, "learn.ppo": 2}, panel="training", simulated=False),
    ]
    assert measure(tmp_path, rows)["ppo_over_sft"] == 1.0
    found = measure(tmp_path, rows, panel="training")
    assert (found["ppo_over_sft"], found["simulated"]) == (0.0, False)


def test_words_when_tokens_are_not_known(tmp_path: Path) -> None:
    found = measure(tmp_path, [ranking(1, "w1", {"learn.sft": 2, "other.model": 1})])
    assert found["length_unit"] == "words"
    assert found["length_sft"] == 3  # "answer of learn.sft"


def test_names_and_order(tmp_path: Path) -> None:
    rows = [ranking(1, "w1", {"learn.ppo": 2, "learn.ppo.plain": 1, "other.model": 3})]
    found = measure(
        tmp_path, rows, names={"learn.ppo": "mixed", "other.model": "peer"}, order=("mixed", "plain")
    )
    assert {key for key in found if f"{key}_pairs" in found} == {
        "plain_over_mixed",
        "peer_over_mixed",
        "peer_over_plain",
    }


def test_refusals(tmp_path: Path) -> None:
    rows = [ranking(1, "t1", {"learn.sft": 2, "learn.ppo": 1}, panel="training")]
    with pytest.raises(UserError, match="no verdict of the panel held_out"):
        measure(tmp_path, rows)
    one = ranking(1, "w1", {"learn.sft": 2, "learn.ppo": 1})
    alone = one.model_copy(update={"answers": (one.answers[0], one.answers[0])})
    with pytest.raises(UserError, match="answers of one model only"):
        measure(tmp_path, [alone])
    with pytest.raises(UserError) as refused:
        measure(tmp_path, [one], names={"learn.pppo": "x", "learn.sft": "ppo"})
    assert len(refused.value.lines) == 2
    assert "no answer is by the model learn.pppo" in refused.value.lines[0]
    assert "learn.ppo and learn.sft would both be called ppo" in refused.value.lines[1]
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "comparisons.jsonl").write_text("")
    with pytest.raises(UserError, match="the file is empty"):
        winrate.run(winrate.Config(comparisons=empty), context(tmp_path / "out"))
    with pytest.raises(UserError, match="no such file"):
        winrate.run(winrate.Config(comparisons=tmp_path / "nowhere"), context(tmp_path / "out"))


def test_the_other_panel_is_told_apart(tmp_path: Path) -> None:
    rows = [ranking(i, f"w{j}", {"learn.sft": 2, "learn.ppo": 1}) for i in range(3) for j in range(2)]
    rows += [ranking(i, "t1", {"learn.sft": 1, "learn.ppo": 2}, panel="training") for i in range(3)]
    found = measure(tmp_path, rows)
    assert (found["ppo_over_sft"], found["ppo_over_sft_pairs"]) == (1.0, 6)
    assert (found["ppo_over_sft_other_panel"], found["ppo_over_sft_other_panel_verdicts"]) == (0.0, 3)
    assert 0 < found["ppo_over_sft_p"] < 1


def test_ladder_and_paired_tests(tmp_path: Path) -> None:
    rows = [
        ranking(i, f"w{j}", {"learn.start": 3, "learn.sft": 2, "learn.ppo": 1 + (i % 4 == 0)})
        for i in range(8)
        for j in range(3)
    ]
    found = measure(tmp_path, rows)
    assert found["elo_ppo"] > found["elo_sft"] > found["elo_start"]
    assert found["elo_ppo_low"] < found["elo_ppo"] < found["elo_ppo_high"]
    assert found["elo_ppo"] + found["elo_sft"] + found["elo_start"] == pytest.approx(0)
    tests = [json.loads(line) for line in (tmp_path / "out" / "tests.jsonl").read_text().splitlines()]
    own = next(t for t in tests if t["over"] == "start")
    assert (own["model"], own["minus"], own["difference"], own["pairs"]) == (
        "ppo",
        "sft",
        0.0,
        24,
    )  # both always beat it
    ranks = [
        json.loads(line)["model"] for line in (tmp_path / "out" / "ladder.jsonl").read_text().splitlines()
    ]
    assert ranks == ["ppo", "sft", "start"]


def test_published_win_rates(tmp_path: Path, data: Path) -> None:
    """AlpacaEval's own figures from its own annotations, to 1e-6."""
    file = data / "winrates_alpaca_example.jsonl.gz"
    published = json.loads((data / "winrates_alpaca_example_published.json").read_text(encoding="utf-8"))[
        "models"
    ]
    stage = context(tmp_path / "out")
    winrate.run(winrate.Config(comparisons=file, resamples=200), stage)
    by_baseline = {"AlpacaEval 1 (GPT-4, binary)": "text_davinci_003"}
    for row in published:
        name = f"{row['model']}_over_{by_baseline.get(row['leaderboard'], 'gpt4_1106_preview')}"
        theirs = row["published"]
        assert 100 * stage.summary[name] == pytest.approx(theirs["win_rate"], abs=1e-6)
        assert 100 * stage.summary[f"{name}_plain_error"] == pytest.approx(theirs["standard_error"], abs=1e-6)
        assert stage.summary[f"{name}_pairs"] == theirs["n_total"]


def test_preferences_that_are_none(tmp_path: Path) -> None:
    file = tmp_path / "preferences.jsonl"
    good = {"model": "a", "baseline": "b", "prompt_id": "p", "preference": 2}
    rows = [
        good,
        good | {"preference": None},
        good | {"preference": 3},
        {"model": "a"},
        good | {"preference": True},
        good | {"len_model": "long"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError) as refused:
        winrate.run(winrate.Config(comparisons=file), context(tmp_path / "out"))
    assert refused.value.lines == [
        f"{file}:3: preference = 3.0: must be 0 or a number from 1 to 2",
        f"{file}:4: the key 'preference' is missing; a line needs model, baseline, prompt_id and preference",
        f"{file}:5: not a preference (true is no number); a line needs model, baseline, prompt_id and "
        "preference",
        f'{file}:6: not a preference ("long" is no number); a line needs model, baseline, prompt_id and '
        "preference",
    ]


def test_preferences_without_lengths_and_with_names(tmp_path: Path) -> None:
    """Equal length is not told where lengths are not known; a name that no model has is refused."""
    file = tmp_path / "preferences.jsonl"
    rows = [
        {"model": "gpt-3.5", "baseline": "b", "prompt_id": f"p{i}", "preference": 1 + i % 2} for i in range(6)
    ]
    file.write_text(
        "".join(json.dumps(row | ({"len_model": 9} if i else {})) + "\n" for i, row in enumerate(rows))
    )
    stage = context(tmp_path / "out")
    winrate.run(winrate.Config(comparisons=file, names={"b": "base"}), stage)
    assert (
        stage.summary["gpt-3.5_over_base"] == 0.5 and stage.summary["gpt-3.5_over_base_equal_length"] is None
    )
    assert stage.summary["gpt-3.5_over_base_lengths_unknown"] == 6
    with pytest.raises(UserError, match="no answer is by the model c"):
        winrate.run(winrate.Config(comparisons=file, names={"c": "base"}), context(tmp_path / "no"))


def test_nothing_but_ties_is_one_half_everywhere(tmp_path: Path) -> None:
    rows = [
        ranking(n, w, {"learn.start": 1, "learn.sft": 1, "learn.ppo": 1})
        for n in range(6)
        for w in ("w1", "w2")
    ]
    found = measure(tmp_path, rows)
    assert (
        found["ppo_over_sft"] == 0.5 and found["ppo_over_sft_ties"] == 1.0 and found["ppo_over_sft_p"] == 1.0
    )
    assert 0 < found["ppo_over_sft_low"] < 0.5 < found["ppo_over_sft_high"] < 1
    assert "ppo_over_sft_exact_low" not in found
    assert found["elo_ppo"] == pytest.approx(0, abs=1e-6) and found[
        "ppo_over_sft_equal_length"
    ] == pytest.approx(0.5)
    assert (
        found["elo_ppo_low"] < -50 < 50 < found["elo_ppo_high"]
        and found["ppo_over_sft_equal_length_low"] < 0.35
    )
    tests = [json.loads(line) for line in (tmp_path / "out" / "tests.jsonl").read_text().splitlines()]
    assert all(row["low"] < 0 < row["high"] and row["p"] == 1.0 for row in tests)


def test_one_labeler_and_one_prompt(tmp_path: Path) -> None:
    """One person: the interval is over prompts, and exact beside it. One prompt: over persons. One of both
    says nothing."""
    won = {"learn.sft": 2, "learn.ppo": 1}
    alone = measure(
        tmp_path / "a", [ranking(n, "w1", won if n else {"learn.sft": 1, "learn.ppo": 2}) for n in range(10)]
    )
    # 9 of 10: Clopper and Pearson 0.5550 to 0.9975
    assert (alone["ppo_over_sft"], alone["labelers"]) == (0.9, 1)
    assert alone["ppo_over_sft_exact_low"] == pytest.approx(0.5550, abs=1e-4)
    assert alone["ppo_over_sft_exact_high"] == pytest.approx(0.9975, abs=1e-4)
    same = measure(tmp_path / "b", [ranking(1, f"w{i}", won) for i in range(4)])
    assert (same["ppo_over_sft"], same["prompts"]) == (1.0, 1) and 0 < same["ppo_over_sft_low"] < 1
    single = measure(tmp_path / "c", [ranking(1, "w1", won)])
    assert (single["ppo_over_sft_low"], single["ppo_over_sft_high"]) == (0.0, 1.0)


def test_empty_answers_and_other_scripts(tmp_path: Path) -> None:
    row = ranking(1, "wörker-東京", {"learn.sft": 2, "learn.ppo": 1})
    texts = ("", "Ünï 😀")
    answers = tuple(
        a.model_copy(update={"text": t, "tokens": None}) for a, t in zip(row.answers, texts, strict=True)
    )
    found = measure(tmp_path, [row.model_copy(update={"answers": answers})] * 1)
    assert found["ppo_over_sft"] == 1.0 and found["length_sft"] == 0 and found["length_unit"] == "words"


def test_preferences_by_hand(tmp_path: Path) -> None:
    """2: the model is better, 1: the baseline, 0 and 1.5: a tie, 1.25: won with probability 1/4; lengths in
    characters, model minus baseline."""
    preferences = (2, 2, 1, 0, 1.5, 1.25)
    rows = [
        {
            "model": "m",
            "baseline": "b",
            "prompt_id": f"p{i}",
            "preference": preference,
            "len_model": 10 + i,
            "len_baseline": 4,
        }
        for i, preference in enumerate(preferences)
    ]
    file = tmp_path / "preferences.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    stage = context(tmp_path / "out")
    winrate.run(winrate.Config(comparisons=file, resamples=200), stage)
    assert stage.summary["m_over_b"] == pytest.approx((1 + 1 + 0 + 0.5 + 0.5 + 0.25) / 6)
    assert stage.summary["m_over_b_longer"] == pytest.approx(6 + 2.5)
    assert stage.summary["m_over_b_ties"] == pytest.approx(2 / 6)
    # deviations of 1 1 0 .5 .5 .25 from .541667: sum of squares .802083; standard error √(.802083 / 5 / 6)
    assert stage.summary["m_over_b_plain_error"] == pytest.approx((0.8020833 / 30) ** 0.5, abs=1e-6)


def test_a_paired_test_by_hand(tmp_path: Path) -> None:
    """Over start: ppo wins 3 of 3, sft 2 and ties once; ppo minus sft is 0, 0, 1/2 on three prompts: 1/6,
    Student's with 2 degrees of freedom."""
    rows = [
        ranking(i, "w1", {"learn.start": 3, "learn.sft": 3 if i == 2 else 2, "learn.ppo": 1})
        for i in range(3)
    ]
    stage = context(tmp_path / "out")
    winrate.run(winrate.Config(comparisons=put(tmp_path / "in", rows), resamples=100_000), stage)
    tests = [json.loads(line) for line in (tmp_path / "out" / "tests.jsonl").read_text().splitlines()]
    row = next(t for t in tests if t["over"] == "start")
    assert (row["model"], row["minus"], row["difference"], row["pairs"]) == (
        "ppo",
        "sft",
        pytest.approx(1 / 6),
        3,
    )
    # over sft: ppo wins all three, start loses two and ties once: 1, 1, 1/2 more
    over_sft = next(t for t in tests if t["over"] == "sft")
    assert (over_sft["model"], over_sft["minus"]) == ("ppo", "start")
    assert over_sft["difference"] == pytest.approx(2.5 / 3)
    # variance of the mean: ((1/6)² + (1/6)² + (1/3)²) / (2 · 3) = 1/36; 4.3027 standard errors of 1/6 to each
    # side
    assert row["low"] == pytest.approx(1 / 6 - 4.30265 / 6, rel=0.03)
    assert row["high"] == pytest.approx(1 / 6 + 4.30265 / 6, rel=0.03)
    assert row["p"] == pytest.approx(0.42265, abs=0.01)  # 2 · P(t > 1) with 2 degrees of freedom: 1 - 1 / √3


def test_verdicts_of_one_person_are_one_cluster(tmp_path: Path) -> None:
    """Four people who each always say the same: the interval is that of four opinions, not of 40 verdicts."""
    rows = [
        ranking(i, f"w{j}", {"learn.sft": 2 - (j == 0), "learn.ppo": 1 + (j == 0)})
        for i in range(10)
        for j in range(4)
    ]
    found = measure(tmp_path, rows)
    assert found["ppo_over_sft"] == 0.75 and found["ppo_over_sft_low"] < 0.4
    assert found["ppo_over_sft_p"] > 0.2


def test_the_ladders_clusters_are_prompts_and_people(tmp_path: Path) -> None:
    """The same, on the ladder: one person of four is of another opinion everywhere."""
    rows = [
        ranking(i, f"w{j}", {"learn.start": 3, "learn.sft": 2 - (j == 0), "learn.ppo": 1 + (j == 0)})
        for i in range(10)
        for j in range(4)
    ]
    found = measure(tmp_path, rows)
    gap = found["elo_ppo"] - found["elo_sft"]
    assert gap > 100 and found["elo_ppo_low"] < found["elo_sft_high"]
    assert found["elo_ppo_high"] - found["elo_ppo_low"] > gap
