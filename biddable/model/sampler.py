"""The sampler: answers from a policy, slot by slot. A slot that ends is refilled at once; the K answers to one prompt share its prefill; the trunk's
outputs are kept for training.

Legend: B slots, V vocabulary, d hidden size, P prompt tokens.

Every request has its own generator, so its answer does not depend on how many neighbours it has or in which order they come: exactly in fp32 up to
the matrix library's rounding, which may differ with the number of rows; in bf16 two logits closer than that rounding (about 2^-8 of their size) can
swap, and the answer then goes another way from there on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from biddable.model import hardware
from biddable.model.attention import KVCache, PrefillCache
from biddable.model.packing import Ids, Tree, pack
from biddable.model.trunk import Policy
from biddable.run.records import Finish

PREFILL_TOKENS = 1024
"""Prompt tokens per prefill at most: prompts are prefilled together before slots need them."""
SHARED_TOKENS = 8
"""Fewer common tokens are not worth a row of their own kind."""
FAMILY_TOKENS = 256
"""Tokens of prompts that share their beginning in one row: attention grows with its square."""


@dataclass(frozen=True)
class Request:
    """One answer wanted. `seed` alone decides the draws; temperature 0 takes the likeliest token."""

    prompt: Ids
    seed: int
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not self.prompt or self.max_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError("a request needs a prompt, max_tokens >= 1, temperature >= 0 and 0 < top_p <= 1")


@dataclass(frozen=True)
class SampledAnswer:
    """An answer. `logp` is each token's log-probability (nats) at temperature 1 with top-p off, as the sampler's own forward saw it."""

    tokens: tuple[int, ...]
    finish: Finish
    logp: tuple[float, ...]
    hidden: torch.Tensor | None  # (P + T, d) trunk outputs of prompt and answer, when asked for


@dataclass
class _Live:
    """An answer under way in a slot."""

    index: int
    request: Request
    uniforms: np.ndarray[Any, Any]
    tokens: list[int] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    hidden: list[torch.Tensor] = field(default_factory=list)
    finish: Finish | None = None


@dataclass(frozen=True)
class Prefilled:
    """A prefilled prompt: keys and values a layer (trunk's, then the branch's), the logits after it, its trunk outputs."""

    below: list[tuple[torch.Tensor, torch.Tensor]]
    above: list[tuple[torch.Tensor, torch.Tensor]]
    logits: torch.Tensor  # (V,)
    hidden: torch.Tensor | None  # (P, d)


def draw(
    logits: torch.Tensor, uniforms: torch.Tensor, temperature: torch.Tensor, top_p: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverse-CDF draw: logits (B, V) fp32, the rest (B,) -> tokens (B,) and their log-probabilities at temperature 1 (B,).

    The cumulative sum runs over blocks first and inside one block then: a whole one over 49k words costs more than the network's last blocks.
    """
    batch, size = logits.shape
    top = logits.amax(dim=-1, keepdim=True)
    weights = (logits - top).exp_()
    normaliser = weights.sum(dim=-1, keepdim=True).log() + top
    if bool((temperature != 1).any()):
        warm = torch.where(temperature > 0, temperature, torch.ones_like(temperature))[:, None]
        weights = ((logits - top) / warm).exp_()
    if bool((top_p < 1).any()):
        weights = _nucleus(weights, top_p)
    blocks = -(-size // 256)
    tiles = torch.nn.functional.pad(weights, (0, blocks * 256 - size)).view(batch, blocks, 256)
    sums = tiles.sum(dim=-1).cumsum(dim=-1)
    aim = uniforms[:, None] * sums[:, -1:]
    block = torch.searchsorted(sums, aim, right=True).clamp_(max=blocks - 1)
    before = torch.where(block > 0, sums.gather(1, (block - 1).clamp(min=0)), torch.zeros_like(aim))
    inner = tiles.gather(1, block[..., None].expand(batch, 1, 256))[:, 0]
    place = torch.searchsorted(inner.cumsum(dim=-1), aim - before, right=True).clamp_(max=255)
    place = torch.where(
        inner.gather(1, place) > 0, place, inner.argmax(dim=-1, keepdim=True)
    )  # rounding at a block's end
    tokens = torch.where(temperature[:, None] > 0, block * 256 + place, logits.argmax(dim=-1, keepdim=True))
    return tokens[:, 0], (logits.gather(1, tokens) - normaliser)[:, 0]


def _nucleus(weights: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Weights with everything behind the smallest set of share top_p set to 0 (Holtzman et al. 2020)."""
    ordered, index = weights.sort(dim=-1, descending=True)
    share = ordered.cumsum(dim=-1) / ordered.sum(dim=-1, keepdim=True)
    kept = (share - ordered / ordered.sum(dim=-1, keepdim=True)) < top_p[:, None]
    return torch.zeros_like(weights).scatter(1, index, ordered * kept)


@torch.no_grad()
def sample(
    policy: Policy,
    requests: Sequence[Request],
    eos: frozenset[int],
    slots: int = 32,
    keep_trunk: bool = False,
    progress: Callable[[int, int], None] = lambda finished, steps: None,
) -> list[SampledAnswer]:
    """Answers in the order of the requests. `policy` should be frozen (`policy.freeze()`), which is faster. Requests with the same prompt that
    follow each other share its prefill. `progress(answers, tokens)` is called now and then with what is finished so far."""
    found: list[SampledAnswer | None] = [None] * len(requests)
    waiting: deque[int] = deque(range(len(requests)))
    ready: deque[tuple[int, Prefilled]] = deque()
    slots = min(slots, len(requests))
    length = max(len(r.prompt) + r.max_tokens for r in requests) + 1
    below, above = KVCache(slots, length), KVCache(slots, length)
    live: list[_Live | None] = [None] * slots
    finished = tokens = 0
    while True:
        for slot in [s for s in range(len(live)) if live[s] is None]:
            if not ready and waiting:
                ready.extend(_prefill(policy, requests, waiting, slots, keep_trunk))
            if ready:
                live[slot] = _enter(*ready.popleft(), requests, slot, below, above)
        fresh = [s for s, one in enumerate(live) if one is not None and not one.tokens]
        if fresh:
            _choose(
                torch.stack([one.hidden.pop() for s in fresh if (one := live[s])]),
                [live[s] for s in fresh],
                eos,
            )
        for slot, one in enumerate(
            live
        ):  # an answer leaves once its last token's trunk output is kept, if that is wanted
            if one is not None and one.finish and (not keep_trunk or len(one.hidden) == len(one.tokens) + 1):
                hidden = torch.cat(one.hidden) if keep_trunk else None
                found[one.index] = SampledAnswer(tuple(one.tokens), one.finish, tuple(one.logp), hidden)
                live[slot] = None
                finished, tokens = finished + 1, tokens + len(one.tokens)
                progress(finished, tokens)
        if not any(live):
            if not ready and not waiting:
                break
            continue
        if (waiting or ready) and None in live:
            continue
        live = _compact(live, below, above) if not ready and not waiting else live
        _step(policy, live, below, above, eos, keep_trunk)
    return [one for one in found if one is not None]


def _prefill(
    policy: Policy, requests: Sequence[Request], waiting: deque[int], slots: int, keep_trunk: bool
) -> list[tuple[int, Prefilled]]:
    """Prefill the next prompts together, each distinct neighbouring prompt once."""
    groups: list[list[int]] = []
    total = 0
    while waiting and sum(map(len, groups)) < slots:
        prompt = requests[waiting[0]].prompt
        if groups and requests[groups[-1][0]].prompt == prompt:
            groups[-1].append(waiting.popleft())
            continue
        if groups and total + len(prompt) > PREFILL_TOKENS:
            break
        groups.append([waiting.popleft()])
        total += len(prompt)
    prefilled = prefill(policy, [requests[group[0]].prompt for group in groups], keep_trunk)
    return [(index, one) for group, one in zip(groups, prefilled, strict=True) for index in group]


@torch.no_grad()
def prefill(policy: Policy, prompts: Sequence[Ids], keep_trunk: bool) -> list[Prefilled]:
    """All prompts in one forward, without padding. What all of them begin with (a chat template's system message) runs once a row, not once a prompt.
    Each result owns its tensors."""
    shared = _shared(prompts)
    trees = _families(prompts, shared)
    packed = pack(trees, row_tokens=128)
    trunk: Any = policy.trunk.blocks
    body: Any = policy.branch
    low, high = PrefillCache(policy.trunk.depth), PrefillCache(body.depth)
    states = (trunk or body).embed(packed.tokens)
    if trunk is not None:
        states = trunk(states, packed.positions, trunk.masks(packed.mask), low)
    out = body(states, packed.positions, body.masks(packed.mask), high).flatten(0, 1)
    logits = policy.logits(out[packed.last])
    found: list[Prefilled] = []
    for number, tree in enumerate(trees):
        row, columns = (packed.tree == number).nonzero(as_tuple=True)
        r, behind = int(row[0]), shared
        for ids in tree.answers:
            own = torch.cat([columns[:shared], columns[behind : behind + len(ids)]])
            behind += len(ids)
            below, above = (
                [(k[r].index_select(1, own), v[r].index_select(1, own)) for k, v in cache.pairs()]
                for cache in (low, high)
            )
            hidden = states[r, own] if keep_trunk and trunk is not None else None
            found.append(Prefilled(below, above, logits[len(found)], hidden))
    return found


def _shared(prompts: Sequence[Ids]) -> int:
    """How many tokens all prompts begin with; none when that is too little to save anything. Each keeps at least its last token for itself."""
    least = min(prompts, key=len)
    count = 0
    while count < len(least) - 1 and all(prompt[count] == least[count] for prompt in prompts):
        count += 1
    return count if len(prompts) > 1 and count >= SHARED_TOKENS else 0


def _families(prompts: Sequence[Ids], shared: int) -> list[Tree]:
    """Prompts as trees: neighbours with one beginning together, to a row's length; alone when they share nothing."""
    if not shared:
        return [Tree((), (tuple(prompt),)) for prompt in prompts]
    found: list[list[Ids]] = [[]]
    room = FAMILY_TOKENS - shared
    for prompt in prompts:
        if found[-1] and room < len(prompt) - shared:
            found.append([])
            room = FAMILY_TOKENS - shared
        found[-1].append(tuple(prompt[shared:]))
        room -= len(prompt) - shared
    return [Tree(tuple(prompts[0][:shared]), tuple(rests)) for rests in found]


def _enter(
    index: int, prompt: Prefilled, requests: Sequence[Request], slot: int, below: KVCache, above: KVCache
) -> _Live:
    """Put a prefilled prompt into a slot. Its first logits wait in `hidden` until the first token is drawn."""
    request = requests[index]
    for cache, kept in ((below, prompt.below), (above, prompt.above)):
        for layer, (key, value) in enumerate(kept):
            cache.put(layer, slot, key, value)
        cache.at[slot] = len(request.prompt) - 1
    uniforms = np.random.Generator(np.random.Philox(request.seed)).random(request.max_tokens)
    one = _Live(index, request, uniforms)
    one.hidden = [prompt.logits.new_zeros(0) if prompt.hidden is None else prompt.hidden, prompt.logits]
    return one


def _choose(logits: torch.Tensor, live: Sequence[_Live | None], eos: frozenset[int]) -> None:
    """Draw the next token of each live answer from its row of logits (B, V)."""
    ones = [one for one in live if one is not None]
    settings = [(one.uniforms[len(one.tokens)], one.request.temperature, one.request.top_p) for one in ones]
    tokens, logp = draw(logits, *torch.tensor(settings, dtype=torch.float32, device=logits.device).unbind(1))
    for one, token, likelihood in zip(ones, tokens.tolist(), logp.tolist(), strict=True):
        one.tokens.append(token)
        one.logp.append(likelihood)
        if token in eos:
            one.finish = "stop"
        elif len(one.tokens) == one.request.max_tokens:
            one.finish = "length"


def _step(
    policy: Policy,
    live: list[_Live | None],
    below: KVCache,
    above: KVCache,
    eos: frozenset[int],
    keep_trunk: bool,
) -> None:
    """One token forward for every slot; slots without an answer compute on what they last held and nobody looks."""
    tokens = torch.tensor([[one.tokens[-1] if one else 0] for one in live], device=hardware.device())
    active = torch.tensor([one is not None for one in live], device=hardware.device())
    for cache in (below, above):
        cache.at = torch.where(active, cache.at + 1, torch.zeros_like(cache.at))
        cache.used = int(cache.at.max()) + 1
    positions = above.at[:, None]
    trunk: Any = policy.trunk.blocks
    body: Any = policy.branch
    states = (trunk or body).embed(tokens)
    if trunk is not None:
        states = trunk(states, positions, trunk.masks(below.mask), below)
    if keep_trunk:
        for slot, one in enumerate(live):
            if one is not None:
                one.hidden.append(states[slot] if trunk is not None else states[slot, :, :0])
    going = [s for s, one in enumerate(live) if one is not None and one.finish is None]
    out = body(states, positions, body.masks(above.mask), above)[:, 0]
    if going:
        _choose(policy.logits(out if len(going) == len(live) else out[going]), [live[s] for s in going], eos)


def _compact(live: list[_Live | None], below: KVCache, above: KVCache) -> list[_Live | None]:
    """When nothing waits any more and at least half of the slots are empty, keep only the rows in use."""
    rows = [s for s, one in enumerate(live) if one is not None]
    if 2 * len(rows) > len(live):
        return live
    for cache in (below, above):
        cache.keep(rows)
    return [live[s] for s in rows]
