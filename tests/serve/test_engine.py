"""The engine: answers do not depend on company, cancelled clients leave, the best of n is what the scorer
says of the sampled tokens."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from biddable.model import checkpoints
from biddable.model.detokenizer import Detokenizer
from biddable.model.packing import Tree, pack
from biddable.model.rerank import RuleJudge
from biddable.model.sampler import Draw, Generation, Request, sample
from biddable.model.token_bytes import TokenBytes
from biddable.model.trunk import Policy, scorer_from
from biddable.run.rules import load as load_rules
from biddable.serve.engine import batch as batch_module
from biddable.serve.engine import best_of_n
from biddable.serve.engine.batch import ContinuousBatch
from biddable.serve.engine.requests import (
    DeadlineExceeded,
    EngineClosed,
    Job,
    Piece,
    PromptRequest,
    QueueFull,
)
from biddable.serve.engine.thread import Engine

pytestmark = pytest.mark.usefixtures("fp32")
NEVER = frozenset({-1})


class Client:
    """Collects what a job is told."""

    def __init__(self, engine: Engine, requests: list[PromptRequest], seconds: float = 60.0) -> None:
        self.told: queue.SimpleQueue[list[Piece] | Exception] = queue.SimpleQueue()
        self.job = Job(requests, self.told.put, seconds)
        engine.submit("m", self.job)

    def all(self) -> dict[int, tuple[str, list[int], str, float | None]]:
        """Each answer's text, tokens, finish and score, when all have ended."""
        found: dict[int, tuple[str, list[int], str, float | None]] = {}
        left = sum(request.n for request in self.job.requests)
        while left:
            told = self.told.get(timeout=30)
            if isinstance(told, Exception):
                raise told
            for piece in told:
                text, tokens, *_ = found.get(piece.answer, ("", [], "", None))
                ids = tokens + [token.id for token in piece.tokens]
                found[piece.answer] = (text + piece.text, ids, piece.finish or "", piece.score)
                left -= piece.finish is not None
        return found


def prompt_request(prompt: range, seed: int, length: int, **more: Any) -> PromptRequest:
    return PromptRequest(tuple(prompt), more.pop("seeds", (seed,)), more.pop("n", 1), length, **more)


@pytest.fixture
def made(tiny_folder: Path) -> Iterator[Any]:
    """make(trunk, slots, eos, ...) -> engine; all are closed in the end."""
    open_: list[Engine] = []

    def make(
        trunk: int = 2, slots: int = 4, eos: frozenset[int] = NEVER, scorer: Any = None, most: int = 64
    ) -> Engine:
        policy = checkpoints.load_policy(tiny_folder, trunk=trunk)
        batch = ContinuousBatch(
            policy.freeze(), checkpoints.tokenizer(tiny_folder), eos, slots, scorer and scorer(policy)
        )
        open_.append(Engine({"m": batch}, most))
        return open_[-1]

    yield make
    for engine in open_:
        engine.close()


@pytest.mark.parametrize("trunk", [0, 2])
def test_answers_are_the_samplers_whoever_else_is_there(tiny_folder: Path, made: Any, trunk: int) -> None:
    eos = frozenset(range(0, 384, 11))
    asked = [(range(5 + i % 7, 15 + i % 7 + i % 3), 100 + i, 1 + (12 + 5 * i) % 17) for i in range(11)]
    policy = checkpoints.load_policy(tiny_folder, trunk=trunk).freeze()
    alone = sample(policy, [Request(tuple(p), s, n) for p, s, n in asked], eos, 1)
    engine = made(trunk, slots=3, eos=eos)
    clients = [Client(engine, [prompt_request(*one)]) for one in asked]
    for client, one in zip(clients, alone, strict=True):
        text, tokens, finish, _ = client.all()[0]
        assert tuple(tokens) == one.tokens and finish == one.finish
        ids = [t for t in one.tokens if t not in eos]
        assert text == checkpoints.tokenizer(tiny_folder).decode(ids, skip_special_tokens=True)


def test_log_probabilities_are_the_samplers_and_the_likeliest_come_first(
    tiny_folder: Path, made: Any
) -> None:
    told = Client(made(), [prompt_request(range(5, 12), 7, 8, top_logprobs=3)])
    told.all()
    policy = checkpoints.load_policy(tiny_folder, trunk=2)
    other = Client(made(), [prompt_request(range(5, 12), 7, 8, top_logprobs=3)])
    tokens = []
    while not tokens or len(tokens) < 8:
        pieces = other.told.get(timeout=30)
        assert not isinstance(pieces, Exception)
        tokens += [token for piece in pieces for token in piece.tokens]
    logp = policy.logp(pack([Tree(tuple(range(5, 12)), (tuple(t.id for t in tokens),))]))[0]
    torch.testing.assert_close(torch.tensor([t.logp for t in tokens]), logp.detach(), atol=1e-4, rtol=0)
    for token in tokens:
        values = [other.logp for other in token.top]
        assert len(values) == 3 and values == sorted(values, reverse=True) and values[0] >= token.logp - 1e-6


def test_several_answers_share_the_prompt_and_are_numbered_across_orders(made: Any) -> None:
    found = Client(
        made(slots=2),
        [
            prompt_request(range(5, 9), 0, 6, seeds=(1, 2, 3), n=3),
            prompt_request(range(7, 12), 0, 6, seeds=(4,), n=1),
        ],
    ).all()
    assert sorted(found) == [0, 1, 2, 3]
    assert len({tuple(tokens) for _, tokens, *_ in found.values()}) == 4


@pytest.mark.parametrize("trunk", [0, 2])
def test_best_of_n_is_what_a_separate_forward_would_choose(tiny_folder: Path, made: Any, trunk: int) -> None:
    def scorer(policy: Policy) -> Any:
        return scorer_from(policy, torch.Generator().manual_seed(3)).freeze()

    prompt, seeds = range(5, 14), tuple(range(44, 50))
    eos = frozenset(range(0, 384, 13))
    engine = made(trunk, slots=4, eos=eos, scorer=scorer)
    other = Client(engine, [prompt_request(range(8, 30), 3, 40)])  # somebody else is there meanwhile
    found = Client(engine, [prompt_request(prompt, 0, 9, seeds=seeds, n=2)]).all()
    other.all()
    policy = checkpoints.load_policy(tiny_folder, trunk=trunk)
    answers = [
        one.tokens for one in sample(policy.freeze(), [Request(tuple(prompt), s, 9) for s in seeds], eos)
    ]
    with torch.no_grad():
        scores = scorer(policy).scores(pack([Tree(tuple(prompt), tuple(answers))])).tolist()
    order_ = sorted(range(6), key=lambda i: -scores[i])[:2]
    assert order_ == [3, 4]  # neither the first ones, nor the first to end: a mixed-up order would show
    assert len(answers[0]) > len(answers[3]) and len(answers[0]) > len(answers[4])
    assert [tuple(found[i][1]) for i in (0, 1)] == [answers[i] for i in order_]
    assert [found[i][3] for i in (0, 1)] == pytest.approx([scores[i] for i in order_], abs=1e-4)


class FixedRules:
    """A rule model's stand-in: answers that begin with certain tokens break the first rule for certain."""

    def __init__(self, certain: set[tuple[int, ...]]) -> None:
        self.certain, self.dialogues = certain, []  # type: ignore[var-annotated]

    def log_odds(self, dialogues: Any, rules: Any) -> torch.Tensor:
        self.dialogues += dialogues
        broken = [any(d[len(d) - len(c) :] == c for c in self.certain) for d in dialogues]
        return torch.tensor([[1.0 if b else 0.1, 0.3, 0.0] for b in broken]).double().logit()


def test_rules_choose_together_with_preference(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two that preference likes best break a rule for certain: the third is sent, with the score that
    preference gave it and the rules it came near to."""
    seeds, prompt, rules = tuple(range(44, 50)), range(5, 14), load_rules(None)[:3]

    def scorer(policy: Policy) -> Any:
        return scorer_from(policy, torch.Generator().manual_seed(3)).freeze()

    eos = frozenset(range(0, 384, 13))
    engine = made(2, slots=4, eos=eos, scorer=scorer)
    liked = Client(engine, [prompt_request(prompt, 0, 9, seeds=seeds, n=5)]).all()
    judge = RuleJudge(FixedRules({tuple(liked[i][1]) for i in (0, 1)}), rules, "minimum")  # type: ignore[arg-type]
    engine = made(2, slots=4, eos=eos, scorer=scorer)
    engine.batches["m"].rule_judge = judge
    client = Client(engine, [prompt_request(prompt, 0, 9, seeds=seeds, n=2)])
    chosen = client.all()
    assert [chosen[i][1] for i in (0, 1)] == [liked[i][1] for i in (2, 3)]
    assert [chosen[i][3] for i in (0, 1)] == [liked[i][3] for i in (2, 3)]
    assert {d[:9] for d in judge.rule_model.dialogues} == {tuple(prompt)}  # type: ignore[attr-defined]
    ranking, p_break = judge.rank((1, 2), [tuple(liked[0][1]), (5,)], torch.tensor([2.0, 0.0]))
    near = best_of_n.near_rules(p_break, rules)
    assert ranking[0] == -float("inf") < ranking[1]
    assert near == [
        ((rules[0].id, 1.0), (rules[1].id, pytest.approx(0.3))),
        ((rules[1].id, pytest.approx(0.3)),),
    ]


def test_the_best_are_the_highest_and_ties_go_to_the_earlier() -> None:
    assert best_of_n.best([0.5, 2.0, -1.0, 2.0], 3) == [1, 3, 0]
    assert best_of_n.kl_bound(1) == 0 and best_of_n.kl_bound(4) == pytest.approx(1.3863 - 0.75, abs=1e-4)


def test_a_stop_word_ends_the_answer_and_is_not_in_it(tiny_folder: Path, made: Any) -> None:
    whole = Client(made(), [prompt_request(range(5, 12), 7, 40)]).all()[0][0]
    word = whole[len(whole) // 2 : len(whole) // 2 + 3]
    text, _, finish, _ = Client(
        made(), [prompt_request(range(5, 12), 7, 40, stop=("never there", word))]
    ).all()[0]
    assert text == whole[: whole.index(word)] and finish == "stop"


class Script:
    """A batch's answers, written out: the tokens that the sampler would draw."""

    def __init__(self, stop: str) -> None:
        self.pieces: list[Piece] = []
        self.vocabulary = {1: b"q", 2: b"a", 3: b"ab", 4: b"x", 5: b"\xc3", 6: b"\xa9", 7: b"bc"}
        self.answer = batch_answer(self, stop)

    def spell(self, token: int) -> TokenBytes:
        return TokenBytes(self.vocabulary[token], self.vocabulary[token])

    def collect(self, pieces: list[Piece] | Exception) -> None:
        assert not isinstance(pieces, Exception)
        self.pieces += pieces


def batch_answer(script: Any, stop: str) -> Any:
    request = PromptRequest((1,), (1,), 1, 9, stop=(stop,))
    prompt = batch_module._Prompt(Job([request], script.collect, 60), request, 0)
    generation = Generation(Request((1,), 1, 9))
    return batch_module._Answer(prompt, 0, generation, Detokenizer(script, request.stop))


@pytest.mark.parametrize(
    ("tokens", "stop", "pieces"),
    [
        # the second "a" may begin the stop string: its token waits with it, and goes with it
        ([1, 2, 2, 4], "ax", [("q", [0], []), ("a", [1], []), ("", [], [2, 3])]),
        # the stop string begins inside "ab": the token stays, the next one is the stop string's
        ([1, 3, 7], "bbc", [("q", [0], []), ("a", [1], []), ("", [], [3])]),
        # both bytes of a character come with it
        ([5, 6, 2, 4], "ax", [("é", [0, 0], []), ("", [], [1, 2])]),
    ],
)
def test_tokens_come_with_their_text_and_a_stop_strings_tokens_are_marked(
    tokens: list[int], stop: str, pieces: list[Any]
) -> None:
    script = Script(stop)
    policy_batch = ContinuousBatch.__new__(ContinuousBatch)
    policy_batch.sampler = SimpleNamespace(eos=frozenset())  # type: ignore[assignment]
    for token in tokens:
        text = policy_batch._add(script.answer, Draw(script.answer.generation, token, -1.0, ()))
        finish = "stop" if script.answer.detokenizer.stopped else None
        policy_batch._hand_out(script.answer, text, finish)  # type: ignore[arg-type]
    shown = [
        (piece.text, [t.offset for t in piece.tokens if not t.cut], [t.offset for t in piece.tokens if t.cut])
        for piece in script.pieces
    ]
    assert shown == pieces


def test_who_goes_away_frees_the_seat(made: Any) -> None:
    engine = made(slots=1)
    first = Client(engine, [prompt_request(range(5, 9), 1, 20_000)])
    first.told.get(timeout=30)
    second = Client(engine, [prompt_request(range(5, 9), 2, 3)])
    first.job.cancel()
    assert len(second.all()[0][1]) == 3
    assert engine.running() == 0


def test_a_full_queue_refuses_and_says_when_to_come_again(made: Any) -> None:
    engine = made(slots=1, most=2)
    first = Client(engine, [prompt_request(range(5, 9), 1, 20_000)])
    first.told.get(timeout=30)  # has the seat
    waiting = [Client(engine, [prompt_request(range(5, 9), 2, 3)]) for _ in range(2)]
    with pytest.raises(QueueFull) as refused:
        Client(engine, [prompt_request(range(5, 9), 3, 3)])
    assert 1 <= refused.value.seconds <= 60
    first.job.cancel()
    assert all(len(client.all()[0][1]) == 3 for client in waiting)


def test_time_over_cuts_an_answer_and_tells_who_never_got_a_seat(made: Any) -> None:
    engine = made(slots=1)
    first = Client(engine, [prompt_request(range(5, 9), 1, 20_000)], seconds=0.4)
    second = Client(engine, [prompt_request(range(5, 9), 2, 3)], seconds=0.01)
    with pytest.raises(DeadlineExceeded):
        second.all()
    assert first.all()[0][2] == "length"


def test_closing_tells_everybody(made: Any) -> None:
    engine = made(slots=1)
    clients = [Client(engine, [prompt_request(range(5, 9), i, 20_000)]) for i in range(3)]
    clients[0].told.get(timeout=30)
    threading.Thread(target=engine.close).start()
    for client in clients:
        with pytest.raises(EngineClosed):
            client.all()
    with pytest.raises(EngineClosed):
        Client(engine, [prompt_request(range(5, 9), 1, 1)])


def test_rows_grow_with_company_and_length(made: Any) -> None:
    engine = made(slots=9)
    clients = [Client(engine, [prompt_request(range(5, 9 + i), i, 130 + i)]) for i in range(9)]
    assert [len(client.all()[0][1]) for client in clients] == [130 + i for i in range(9)]
    cache = engine.batches["m"].sampler.branch_cache
    assert cache.rows == 16 and cache.length == 256
