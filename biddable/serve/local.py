"""Loading policies onto our own engine; two policies from one start model share their trunk, and the reward model stands on it too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from biddable.base import models
from biddable.base.config import Refusal
from biddable.base.lm import Trunk
from biddable.base.records import Policy as Answerer
from biddable.serve.deck import Deck
from biddable.serve.engine import Engine
from biddable.serve.source import Local


@dataclass(frozen=True)
class Limits:
    """How much at once, how long, how much may wait."""

    slots: int
    queue: int
    context: int
    max_tokens: int
    seconds: float


def load(
    policies: Mapping[str, Path], answerers: Sequence[Answerer], reward: Path | None, limits: Limits
) -> tuple[dict[str, Local], Engine]:
    """Each policy on a deck of one engine. Raises Refusal for folders that hold none, and for a reward model on another trunk."""
    shared: Trunk | None = None
    decks, contexts = {}, {}
    for name, folder in policies.items():
        mark = str(models.about(folder).get("fingerprint"))
        policy = models.load_policy(folder, shared=shared if shared is not None and mark == shared.fingerprint else None)
        shared = shared or policy.trunk
        tokenizer = models.tokenizer(folder)
        scorer = None
        if reward is not None:
            if models.about(reward).get("fingerprint") != policy.trunk.fingerprint:
                raise Refusal(f"{reward}: stands on another trunk than {folder}; both must come from one [learn.start]")
            scorer = models.load_scorer(reward, shared=policy.trunk).freeze()
        decks[name] = Deck(policy.freeze(), tokenizer, models.eos_ids(folder, tokenizer), limits.slots, scorer)
        contexts[name] = min(limits.context, models.context(folder))
    engine = Engine(decks, limits.queue)
    found = {}
    for (name, deck), answerer in zip(decks.items(), answerers, strict=True):
        words = (deck.tokenizer, contexts[name], limits.max_tokens, limits.seconds)
        found[name] = Local(name, answerer, engine, *words)
    return found, engine
