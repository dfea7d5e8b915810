"""The reward model on a small random model against the same training written out on plain transformers
models."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from biddable.learn import batches, reward
from biddable.learn.negatives import draw_negatives
from biddable.learn.reward_accuracy import accuracy_summary, accuracy_tables, share_interval
from biddable.learn.training import derive_seed, epoch_order
from biddable.model import checkpoints
from biddable.model.packing import Tree
from biddable.run.config import UserError
from biddable.run.records import Answer, Message
from tests.learn import plain

pytestmark = pytest.mark.usefixtures("fp32")

A = [plain.answer(50 + i, *(60 + i * j for j in range(i + 1)), 2) for i in range(5)]
RANKINGS = [
    plain.comparison(0, "train", A[:4], (1, 2, 2, 4), "l1"),
    plain.comparison(0, "train", A[:4], (2, 1, 3, 4), "l2"),  # the same answers once more: one batch element
    plain.comparison(1, "train", A[1:3], (2, 1)),
    plain.comparison(2, "train", A[2:5], (1, 1, 1)),  # all tie: nothing to learn, but it counts as a prompt
    plain.comparison(3, "train", [A[4], A[0]], (1, 2)),
    plain.comparison(4, "valid", A[:3], (3, 1, 2), "l1"),
    plain.comparison(4, "valid", A[:3], (1, 1, 2), "l2"),
    plain.comparison(5, "valid", A[2:4], (1, 2)),
]
HELD_OUT = [
    plain.comparison(5, "valid", A[2:4], (2, 1), "h1"),
    plain.comparison(6, "valid", A[:2], (1, 2), "h1"),
    plain.comparison(0, "train", A[:2], (1, 2), "h1"),  # a training prompt measures nothing
]
DEMONSTRATIONS = [
    plain.demonstration(0, "train", plain.answer(50, 61, 2)),
    plain.demonstration(7, "valid", Answer(text="a fox", model="person")),
    plain.demonstration(8, "test", plain.answer(81, 82, 83, 2)),
]
SETTINGS: dict[str, Any] = {
    "epochs": 2,
    "batch": 3,
    "learning_rate": 2e-3,
    "head_learning_rate": 1e-2,
    "head_std": 0.05,
    "warmup": 3,
    "weight_decay": 0.1,
    "clip_norm": 0.3,
}


def run(folder: Path, start: Path, rankings: list[Any] = RANKINGS, **settings: Any) -> Any:
    context = plain.make_context(folder / "learn.reward", "learn.reward")
    facts = {"agreement": 0.7, "agreement_low": 0.6, "labelers": 2}
    data = plain.write(folder / "comparisons", "comparisons.jsonl", rankings, facts)
    demonstrations = plain.write(folder / "demonstrations", "demonstrations.jsonl", DEMONSTRATIONS)
    held_out = plain.write(folder / "held_out", "comparisons.jsonl", HELD_OUT)
    inputs: dict[str, Any] = {"demonstrations": demonstrations, "held_out": held_out}
    reward.run(reward.Config(policy=start, comparisons=data, **(inputs | SETTINGS | settings)), context)
    return context


def plain_loss(scores: list[torch.Tensor], ranks: tuple[int, ...], ties: str) -> torch.Tensor:
    """1/C(K, 2) times the sum over pairs of -log σ(better - worse); a tie is dropped or has the target one
    half."""
    total = torch.zeros(())
    for i, j in itertools.combinations(range(len(ranks)), 2):
        if ranks[i] == ranks[j]:
            if ties == "even":
                both = [torch.sigmoid(scores[i] - scores[j]), torch.sigmoid(scores[j] - scores[i])]
                total = total - (both[0].log() + both[1].log()) / 2
            continue
        better, worse = (i, j) if ranks[i] < ranks[j] else (j, i)
        total = total - torch.sigmoid(scores[better] - scores[worse]).log()
    return total / math.comb(len(ranks), 2)


def plain_training(start: Path, ties: str) -> tuple[plain.PlainScorer, list[dict[str, float]]]:
    network = plain.load(start)
    branch = plain.branch(network)
    generator = torch.Generator().manual_seed(derive_seed("head", 1))
    head = (torch.randn(64, generator=generator) * 0.05).requires_grad_(True)
    scorer = plain.PlainScorer(network, head, torch.zeros(()))
    adam, head_adam, rows = plain.Adam(branch, decay=0.1), plain.Adam([head]), []
    elements = [RANKINGS[:2], RANKINGS[2:3], RANKINGS[3:4], RANKINGS[4:5]]
    for step in range(4):  # four prompts in batches of three: two updates an epoch
        epoch, at = divmod(step, 2)
        batch = [elements[i] for i in epoch_order(4, 1, epoch)[3 * at : 3 * at + 3]]
        loss, right, pairs = torch.zeros(()), 0.0, 0
        for element in batch:
            prompt = plain.encode(start, element[0].prompt)
            scores = [scorer.score(prompt, a.tokens) for a in element[0].answers]
            loss = loss + sum(plain_loss(scores, row.ranks, ties) for row in element) / len(element)
            for row in element:
                for i, j in itertools.permutations(range(len(row.ranks)), 2):
                    if row.ranks[i] < row.ranks[j]:
                        pairs, right = pairs + 1, right + float(scores[i] > scores[j])
        (loss / len(batch)).backward()
        rate = plain.cosine(step, 4, 2e-3) * min(1, (step + 1) / 3)
        norm = adam.step(rate, 0.3)
        head_adam.step(rate * 5, 0.3)
        mean = loss.item() / len(batch)
        rows.append(
            {"loss": mean, "accuracy": right / max(pairs, 1), "learning_rate": rate, "grad_norm": norm}
        )
    return scorer, rows


@pytest.mark.parametrize("ties", ["drop", "even"])
def test_every_update(tmp_path: Path, models: tuple[Path, Path], ties: Any) -> None:
    start, _ = models
    context = run(tmp_path, start, ties=ties, microbatch_tokens=64)
    expected, rows = plain_training(start, ties)
    measured = plain.metrics(context)
    assert [row.pop("step") for row in measured] == [1, 2, 3, 4]
    for ours, theirs in zip(measured, rows, strict=True):
        assert ours == pytest.approx(theirs, rel=2e-4)
    saved = plain.load_scorer(tmp_path / "learn.reward")
    plain.same_weights(saved.network.model, expected.network.model)
    torch.testing.assert_close(saved.weight, expected.weight.detach(), atol=2e-6, rtol=0)
    plain.only_the_branch_changed(saved.network.model, plain.load(start).model)
    assert (context.summary["rankings"], context.summary["steps"]) == (5, 4)
    assert context.summary["pairs"] == 5 + 6 + 1 + 0 + 1
    assert (context.summary["agreement"], context.summary["agreement_low"]) == (0.7, 0.6)
    assert "labelers" not in context.summary


def test_demonstrations_score_0_on_average(tmp_path: Path, models: tuple[Path, Path]) -> None:
    start, _ = models
    context = run(tmp_path / "bias", start)
    scorer = plain.load_scorer(tmp_path / "bias" / "learn.reward")
    person = [*plain_tokens(start, "a fox"), 2]
    answers = [[50, 61, 2], person, [81, 82, 83, 2]]
    scores = [
        scorer.score(plain.encode(start, d.prompt), a).item()
        for d, a in zip(DEMONSTRATIONS, answers, strict=True)
    ]
    assert sum(scores) / 3 == pytest.approx(0, abs=1e-5)
    assert max(map(abs, scores)) > 1e-3
    assert scorer.bias.item() == pytest.approx(context.summary["bias"])
    context = run(tmp_path / "none", start, demonstrations=None)
    assert context.summary["bias"] == 0 == plain.load_scorer(tmp_path / "none" / "learn.reward").bias.item()


def plain_tokens(start: Path, text: str) -> list[int]:
    from transformers import AutoTokenizer

    return list(AutoTokenizer.from_pretrained(start / "model").encode(text, add_special_tokens=False))


def test_accuracy_on_strangers_to_the_training(tmp_path: Path, models: tuple[Path, Path]) -> None:
    """Recomputed from plain scores of the saved model: counts, loss and intervals, for the split valid and
    for held-out labelers."""
    start, _ = models
    context = run(tmp_path, start)
    scorer = plain.load_scorer(tmp_path / "learn.reward")
    for name, rows in (("valid", RANKINGS[5:]), ("held_out_labelers", HELD_OUT[:2])):
        margins: dict[str, list[float]] = {}
        for row in rows:
            prompt = plain.encode(start, row.prompt)
            scores = [scorer.score(prompt, a.tokens).item() for a in row.answers]
            margins.setdefault(row.prompt.id, []).extend(
                scores[i] - scores[j]
                for i, j in itertools.permutations(range(len(scores)), 2)
                if row.ranks[i] < row.ranks[j]
            )
        flat = [m for part in margins.values() for m in part]
        assert context.summary[f"pairs_{name}"] == len(flat)
        assert context.summary[f"accuracy_{name}"] == pytest.approx(sum(m > 0 for m in flat) / len(flat))
        loss = sum(math.log(1 + math.exp(-m)) for m in flat) / len(flat)
        assert context.summary[f"loss_{name}"] == pytest.approx(loss, rel=1e-4)
        low, high = context.summary[f"accuracy_{name}_low"], context.summary[f"accuracy_{name}_high"]
        assert 0 <= low <= context.summary[f"accuracy_{name}"] <= high <= 1


def test_equal_scores_count_half() -> None:
    """Prompt 0: margins 1 and 0; prompt 1: -1, -1, -2. In order 1.5 of 5."""
    rows = [
        plain.comparison(0, "valid", A[:2], (1, 2)),
        plain.comparison(0, "valid", A[:2], (1, 2), "l2"),
        plain.comparison(1, "valid", A[:3], (3, 2, 1)),
    ]
    scores = [np.array([2.0, 1.0]), np.array([1.0, 1.0]), np.array([3.0, 2.0, 1.0])]
    summary = accuracy_summary(rows, scores, "x")
    assert (summary["accuracy_x"], summary["pairs_x"]) == (1.5 / 5, 5)
    log = [math.log(1 + math.exp(-m)) for m in (1, 0, -1, -1, -2)]
    assert summary["loss_x"] == pytest.approx(sum(log) / 5)


def test_a_large_margin_the_wrong_way_has_a_finite_loss() -> None:
    """-log sigmoid(-800) is 800, although exp(800) is no number."""
    row = plain.comparison(0, "valid", A[:2], (2, 1))
    summary = accuracy_summary([row], [np.array([800.0, 0.0], dtype=np.float32)], "x")
    assert summary["loss_x"] == pytest.approx(800)


def test_the_interval_by_hand() -> None:
    """Two prompts, each ranked by the same two labelers; 3 of 4 pairs in order. Each moves the share by 1/16
    or -3/16. Prompts sum to -1/8 and 1/8: variance 2 (1/64 + 1/64) = 1/16. Labelers likewise 1/16, rankings 4/3 (3
    + 9)/256 = 1/16. Together 1/16: as good as 3 independent pairs, with half a degree of freedom, so one."""
    low, high = share_interval(
        np.array([1.0, 0, 1, 1]), np.ones(4), ["p", "p", "q", "q"], ["a", "b", "a", "b"]
    )
    t, n, share = 12.7062, 3.0, 0.75  # the 0.975 quantile of Student's t with one degree of freedom
    half = t * math.sqrt(share * (1 - share) / n + t**2 / (4 * n**2)) / (1 + t**2 / n)
    centre = (share + t**2 / (2 * n)) / (1 + t**2 / n)
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=1e-5)


def test_nothing_wrong_in_nine_prompts_is_no_certainty() -> None:
    """Wilson for 9 of 9: from 9 / (9 + 1.96^2) = 0.70."""
    low, high = share_interval(np.ones(9), np.ones(9), [str(i) for i in range(9)], ["l"] * 9)
    assert low == pytest.approx(9 / (9 + 1.96**2), abs=1e-6) and high == pytest.approx(1)


def test_intervals_cover_what_new_labelers_would_say() -> None:
    """Six labelers with a taste of their own, one label a prompt: 95 % intervals must hold the population's
    accuracy in about 95 % of 1,000 made-up data sets. Counting prompts only they hold it in less than 85 %."""
    random = np.random.default_rng(3)
    prompts, labelers = [f"p{i}" for i in range(240)], [f"l{i % 6}" for i in range(240)]
    covered, by_prompt_only = 0, 0
    for _ in range(1000):
        taste = np.clip(random.normal(0.7, 0.09, size=6), 0, 1)
        in_order = (random.random(240) < np.tile(taste, 40)).astype(float)
        low, high = share_interval(in_order, np.ones(240), prompts, labelers)
        covered += low <= 0.7 <= high
        low, high = share_interval(in_order, np.ones(240), prompts, ["one"] * 240)
        by_prompt_only += low <= 0.7 <= high
    assert 930 <= covered <= 985
    assert by_prompt_only < 850


def test_tables_by_hand() -> None:
    """Five pairs with margins 1, -2, 3, 4, 5: one in each fifth but for the edges, which both neighbours
    hold."""
    rows = [plain.comparison(i, "valid", [A[0], A[3]], (1, 2)) for i in range(5)]
    scores = [np.array([m, 0.0]) for m in (1.0, -2.0, 3.0, 4.0, 5.0)]
    tables = accuracy_tables(rows, scores)
    # the fifths' edges: 1, 1.8, 2.6, 3.4, 4.2, 5
    by_margin = tables["accuracy_by_margin"]
    assert [row["margin"] for row in by_margin] == [1, 2, 3, 4, 5]
    assert [row["accuracy"] for row in by_margin] == [1, 0, 1, 1, 1]
    assert [row["pairs"] for row in by_margin] == [1] * 5
    predicted = [row["predicted"] for row in tables["calibration"]]
    assert predicted == pytest.approx([1 / (1 + math.exp(-m)) for m in (1, 2, 3, 4, 5)])
    assert [row["observed"] for row in tables["calibration"]] == [1, 0, 1, 1, 1]
    # A[0] has 3 tokens, A[3] has 6: lengths -1.5, 1.5 in every prompt; scores m/2, -m/2 around their means
    halves = [m / 2 for m in (1, -2, 3, 4, 5)]
    expected = -sum(halves) / 5 / math.sqrt(sum(h * h for h in halves) / 5)
    assert tables["length_correlation"] == pytest.approx(expected)
    flat = np.array([1, 0, -2, 0, 3, 0, 4, 0, 5, 0.0])
    assert tables["score_std"] == pytest.approx(math.sqrt(((flat - flat.mean()) ** 2).mean()))


def test_equal_trees_go_through_the_network_once(models: tuple[Path, Path]) -> None:
    from biddable.model import checkpoints

    scorer = checkpoints.load_scorer(models[1]).freeze()
    trees = [Tree((5, 6), ((7, 8), (9,))), Tree((5,), ((7,), (9,))), Tree((5, 6), ((7, 8), (9,)))]
    real, sizes = scorer.scores, []
    scorer.scores = lambda packed: sizes.append(len(packed.last)) or real(packed)  # type: ignore[method-assign,func-returns-value]
    scores = reward.score_trees(scorer, trees, 4096)
    assert sizes == [4]
    peer = plain.load_scorer(models[1])
    for row, tree in zip(scores, trees, strict=True):
        assert row.tolist() == pytest.approx(
            [peer.score(list(tree.prompt), list(a)).item() for a in tree.answers], abs=1e-5
        )


def test_a_broken_run_goes_on_to_the_same_weights(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, _ = models
    run(tmp_path / "straight", start)
    real, calls = reward.accumulate_gradient, []

    def dies(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(reward, "accumulate_gradient", dies)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", start, checkpoint_seconds=0)
    run(tmp_path / "broken", start, checkpoint_seconds=0)
    assert len(calls) == 3 + 2
    for name in ("model.safetensors", "head.safetensors"):
        ours, theirs = (tmp_path / f / "learn.reward/model" / name for f in ("broken", "straight"))
        assert ours.read_bytes() == theirs.read_bytes()


def test_what_cannot_train_or_measure_is_refused(tmp_path: Path, models: tuple[Path, Path]) -> None:
    start, _ = models
    tied = [plain.comparison(0, s, A[:2], (1, 1), "h1") for s in ("train", "valid")]
    with pytest.raises(UserError) as refusal:
        run(tmp_path, start, tied)
    assert refusal.value.lines == [
        "[learn.reward] comparisons: no ranking on a prompt of the split train prefers one answer to another",
        "[learn.reward] comparisons: no ranking on a prompt of the split valid prefers one answer to another",
        "[learn.reward] held_out: labelers h1 also gave training data",
    ]
    long = plain.answer(*range(3, 380), *range(3, 150))
    with pytest.raises(UserError, match=r"^\[learn.reward\] prompt p1: \d+ tokens, but -\d+ fit"):
        run(tmp_path, start, [*RANKINGS, plain.comparison(1, "train", [A[0], long], (1, 2))])


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("cached", [False, True])
def test_a_ranking_longer_than_the_room_gives_the_same_gradient(
    models: tuple[Path, Path], cached: bool
) -> None:
    """Three answers in one forward, or each alone behind its prompt, twice: the loss needs their scores
    only."""
    trees = [
        Tree(tuple(range(3, 13)), (tuple(range(20, 29)), (30, 31, 32), tuple(range(40, 52)))),
        Tree((7, 8), ((50, 51), (60,))),
    ]
    ranks = [[(1, 3, 2), (2, 1, 3)], [(2, 1)]]
    results = []
    for tokens in (1000, 20):
        scorer = checkpoints.load_scorer(models[1])
        rows = batches.cache_trunk_outputs(scorer.trunk, trees, 1.0) if cached else trees
        numbers = reward.accumulate_gradient(scorer, rows, ranks, "drop", tokens)
        gradients = [p.grad.flatten() for p in scorer.parameters() if p.grad is not None]
        results.append((numbers, torch.cat(gradients)))
    (numbers, gradient), (parts_numbers, parts_gradient) = results
    assert parts_numbers == pytest.approx(numbers, abs=1e-6)
    assert gradient.abs().max() > 1e-3
    torch.testing.assert_close(parts_gradient, gradient, atol=1e-6, rtol=1e-5)


def plain_preference(
    scores: list[torch.Tensor], ranks: tuple[int, ...], elo: float, weight: float
) -> torch.Tensor:
    """Softmax over shown and negatives, pairs with the best, and the squared mean; ties at the top: any."""
    best = [s for s, rank in zip(scores, ranks, strict=False) if rank == min(ranks)]
    rest = [s for s, rank in zip(scores, ranks, strict=False) if rank != min(ranks)]
    total = -(sum(s.exp() for s in best) / sum(s.exp() for s in scores)).log()
    pairs = [-torch.sigmoid(b - r).log() for b in best for r in rest]
    total = total + elo * (sum(pairs) / len(pairs) if pairs else 0.0)
    return total + weight * (sum(scores) / len(scores)) ** 2


def test_every_update_of_the_preference_model(tmp_path: Path, models: tuple[Path, Path]) -> None:
    start, _ = models
    settings = {"loss": "softmax", "negatives": 2, "elo_weight": 0.5, "centre_weight": 0.1}
    context = run(tmp_path, start, off_topic_each=3, **settings)
    groups = reward.group_rankings([row for row in RANKINGS if row.prompt.split == "train"])
    negatives = draw_negatives([group[0] for group in groups], 2, 1)
    network = plain.load(start)
    head = torch.randn(64, generator=torch.Generator().manual_seed(derive_seed("head", 1))) * 0.05
    head, bias = head.requires_grad_(True), torch.zeros((), requires_grad=True)
    scorer = plain.PlainScorer(network, head, bias)
    adam, head_adam = plain.Adam(plain.branch(network), decay=0.1), plain.Adam([head, bias])
    for step, logged in enumerate(plain.metrics(context)):
        epoch, at = divmod(step, 2)
        loss = torch.zeros(())
        batch = epoch_order(4, 1, epoch)[3 * at : 3 * at + 3]
        for i in batch:
            ids = plain.encode(start, groups[i][0].prompt)
            answers = (*groups[i][0].answers, *negatives[i])
            scores = [scorer.score(ids, answer.tokens or ()) for answer in answers]
            for row in groups[i]:
                part = plain_preference(scores, row.ranks, 0.5, 0.1)
                loss = loss + part / len(groups[i]) / len(batch)
        loss.backward()
        rate = plain.cosine(step, 4, 2e-3) * min(1, (step + 1) / 3)
        norm = adam.step(rate, 0.3)
        head_adam.step(5 * rate, 0.3)
        assert (logged["loss"], logged["grad_norm"]) == pytest.approx((loss.item(), norm), rel=1e-3)
    saved = plain.load_scorer(tmp_path / "learn.reward")
    plain.same_weights(saved.network.model, network.model)
    # the measure: three answers to other dialogues beside each ranking of the split valid
    valid = [row for row in RANKINGS if row.prompt.split == "valid"]
    off_topic = draw_negatives(valid, 3, 1)
    below, shown_scores = [], []
    for row, others in zip(valid, off_topic, strict=True):
        ids = plain.encode(start, row.prompt)
        with torch.no_grad():
            shown = [saved.score(ids, a.tokens or ()).item() for a in row.answers]
            below += [saved.score(ids, a.tokens or ()).item() < min(shown) for a in others]
        shown_scores += shown
    assert context.summary["off_topic"] == 9
    assert context.summary["off_topic_below"] == pytest.approx(np.mean(below))
    trained = context.summary["score_shown"] + context.summary["bias"] - bias.item()
    assert np.mean(shown_scores) == pytest.approx(trained, abs=1e-4)  # measured before demonstrations are 0


def test_demonstrations_or_the_trained_bias_set_the_level(tmp_path: Path, models: tuple[Path, Path]) -> None:
    context = run(tmp_path, models[0], loss="softmax", centre_weight=5.0, demonstrations=None)
    assert context.summary["bias"] != 0
    assert run(tmp_path / "pairs", models[0], demonstrations=None).summary["bias"] == 0


def test_negatives_never_come_from_the_same_dialogue() -> None:
    def turn(number: int, dialogue: str, words: str) -> Any:
        messages = (
            Message(role="user", content=dialogue),
            *(
                [Message(role="assistant", content="yes"), Message(role="user", content=words)]
                if words
                else []
            ),
        )
        row = plain.comparison(
            number, "train", [Answer(text=f"{dialogue} {number} {k}", model="m") for k in range(3)], (1, 2, 3)
        )
        prompt = row.prompt.model_copy(update={"messages": messages})
        return row.model_copy(update={"prompt": prompt})

    rows = [turn(n, f"d{n // 3}", "" if n % 3 == 0 else f"turn {n}") for n in range(30)]
    drawn = draw_negatives(rows, 5, 1)
    for row, answers in zip(rows, drawn, strict=True):
        assert len({answer.text for answer in answers}) == 5
        assert all(answer.text.split()[0] != row.prompt.messages[0].content for answer in answers)
    assert drawn == draw_negatives(rows, 5, 1) != draw_negatives(rows, 5, 2)
    assert len({answer.text for answers in drawn for answer in answers}) > 30
    # the same words in another dialogue are no negative
    same = [rows[0], rows[3].model_copy(update={"answers": rows[0].answers}), rows[6]]
    assert {a.text.split()[0] for a in draw_negatives(same, 4, 1)[0]} == {"d2"}
    with pytest.raises(UserError, match="prompt p0 has no answers to other dialogues beside it"):
        draw_negatives(rows[:3], 1, 1)


def test_only_the_softmax_has_negatives(tmp_path: Path, models: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=r'\[learn.reward\] negatives = 2: only loss = "softmax" has them'):
        run(tmp_path, models[0], negatives=2)
