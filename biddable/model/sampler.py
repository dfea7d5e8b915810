"""The sampler: answers from a policy, by continuous batching. Each answer under way has a row of the KV
cache; a row that becomes free goes to whoever waits. `sample` runs a list of requests to its end; the server
(`serve/engine/batch.py`) drives the same `Sampler` with requests that come and go.

Legend: n rows in use, V vocabulary, d hidden size, P prompt tokens, T answer tokens.

Every request has its own generator of random numbers, so an answer does not depend on how many neighbours it
has or in which order they come: exactly in fp32, up to the matrix library's rounding, which may differ with
the number of rows. In bf16 two logits closer than that rounding (about 2^-8 of their size) can swap, and the
answer then goes another way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from biddable.model import hardware
from biddable.model.detokenizer import Detokenizer
from biddable.model.draw import draw, likeliest
from biddable.model.kv_cache import KVCache
from biddable.model.packing import Ids
from biddable.model.prefill import Prefilled, prefill
from biddable.model.token_bytes import Vocabulary
from biddable.model.trunk import Policy
from biddable.run.records import Finish

PREFILL_TOKENS = 1024
"""Prompt tokens of one prefill at most (one prompt may be longer)."""


@dataclass(frozen=True)
class Request:
    """One answer to sample. `seed` alone decides the draws; temperature 0 takes the likeliest token. `top_k`
    0 is off. The answer ends where its text holds one of the `stop` strings (`sample` reads them; the server
    has its text by itself)."""

    prompt: Ids
    seed: int
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.prompt or self.max_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError("a request needs a prompt, max_tokens >= 1, temperature >= 0 and 0 < top_p <= 1")
        if self.top_k < 0 or "" in self.stop:
            raise ValueError("a request needs top_k >= 0 and stop strings that are not empty")


@dataclass(frozen=True)
class SampledAnswer:
    """An answer. `logp` is each token's log-probability (nats) at temperature 1 with top-p off, as the
    sampler's own forward saw it. The end-of-sequence token is one of the tokens."""

    tokens: tuple[int, ...]
    finish: Finish
    logp: tuple[float, ...]
    hidden: torch.Tensor | None  # (P + T, d) trunk outputs of prompt and answer, when they are kept
    text: str | None = None  # up to the stop string, where one ended it; its tokens are among `tokens`


@dataclass(eq=False)
class Generation:
    """An answer on its way: waiting for a row, in one, or complete."""

    request: Request
    keep_trunk: bool = False
    top_logprobs: int = 0
    prefilled: Prefilled | None = None  # only while it waits for a row
    row: int | None = None
    uniforms: np.ndarray[Any, Any] = field(
        default_factory=lambda: np.zeros(0)
    )  # (max_tokens,) one for each draw
    tokens: list[int] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    hidden: list[torch.Tensor] = field(default_factory=list)  # the prompt's (P, d), then one (1, d) a token
    finish: Finish | None = None

    @property
    def position(self) -> int:
        """Where the last token drawn goes in the sequence; so many positions are in the cache before its
        forward."""
        return len(self.request.prompt) + len(self.tokens) - 1

    @property
    def lacks_hidden(self) -> bool:
        """Whether the trunk has still to run over the last token drawn."""
        return self.keep_trunk and len(self.hidden) <= len(self.tokens)

    def answer(self) -> SampledAnswer:
        """What was sampled, once it is complete."""
        if self.finish is None:
            raise ValueError("this answer has not ended yet")
        hidden = torch.cat(self.hidden) if self.keep_trunk else None
        return SampledAnswer(tuple(self.tokens), self.finish, tuple(self.logp), hidden)


class Draw(NamedTuple):
    """One token drawn for one answer, with its log-probability and those of the likeliest tokens, if it wants
    them."""

    generation: Generation
    token: int
    logp: float
    top: tuple[tuple[int, float], ...]


class Sampler:
    """One policy, its KV cache, and the answers it is sampling; at most `slots` at once, further requests
    wait.

    A caller alternates `admit` (those who wait get free rows and their first token, from the prefill) and
    `step` (one token for everybody in a row), and may `finish` or `cancel` an answer in between. With
    `prefill_ahead` prompts are prefilled in large groups before rows are free for them: faster for a known
    list, but those under way would wait. `rows` and `length` are the cache's first size.
    """

    def __init__(
        self,
        policy: Policy,
        eos: frozenset[int],
        slots: int,
        prefill_ahead: bool = False,
        rows: int = 4,
        length: int = 128,
    ) -> None:
        self.policy, self.eos, self.slots, self.prefill_ahead = policy, eos, slots, prefill_ahead
        self.waiting: deque[Generation] = deque()
        self.rows: list[Generation | None] = []  # who has which row of the cache; None: free
        self.trunk_cache, self.branch_cache = KVCache(rows, length), KVCache(rows, length)
        self._completed: list[Generation] = []

    def add(self, request: Request, keep_trunk: bool = False, top_logprobs: int = 0) -> Generation:
        """Queue a request. `keep_trunk`: keep the trunk's outputs (there are none with trunk = 0).
        `top_logprobs`: so many likeliest tokens are reported at every draw."""
        generation = Generation(request, keep_trunk and self.policy.trunk.blocks is not None, top_logprobs)
        self.waiting.append(generation)
        return generation

    @property
    def live(self) -> list[Generation]:
        """Those that have a row, in the rows' order."""
        return [generation for generation in self.rows if generation is not None]

    @property
    def free(self) -> int:
        """How many more answers may have a row."""
        return self.slots - len(self.live)

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.live)

    def take_completed(self) -> list[Generation]:
        """Answers that ended and left their row since the last call, in the order in which they did."""
        completed, self._completed = self._completed, []
        return completed

    @torch.no_grad()
    def admit(self) -> list[Draw]:
        """Give free rows to those who wait, first come first served, and draw their first tokens. There is at
        most one prefill; whoever needs another one enters at the next call."""
        if not self.waiting or not self.free:
            return []
        if self.waiting[0].prefilled is None:
            self._prefill(self.slots if self.prefill_ahead else self.free)
        entered: list[Generation] = []
        logits: list[torch.Tensor] = []
        while self.waiting and self.free and (prefilled := self.waiting[0].prefilled) is not None:
            entered.append(self._enter(self.waiting.popleft(), prefilled))
            logits.append(prefilled.logits)
        return self._draw(entered, torch.stack(logits))

    @torch.no_grad()
    def step(self) -> list[Draw]:
        """Run the token drawn last through the network for every answer in a row, and draw the next."""
        self._close_gaps()
        generations = self.live
        if not generations:
            return []
        out = self._forward(generations)
        ended = [generation for generation in generations if generation.finish is not None]
        going = [row for row, generation in enumerate(generations) if generation.finish is None]
        for generation in ended:  # they stayed for their last token's trunk output
            self.free_row(generation)
        if not going:
            return []
        logits = self.policy.logits(out[going] if ended else out)
        return self._draw([generations[row] for row in going], logits)

    def finish(self, generation: Generation, reason: Finish) -> None:
        """End an answer with the token it has. Its row becomes free, now or when the trunk has seen that
        token."""
        generation.finish = reason
        if not generation.lacks_hidden:
            self.free_row(generation)

    def cancel(self, generation: Generation) -> None:
        """Forget an answer that nobody wants any more; it will not be among the completed."""
        if generation in self.waiting:
            self.waiting.remove(generation)
        elif generation.row is not None:
            generation.finish = None
            self.free_row(generation)

    def free_row(self, generation: Generation) -> None:
        """Take an answer's row of the KV cache from it. Who waits gets it; else `_close_gaps` moves the last
        row there."""
        assert generation.row is not None
        self.rows[generation.row] = None
        generation.row = None
        if generation.finish is not None:
            self._completed.append(generation)

    def _prefill(self, count: int) -> None:
        """Prefill for the next `count` who wait, but at most PREFILL_TOKENS. Neighbours with the same prompt,
        such as the K answers to one, share its prefill, also those beyond `count`."""
        groups: list[list[Generation]] = []
        tokens = 0
        for position, generation in enumerate(self.waiting):
            if generation.prefilled is not None:
                break
            prompt = generation.request.prompt
            if groups and groups[-1][0].request.prompt == prompt:
                groups[-1].append(generation)
                continue
            if position >= count or (groups and tokens + len(prompt) > PREFILL_TOKENS):
                break
            groups.append([generation])
            tokens += len(prompt)
        prompts = [group[0].request.prompt for group in groups]
        keep_trunk = any(generation.keep_trunk for group in groups for generation in group)
        for group, prefilled in zip(groups, prefill(self.policy, prompts, keep_trunk), strict=True):
            for generation in group:
                generation.prefilled = prefilled

    def _enter(self, generation: Generation, prefilled: Prefilled) -> Generation:
        """Put a prefilled prompt into the first free row."""
        row = next((row for row, owner in enumerate(self.rows) if owner is None), len(self.rows))
        if row == len(self.rows):
            self.rows.append(None)
        self.rows[row], generation.row, generation.prefilled = generation, row, None
        request = generation.request
        generation.uniforms = np.random.Generator(np.random.Philox(request.seed)).random(request.max_tokens)
        length = len(request.prompt) + request.max_tokens + 1
        for cache, pairs in ((self.trunk_cache, prefilled.trunk), (self.branch_cache, prefilled.branch)):
            cache.reserve(row + 1, length)
            cache.put(row, pairs)
        if generation.keep_trunk:
            assert prefilled.hidden is not None
            generation.hidden = [prefilled.hidden]
        return generation

    def _close_gaps(self) -> None:
        """Move the last rows into the free ones, so that rows in use stand at the front and a step computes
        no other."""
        for row in [row for row, generation in enumerate(self.rows) if generation is None]:
            while self.rows and self.rows[-1] is None:
                self.rows.pop()
            if row >= len(self.rows):
                return
            moved = self.rows.pop()
            assert moved is not None
            for cache in (self.trunk_cache, self.branch_cache):
                cache.move(len(self.rows), row, moved.position)
            self.rows[row], moved.row = moved, row

    def _forward(self, generations: Sequence[Generation]) -> torch.Tensor:
        """The last token of each through trunk and branch -> the branch's final states (n, d)."""
        positions = [generation.position for generation in generations]
        for cache in (self.trunk_cache, self.branch_cache):
            cache.begin_step(positions)
        tokens = torch.tensor(
            [[generation.tokens[-1]] for generation in generations], device=hardware.device()
        )
        columns = self.branch_cache.positions[:, None]  # (n, 1) position ids
        trunk: Any = self.policy.trunk.blocks
        branch: Any = self.policy.branch
        states = (trunk or branch).embed(tokens)  # (n, 1, d)
        if trunk is not None:
            states = trunk(states, columns, trunk.masks(self.trunk_cache.mask), self.trunk_cache)
            for row, generation in enumerate(generations):
                if generation.keep_trunk:
                    generation.hidden.append(states[row])
        out: torch.Tensor = branch(states, columns, branch.masks(self.branch_cache.mask), self.branch_cache)
        return out[:, 0]

    def _draw(self, generations: Sequence[Generation], logits: torch.Tensor) -> list[Draw]:
        """The next token of each from its row of logits (n, V). Answers end here by their end token or
        length."""
        settings = [
            (
                generation.uniforms[len(generation.tokens)],
                generation.request.temperature,
                generation.request.top_p,
                generation.request.top_k,
            )
            for generation in generations
        ]
        uniforms, temperature, top_p, top_k = torch.tensor(
            settings, dtype=torch.float32, device=logits.device
        ).unbind(1)
        words, gaps = self.policy.tokens, self.policy.gaps
        tops = likeliest(logits, [generation.top_logprobs for generation in generations], words, gaps)
        tokens, logp = draw(logits, uniforms, temperature, top_p, words, gaps, top_k)
        draws = list(map(Draw, generations, tokens.tolist(), logp.tolist(), tops))
        for generation, token, token_logp, _ in draws:
            generation.tokens.append(token)
            generation.logp.append(token_logp)
            if token in self.eos:
                self.finish(generation, "stop")
            elif len(generation.tokens) == generation.request.max_tokens:
                self.finish(generation, "length")
        return draws


class StopStrings:
    """The texts of answers that a stop string may end, as they grow."""

    def __init__(self, vocabulary: Vocabulary | None, generations: Iterable[Generation]) -> None:
        self._detokenizers: dict[Generation, Detokenizer] = {}
        self._texts: dict[Generation, str] = {}
        for generation in generations:
            if generation.request.stop:
                if vocabulary is None:
                    raise ValueError("stop strings need the tokenizer's vocabulary")
                self._detokenizers[generation] = Detokenizer(vocabulary, generation.request.stop)
                self._texts[generation] = ""

    def read(self, sampler: Sampler, draws: Sequence[Draw]) -> None:
        """Add drawn tokens to their texts, and end the answers that hold a stop string now."""
        for generation, token, _, _ in draws:
            detokenizer = self._detokenizers.get(generation)
            if detokenizer is None or token in sampler.eos:
                continue
            self._texts[generation] += detokenizer.add(token)
            if detokenizer.stopped and generation.finish is None:
                sampler.finish(generation, "stop")
            elif detokenizer.stopped:  # the stop string came with the last token allowed
                generation.finish = "stop"

    def text(self, generation: Generation) -> str | None:
        """A complete answer's text up to its stop string; None where none ended it."""
        detokenizer = self._detokenizers.get(generation)
        return self._texts[generation] if detokenizer is not None and detokenizer.stopped else None


def sample(
    policy: Policy,
    requests: Sequence[Request],
    eos: frozenset[int],
    slots: int = 32,
    keep_trunk: bool = False,
    progress: Callable[[int, int], None] = lambda answers, tokens: None,
    vocabulary: Vocabulary | None = None,
) -> list[SampledAnswer]:
    """Answers in the order of the requests, `slots` at once. `policy` should be frozen (`policy.freeze()`),
    which is faster. Requests with the same prompt that follow each other share its prefill.
    `progress(answers, tokens)` is called after every answer with what is complete so far. Stop strings need
    the tokenizer's `vocabulary`."""
    if not requests:
        return []
    rows = min(slots, len(requests))
    longest = max(len(request.prompt) + request.max_tokens for request in requests) + 1
    sampler = Sampler(policy, eos, rows, prefill_ahead=True, rows=rows, length=longest)
    numbers = {sampler.add(request, keep_trunk): number for number, request in enumerate(requests)}
    stops = StopStrings(vocabulary, numbers)
    answers: dict[int, SampledAnswer] = {}
    tokens = 0
    while sampler.busy:
        while sampler.waiting and sampler.free:
            stops.read(sampler, sampler.admit())
        stops.read(sampler, sampler.step())
        for generation in sampler.take_completed():
            answers[numbers.pop(generation)] = replace(generation.answer(), text=stops.text(generation))
            tokens += len(generation.tokens)
            progress(len(answers), tokens)
    return [answers[number] for number in range(len(requests))]
