"""A deck: one policy and the answers it has under way. Who asks enters a seat while others are under way; who ends or goes away frees it at once.

Legend: n rows in use, P prompt tokens, T answer tokens, d hidden size, V vocabulary.

Rows in use stand together at the front of the cache, so a step computes for exactly those who are there. A prompt is prefilled once for all its
answers. With a scorer on the same trunk (best of n) the trunk's outputs are kept, and scoring starts from them.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from biddable.model import hardware
from biddable.model.attention import KVCache
from biddable.model.sampler import PREFILL_TOKENS, Prefilled, draw, prefill
from biddable.model.trunk import Policy, Scorer
from biddable.run.records import Finish
from biddable.serve.engine import best_of_n
from biddable.serve.engine.detokenizer import Detokenizer
from biddable.serve.engine.requests import DeadlineExceeded, Job, Piece, PromptRequest, Token


@dataclass(eq=False)
class _Group:
    """One order under way: its prompt, prefilled when its first answer gets a seat, and the answers still to be seated."""

    job: Job
    order: PromptRequest
    offset: int  # its first answer's number in the job
    waiting: deque[int] = field(default_factory=deque)
    prefilled: Prefilled | None = None
    ended: list[_Live] = field(default_factory=list)


@dataclass(eq=False)
class _Live:
    """An answer in a seat."""

    group: _Group
    number: int
    words: Detokenizer
    uniforms: np.ndarray[Any, Any]
    tokens: list[int] = field(default_factory=list)
    hidden: list[torch.Tensor] = field(default_factory=list)
    pending: list[Token] = field(default_factory=list)  # drawn, but their text is still held back
    pieces: list[Piece] = field(
        default_factory=list
    )  # of a scored order: given out when all its answers are there
    finish: Finish | None = None
    since: float = field(default_factory=time.monotonic)


class Seats(KVCache):
    """The sampler's cache with the rows in use at the front; it grows when more rows or longer answers come."""

    def fit(self, rows: int, length: int) -> None:
        """Make room for so many rows and positions; doubling, so that it happens rarely."""
        if rows <= self.slots and length <= self.length:
            return
        slots, longer = self.slots, self.length
        while slots < rows:
            slots *= 2
        while longer < length:
            longer *= 2
        for held, axis in ((self.keys, 3), (self.values, 2)):
            for layer, old in held.items():
                shape = [slots, *old.shape[1:]]
                shape[axis] = longer
                held[layer] = old.new_zeros(shape)
                held[layer][: self.slots].narrow(axis, 0, self.length).copy_(old)
        self.slots, self.length = slots, longer

    def use(self, at: list[int]) -> None:
        """The rows in use, by the position that each writes next."""
        self.at = torch.tensor(at, device=hardware.device())
        self.rows = torch.arange(len(at), device=hardware.device())
        self.used = max(at) + 1

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a row's first positions to another row."""
        for held, axis in ((self.keys, 2), (self.values, 1)):
            for layer in held.values():
                layer[target].narrow(axis, 0, length).copy_(layer[source].narrow(axis, 0, length))

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = super().update(key_states, value_states, layer_idx)
        return keys[: len(self.rows)], values[: len(self.rows)]


class ContinuousBatch:
    """One policy and the answers it has under way. Used by the inference thread alone."""

    def __init__(
        self, policy: Policy, tokenizer: Any, eos: frozenset[int], seats: int, scorer: Scorer | None = None
    ) -> None:
        self.policy, self.tokenizer, self.eos, self.seats, self.scorer = policy, tokenizer, eos, seats, scorer
        self.waiting: deque[_Group] = deque()
        self.live: list[_Live] = []
        self.below, self.above = Seats(4, 128), Seats(4, 128)
        self.tokens = 0
        """Tokens drawn since the start."""
        self.pace = 1.0
        """Seconds that an answer took lately."""

    def add(self, job: Job, order: PromptRequest, offset: int) -> None:
        self.waiting.append(_Group(job, order, offset, deque(range(len(order.seeds)))))

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.live)

    def round(self) -> None:
        """Let who waits in while there are seats, then one token for everybody."""
        self._clear()
        entered = self._enter()
        if entered:
            self._draw(entered, torch.stack([one.hidden.pop() for one in entered]))
        if self.live:
            self._step()

    def _clear(self) -> None:
        """Free the seats of clients that have gone and of those whose time is over; tell those who waited in vain."""
        now = time.monotonic()
        for group in [g for g in self.waiting if g.job.cancelled or g.job.until < now]:
            self.waiting.remove(group)
            if not group.job.cancelled:
                group.job.cancel()
                group.job.tell(DeadlineExceeded("no seat became free in time"))
        for one in list(self.live):
            if one.group.job.cancelled:
                self._leave(one)
            elif one.group.job.until < now and one.finish is None:
                one.finish = "length"
                self._note(one, one.words.end())
                if not self._follows(one):
                    self._leave(one)

    def _enter(self) -> list[_Live]:
        """Seat answers, first come first served; the prompts of all that enter now are prefilled together."""
        chosen: list[tuple[_Group, int]] = []
        tokens = 0
        while self.waiting and len(self.live) + len(chosen) < self.seats:
            group = self.waiting[0]
            if group.prefilled is None and not any(g is group for g, _ in chosen):
                if chosen and tokens + len(group.order.prompt) > PREFILL_TOKENS:
                    break
                tokens += len(group.order.prompt)
            chosen.append((group, group.waiting.popleft()))
            if not group.waiting:
                self.waiting.popleft()
        fresh = list({id(g): g for g, _ in chosen if g.prefilled is None}.values())
        if fresh:
            prompts = [group.order.prompt for group in fresh]
            for group, one in zip(
                fresh, prefill(self.policy, prompts, any(g.order.scored for g in fresh)), strict=True
            ):
                group.prefilled = one if group.order.scored else replace(one, hidden=None)
        entered = [self._seat(group, number) for group, number in chosen]
        for group, _ in chosen:
            group.prefilled = group.prefilled if group.waiting else None
        return entered

    def _seat(self, group: _Group, number: int) -> _Live:
        """Put a prefilled prompt into the next free row. Its logits wait in `hidden` until the first token is drawn."""
        prompt, order, row = group.prefilled, group.order, len(self.live)
        assert prompt is not None
        for cache, kept in ((self.below, prompt.below), (self.above, prompt.above)):
            cache.fit(row + 1, len(order.prompt) + order.max_tokens + 1)
            for layer, (key, value) in enumerate(kept):
                cache.put(layer, row, key, value)
        uniforms = np.random.Generator(np.random.Philox(order.seeds[number])).random(order.max_tokens)
        one = _Live(group, number, Detokenizer(self.tokenizer, order.stop), uniforms)
        one.hidden = [prompt.logits] if prompt.hidden is None else [prompt.hidden, prompt.logits]
        self.live.append(one)
        return one

    def _step(self) -> None:
        """One token forward for every row."""
        policy: Any = self.policy
        at = [len(one.group.order.prompt) + len(one.tokens) - 1 for one in self.live]
        for cache in (self.below, self.above):
            cache.use(at)
        tokens = torch.tensor([[one.tokens[-1]] for one in self.live], device=hardware.device())
        positions = self.above.at[:, None]
        trunk = policy.trunk.blocks
        states = (trunk or policy.branch).embed(tokens)
        if trunk is not None:
            states = trunk(states, positions, trunk.masks(self.below.mask), self.below)
            for row, one in enumerate(self.live):
                if one.group.order.scored:
                    one.hidden.append(states[row])
        out = policy.branch(states, positions, policy.branch.masks(self.above.mask), self.above)[:, 0]
        going = [row for row, one in enumerate(self.live) if one.finish is None]
        over = [one for one in self.live if one.finish is not None]
        if going:
            ones = [self.live[row] for row in going]
            self._draw(ones, policy.logits(out if not over else out[going]))
        for one in over:
            self._leave(one)

    def _draw(self, ones: list[_Live], logits: torch.Tensor) -> None:
        """The next token of each from its row of logits (n, V)."""
        orders = [one.group.order for one in ones]
        tops = _likeliest(logits, [order.top for order in orders])
        settings = [
            (one.uniforms[len(one.tokens)], order.temperature, order.top_p)
            for one, order in zip(ones, orders, strict=True)
        ]
        drawn, logp = draw(
            logits, *torch.tensor(settings, dtype=torch.float32, device=logits.device).unbind(1)
        )
        self.tokens += len(ones)
        for one, token, likelihood, top in zip(ones, drawn.tolist(), logp.tolist(), tops, strict=True):
            one.tokens.append(token)
            one.pending.append(Token(token, likelihood, top))
            text = ""
            if token in self.eos:
                one.finish = "stop"
            else:
                text = one.words.add(token)
                if one.words.stopped:
                    one.finish = "stop"
                elif len(one.tokens) == one.group.order.max_tokens:
                    one.finish = "length"
            if one.finish is not None:
                text += one.words.end()
            self._note(one, text)
            if one.finish is not None and not self._follows(one):
                self._leave(one)

    def _follows(self, one: _Live) -> bool:
        """Whether an ended answer takes part in one more step: its last token's trunk output is wanted for the score."""
        return (
            one.group.order.scored
            and self.policy.trunk.blocks is not None
            and len(one.hidden) <= len(one.tokens)
        )

    def _note(self, one: _Live, text: str) -> None:
        """Hand out what is new of an answer, or keep it until the best are chosen."""
        if not text and one.finish is None:
            return
        piece = Piece(one.group.offset + one.number, text, tuple(one.pending), one.finish)
        one.pending = []
        if one.group.order.scored:
            one.pieces.append(piece)
        else:
            one.group.job.give([piece])

    def _leave(self, one: _Live) -> None:
        """Free the row; the last row moves into it. The last answer of a scored order brings the choice."""
        self.pace += 0.1 * (time.monotonic() - one.since - self.pace)
        row = self.live.index(one)
        last = self.live.pop()
        if last is not one:
            self.live[row] = last
            length = len(last.group.order.prompt) + len(last.tokens)
            for cache in (self.below, self.above):
                cache.move(len(self.live), row, length)
        group = one.group
        if group.order.scored and not group.job.cancelled:
            group.ended.append(one)
            if len(group.ended) == len(group.order.seeds):
                self._choose(group)

    def _choose(self, group: _Group) -> None:
        """Score all answers of an order in one forward from the trunk outputs they were sampled with, and give out the best."""
        assert self.scorer is not None
        ended = sorted(group.ended, key=lambda one: one.number)
        kept = None
        if self.policy.trunk.blocks is not None:
            kept = (ended[0].hidden[0], *(torch.cat(one.hidden[1:]) for one in ended))
        scores = best_of_n.scores(self.scorer, group.order.prompt, [one.tokens for one in ended], kept)
        for place, index in enumerate(best_of_n.best(scores, group.order.wanted)):
            pieces = [piece._replace(answer=group.offset + place) for piece in ended[index].pieces]
            pieces[-1] = pieces[-1]._replace(score=scores[index])
            group.job.give(pieces)


def _likeliest(logits: torch.Tensor, wanted: list[int | None]) -> list[tuple[tuple[int, float], ...]]:
    """The likeliest tokens with their log-probabilities, for the rows that want them."""
    most = max((count or 0 for count in wanted), default=0)
    if most == 0:
        return [()] * len(wanted)
    values, ids = logits.log_softmax(dim=-1).topk(most, dim=-1)
    return [
        tuple(zip(row[:count], value[:count], strict=True)) if count else ()
        for row, value, count in zip(ids.tolist(), values.tolist(), wanted, strict=True)
    ]
