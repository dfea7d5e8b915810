"""The sampler: true draws, refilled slots, answers that do not depend on their neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from biddable.model import checkpoints
from biddable.model import prefill as prefill_module
from biddable.model import sampler as sampler_module
from biddable.model.draw import draw, likeliest
from biddable.model.packing import Tree, pack
from biddable.model.prefill import prefill
from biddable.model.sampler import Generation, Request, Sampler, sample

pytestmark = pytest.mark.usefixtures("fp32")


def requests(count: int, length: int = 12) -> list[Request]:
    return [
        Request(tuple(range(5 + i % 7, 15 + i % 7 + i % 3)), 100 + i, 1 + (length + 5 * i) % 17)
        for i in range(count)
    ]


@pytest.mark.parametrize("trunk", [0, 2])
def test_alone_equals_in_company_in_any_order_with_any_number_of_slots(tiny_folder: Path, trunk: int) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=trunk).freeze()
    asked = requests(9)
    eos = frozenset({2})
    alone = [sample(policy, [one], eos)[0] for one in asked]
    for slots in (1, 2, 4, 9):
        assert [one.tokens for one in sample(policy, asked, eos, slots)] == [one.tokens for one in alone]
    backwards = sample(policy, asked[::-1], eos, 3)[::-1]
    assert [one.tokens for one in backwards] == [one.tokens for one in alone]


@pytest.mark.parametrize("trunk", [0, 2])
def test_log_probabilities_and_trunk_outputs_are_those_of_a_forward(tiny_folder: Path, trunk: int) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=trunk)
    asked = requests(7)
    got = sample(policy.freeze(), asked, frozenset({2}), 3, keep_trunk=True)
    trees = [Tree(r.prompt, (g.tokens,)) for r, g in zip(asked, got, strict=True)]
    packed = pack(trees)
    logp = policy.logp(packed)[0]
    torch.testing.assert_close(torch.tensor([v for g in got for v in g.logp]), logp, atol=1e-5, rtol=0)
    if trunk:
        hidden = policy.trunk(packed)
        for number, one in enumerate(got):
            row, columns = (packed.tree == number).nonzero(as_tuple=True)
            assert one.hidden is not None and hidden is not None
            torch.testing.assert_close(one.hidden, hidden[row, columns], atol=1e-5, rtol=0)
        kept = pack(
            [
                Tree(t.prompt, t.answers, (g.hidden,))
                for t, g in zip(trees, got, strict=True)
                if g.hidden is not None
            ]
        )
        torch.testing.assert_close(policy.logp(kept)[0], logp, atol=1e-5, rtol=0)


def test_end_token_is_in_the_answer_and_finishes_it_although_pad_is_the_same_id(tiny_folder: Path) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=2).freeze()
    words = checkpoints.tokenizer(tiny_folder)
    assert words.pad_token_id == words.eos_token_id
    got = sample(
        policy, [Request((5, 6, 7), s, 60, temperature=3.0) for s in range(60)], frozenset(range(0, 384, 9))
    )
    assert {one.finish for one in got} == {"stop", "length"}
    for one in got:
        ends = [token % 9 == 0 for token in one.tokens]
        assert not any(ends[:-1]) and ends[-1] == (one.finish == "stop")
        assert len(one.tokens) == 60 or one.finish == "stop"


def test_draws_follow_the_softmax() -> None:
    """300 words (more than one block of 256), 40,000 draws: every frequency within 5 standard errors of its
    probability."""
    logits = torch.randn(1, 300, generator=torch.Generator().manual_seed(1)) * 2
    count = 40_000
    uniforms = torch.from_numpy(np.random.default_rng(0).random(count, dtype=np.float32))
    tokens, logp = draw(logits.expand(count, -1).clone(), uniforms, torch.ones(count), torch.ones(count))
    probability = logits.softmax(-1)[0]
    frequency = torch.bincount(tokens, minlength=300) / count
    assert (
        (frequency - probability).abs() <= 5 * (probability * (1 - probability) / count).sqrt() + 1e-4
    ).all()
    torch.testing.assert_close(logp, logits.log_softmax(-1)[0][tokens])


def test_temperature_and_top_p_shape_draws_but_not_the_log_probability() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).expand(1000, -1).clone()
    uniforms = torch.linspace(0, 0.999, 1000)
    cold, logp = draw(logits, uniforms, torch.zeros(1000), torch.ones(1000))
    assert set(cold.tolist()) == {0} and logp[0].exp().item() == pytest.approx(0.5)
    nucleus, logp = draw(logits, uniforms, torch.ones(1000), torch.full((1000,), 0.7))
    assert set(nucleus.tolist()) == {0, 1}  # 0.5 < 0.7 <= 0.5 + 0.3
    assert logp[nucleus == 1][0].exp().item() == pytest.approx(0.3)
    warm, _ = draw(logits, uniforms, torch.full((1000,), 2.0), torch.ones(1000))
    root = torch.tensor([0.5, 0.3, 0.15, 0.05]).sqrt()
    assert (warm == 3).float().mean().item() == pytest.approx(float(root[3] / root.sum()), abs=0.01)


def test_answers_to_one_prompt_share_its_prefill(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=2).freeze()
    seen: list[int] = []
    original = prefill_module.pack
    monkeypatch.setattr(
        prefill_module,
        "pack",
        lambda trees, row_tokens: seen.append(len(trees)) or original(trees, row_tokens),
    )
    got = sample(
        policy,
        [Request((5, 6, 7), s, 5) for s in range(6)] + [Request((9, 6), s, 5) for s in range(3)],
        frozenset(),
    )
    assert sum(seen) == 2
    assert len({one.tokens for one in got[:6]}) > 1


@pytest.mark.parametrize("trunk", [0, 2])
def test_prompts_that_begin_alike_run_their_beginning_once(
    tiny_folder: Path, trunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As alone: keys, values, logits, trunk outputs; also over several rows, and when one prompt is the
    beginning of another."""
    policy = checkpoints.load_policy(tiny_folder, trunk=trunk).freeze()
    common = tuple(range(20, 40))
    prompts = [common + tuple(range(5, 6 + i)) for i in range(9)] + [common]
    monkeypatch.setattr(prefill_module, "FAMILY_TOKENS", 32)
    run: list[int] = []
    original = prefill_module.pack
    monkeypatch.setattr(
        prefill_module,
        "pack",
        lambda trees, row_tokens: run.append(sum(map(len, trees))) or original(trees, row_tokens),
    )
    together = prefill(policy, prompts, True)
    alone = [prefill(policy, [prompt], True)[0] for prompt in prompts]
    # of 20 common tokens the shortest prompt keeps one; the others' 2 to 10 and its 1 stand in six rows of
    # 32: 6 · 19 + 55 of 245 tokens
    assert run[0] == 169 and sum(map(len, prompts)) == 245
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.logits, other.logits, atol=1e-5, rtol=0)
        assert (one.hidden is None) == (other.hidden is None) == (trunk == 0)
        if one.hidden is not None:
            torch.testing.assert_close(one.hidden, other.hidden, atol=1e-5, rtol=0)
        for mine, theirs in zip(one.trunk + one.branch, other.trunk + other.branch, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)
    asked = [Request(prompt, i, 9) for i, prompt in enumerate(prompts)]
    assert [a.tokens for a in sample(policy, asked, frozenset({2}), 4)] == [
        sample(policy, [r], frozenset({2}))[0].tokens for r in asked
    ]


def test_impossible_requests_are_refused() -> None:
    for wrong in ({"prompt": ()}, {"max_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}):
        with pytest.raises(ValueError, match="a request needs"):
            Request(**{"prompt": (1,), "seed": 1, "max_tokens": 3, **wrong})


def reference_draw(
    logits: list[float], uniform: float, temperature: float, top_p: float
) -> tuple[int, float]:
    """Nucleus and inverse CDF, word by word in double precision -> the token, and how near the draw was to
    another."""
    weights = np.exp((np.array(logits, dtype=np.float64) - max(logits)) / temperature)
    probabilities = weights / weights.sum()
    nucleus, total = set(), 0.0
    for token in sorted(range(len(logits)), key=lambda token: -probabilities[token]):
        if total >= top_p:
            break
        nucleus.add(token)
        total += probabilities[token]
    below = 0.0
    for token in range(len(logits)):
        if token in nucleus:
            share = probabilities[token] / total
            if uniform < below + share:
                return token, min(uniform - below, below + share - uniform)
            below += share
    raise AssertionError("uniforms are below 1")


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("top_p", [0.3, 0.9, 1.0])
def test_draws_equal_an_independent_implementation(temperature: float, top_p: float) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(80, 600, generator=generator) * 2
    uniforms = torch.rand(80, generator=generator)
    tokens, logp = draw(logits, uniforms, torch.full((80,), temperature), torch.full((80,), top_p))
    sure = 0
    for row in range(80):
        token, margin = reference_draw(logits[row].tolist(), float(uniforms[row]), temperature, top_p)
        if margin > 1e-5:  # nearer than that, fp32 may decide otherwise
            sure += 1
            assert int(tokens[row]) == token
    assert sure > 60
    torch.testing.assert_close(logp, logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0])


def test_rows_of_one_batch_keep_their_own_settings() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.6, 0.3]])).expand(3, -1).clone()
    tokens, _ = draw(
        logits, torch.full((3,), 0.95), torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1.0, 1.0, 0.6])
    )
    assert tokens.tolist() == [2, 1, 1]


def test_likeliest_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2], [0.2, 0.3, 0.5]]))
    first, second, third = likeliest(logits, [2, 0, 1])
    assert [token for token, _ in first] == [1, 2] and second == ()
    assert [np.exp(logp) for _, logp in first] == pytest.approx([0.5, 0.3])
    assert third[0][0] == 2 and len(third) == 1
    assert likeliest(logits, [0, 0, 0]) == [(), (), ()]


def run(sampler: Sampler) -> None:
    while sampler.busy:
        sampler.admit()
        sampler.step()


@pytest.mark.parametrize("trunk", [0, 2])
def test_who_goes_away_frees_a_row_and_the_last_moves_into_it(tiny_folder: Path, trunk: int) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=trunk).freeze()
    listed = [Request(tuple(range(5 + i, 15 + 2 * i)), i, 20) for i in range(4)]
    expected = [one.tokens for one in sample(policy, listed, frozenset())]
    sampler = Sampler(policy, frozenset(), 4)
    generations = [sampler.add(request) for request in listed]
    assert [draw.generation for draw in sampler.admit()] == generations
    sampler.step()
    sampler.cancel(generations[1])
    assert sampler.rows == [generations[0], None, *generations[2:]] and sampler.free == 1
    sampler.step()
    assert sampler.rows == [generations[0], generations[3], generations[2]] and generations[3].row == 1
    run(sampler)
    assert sampler.live == [] and sampler.take_completed() == [generations[i] for i in (0, 3, 2)]
    assert [tuple(generations[i].tokens) for i in (0, 2, 3)] == [expected[i] for i in (0, 2, 3)]
    assert len(generations[1].tokens) == 2


def test_a_freed_row_goes_to_the_first_who_waits(tiny_folder: Path) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=2).freeze()
    sampler = Sampler(policy, frozenset(), 2)
    first, second, third, fourth = (sampler.add(Request((5, 6, 7 + i), i, 9)) for i in range(4))
    sampler.admit()
    assert sampler.rows == [first, second] and list(sampler.waiting) == [third, fourth]
    assert sampler.admit() == []
    sampler.cancel(third)
    sampler.cancel(first)
    assert sampler.admit()[0].generation is fourth
    assert sampler.rows == [fourth, second] and not sampler.waiting
    run(sampler)
    assert sampler.take_completed() == [fourth, second] and sampler.take_completed() == []
    assert tuple(fourth.tokens) == sample(policy, [fourth.request], frozenset())[0].tokens
    with pytest.raises(ValueError, match="has not ended"):
        first.answer()


def test_an_answer_ended_from_outside_keeps_its_tokens(tiny_folder: Path) -> None:
    """Without trunk outputs its row is free at once; with them it stays for one step and then has one for
    each token."""
    policy = checkpoints.load_policy(tiny_folder, trunk=2).freeze()
    sampler = Sampler(policy, frozenset(), 2)
    plain, scored = sampler.add(Request((5, 6), 1, 9)), sampler.add(Request((5, 6, 7), 2, 9), keep_trunk=True)
    sampler.admit()
    sampler.step()
    for generation in (plain, scored):
        sampler.finish(generation, "stop")
    assert sampler.take_completed() == [plain] and sampler.live == [scored]
    assert sampler.step() == []
    assert sampler.take_completed() == [scored]
    answer = scored.answer()
    assert (len(answer.tokens), answer.finish) == (2, "stop") and len(plain.answer().tokens) == 2
    assert answer.hidden is not None and answer.hidden.shape == (3 + 2, 64)
    assert plain.answer().hidden is None
    expected = policy.trunk(pack([Tree((5, 6, 7), (answer.tokens,))]))
    assert expected is not None
    torch.testing.assert_close(answer.hidden, expected[0], atol=1e-5, rtol=0)


def test_the_end_token_may_be_the_last_one_allowed(tiny_folder: Path) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=2).freeze()
    tokens = sample(policy, [Request((5, 6, 7), 3, 6)], frozenset())[0].tokens
    assert len(tokens) == 6
    last = frozenset({tokens[-1]}) - set(tokens[:-1])
    assert last
    ended = sample(policy, [Request((5, 6, 7), 3, 6)], last)[0]
    assert ended.tokens == tokens and ended.finish == "stop"
    cut = sample(policy, [Request((5, 6, 7), 3, 4)], last)[0]
    assert cut.tokens == tokens[:4] and cut.finish == "length"
    assert sample(policy, [Request((5, 6, 7), 3, 1)], last)[0].tokens == tokens[:1]


def test_the_cache_grows_while_answers_are_under_way(tiny_folder: Path) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=2).freeze()
    listed = [Request(tuple(range(5, 9 + i)), i, 10 + 9 * i) for i in range(7)]
    sampler = Sampler(policy, frozenset(), 7, rows=1, length=8)
    generations = []
    for request in listed:
        generations.append(sampler.add(request))
        sampler.admit()
        sampler.step()
    run(sampler)
    assert (sampler.branch_cache.rows, sampler.branch_cache.length) == (8, 128)
    assert [tuple(g.tokens) for g in generations] == [
        one.tokens for one in sample(policy, listed, frozenset())
    ]


def test_one_prefill_holds_so_many_tokens_and_equal_neighbours_wait_for_none(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts of 4 tokens in prefills of 10: two at a time. The third prompt has three answers and there are
    two rows for them: the last answer finds its prompt prefilled."""
    policy = checkpoints.load_policy(tiny_folder, trunk=2).freeze()
    monkeypatch.setattr(sampler_module, "PREFILL_TOKENS", 10)
    sampler = Sampler(policy, frozenset(), 4)
    prompts = [(5, 6, 7, 8), (6, 7, 8, 9), (7, 8, 9, 5), (7, 8, 9, 5), (7, 8, 9, 5)]
    generations = [sampler.add(Request(prompt, i, 3)) for i, prompt in enumerate(prompts)]
    assert [draw.generation for draw in sampler.admit()] == generations[:2]
    assert generations[2].prefilled is None
    assert [draw.generation for draw in sampler.admit()] == generations[2:4]
    assert generations[4].prefilled is not None and generations[4].row is None
    assert all(generation.prefilled is None for generation in generations[:4])
    run(sampler)
    assert [tuple(g.tokens) for g in generations] == [
        one.tokens for one in sample(policy, [g.request for g in generations], frozenset())
    ]


def test_a_step_computes_rows_in_use_only(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=2).freeze()
    sizes: list[int] = []
    original = Sampler._forward

    def counted(self: Sampler, generations: list[Generation]) -> torch.Tensor:
        out = original(self, generations)
        sizes.append(len(out))
        return out

    monkeypatch.setattr(Sampler, "_forward", counted)
    sample(policy, [Request((5, 6, 7), i, n) for i, n in enumerate((1, 2, 3, 5))], frozenset(), slots=4)
    assert sizes == [
        3,
        2,
        1,
        1,
    ]  # after each one's first token from the prefill: 1, 2, 2, ... answers have ended


def test_progress_counts_answers_and_tokens(tiny_folder: Path) -> None:
    policy = checkpoints.load_policy(tiny_folder, trunk=2).freeze()
    calls: list[tuple[int, int]] = []
    requests_ = [Request((5, 6, 7), i, n) for i, n in enumerate((4, 2, 3))]
    sample(
        policy, requests_, frozenset(), 3, progress=lambda answers, tokens: calls.append((answers, tokens))
    )
    assert calls == [(1, 2), (2, 5), (3, 9)]
    assert sample(policy, [], frozenset()) == []


def nucleus_by_numpy(weights: np.ndarray[Any, Any], top_p: float) -> np.ndarray[Any, Any]:
    """The words whose likelier neighbours do not reach top_p, one after the other."""
    inside, before = np.zeros_like(weights), 0.0
    for word in np.argsort(-weights):
        if before >= top_p:
            break
        inside[word] = weights[word]
        before += weights[word]
    return inside if top_p < 1 else weights


@pytest.mark.parametrize("spread", [3.0, 0.01])  # the nucleus lies in the likeliest words, or far beyond them
@pytest.mark.parametrize("vocabulary", [3 * 256, 3 * 256 + 17, 3000])
def test_more_rows_than_are_drawn_together_against_numpy(spread: float, vocabulary: int) -> None:
    """37 rows with every mixture of settings, in double precision and one word after the other."""
    from biddable.model import draw as drawing

    generator = torch.Generator().manual_seed(4)
    rows = 2 * drawing.ROWS + 5
    logits = torch.randn(rows, vocabulary, generator=generator) * spread
    uniforms = torch.rand(rows, generator=generator)
    temperature = torch.tensor([(0.0, 0.7, 1.0)[row % 3] for row in range(rows)])
    top_p = torch.tensor([(1.0, 0.9, 0.3, 1.0)[row % 4] for row in range(rows)])
    tokens, logp = drawing.draw(logits.clone(), uniforms, temperature, top_p)
    exact = logits.double().numpy()
    for row in range(rows):
        shares = np.exp(exact[row]) / np.exp(exact[row]).sum()
        assert float(logp[row]) == pytest.approx(np.log(shares[tokens[row]]), abs=1e-4)
        heat = float(temperature[row])
        if heat == 0:
            assert int(tokens[row]) == exact[row].argmax()
            continue
        weights = np.exp(exact[row] / heat)
        weights = nucleus_by_numpy(weights / weights.sum(), round(float(top_p[row]), 6))
        cumulative = np.cumsum(weights) / weights.sum()
        # the draw's place lies inside the word's step, but for fp32's rounding
        low = cumulative[tokens[row]] - weights[tokens[row]] / weights.sum()
        assert low - 1e-5 <= float(uniforms[row]) <= cumulative[tokens[row]] + 1e-5
        assert weights[tokens[row]] > 0 or spread < 1


def test_top_k_by_hand() -> None:
    """Weights 1, 2, 3, 4: with k = 2 the two largest, 3/7 and 4/7; k = 0 leaves a row as it is; k = 1 takes the
    largest; top-p counts what top-k leaves (0.5 of 3/7 + 4/7 is the largest alone)."""
    logits = torch.tensor([1.0, 2, 3, 4]).log().repeat(5, 1)
    temperatures, k = torch.ones(5), torch.tensor([2.0, 2, 0, 1, 2])
    top_p = torch.tensor([1.0, 1, 1, 1, 0.5])
    uniforms = torch.tensor([0.42, 0.43, 0.05, 0.0, 0.0])
    tokens, logp = draw(logits, uniforms, temperatures, top_p, top_k=k)
    assert tokens.tolist() == [2, 3, 0, 3, 3]
    assert logp.exp().tolist() == pytest.approx([0.3, 0.4, 0.1, 0.4, 0.4])  # of the full distribution


def test_rows_are_drawn_by_their_own_largest_logit() -> None:
    """Rows 300 nats apart: next to the first one's largest logit all weights of the others would be 0."""
    logits = torch.tensor([[0.0, 1.0, 2.0]] * 3) + torch.tensor([[0.0], [-300.0], [300.0]])
    expected = torch.tensor([0.0, 1.0, 2.0]).log_softmax(-1)
    ones = torch.ones(3)
    for uniform, token in ((0.05, 0), (0.2, 1), (0.9, 2)):  # shares 0.09, 0.24, 0.67
        tokens, logp = draw(logits.clone(), torch.full((3,), uniform), ones, ones)
        assert tokens.tolist() == [token] * 3
        torch.testing.assert_close(logp, expected[token].expand(3), atol=1e-4, rtol=0)
