"""Where the terms of a reward come from: reward models, rules, a Python function, an HTTP endpoint, and what
can be read off the answer itself. Each is a function from episodes to numbers (A,)."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from biddable.learn.batches import in_order, microbatches
from biddable.learn.reward_terms import (
    Episode,
    LoadedTerm,
    Reward,
    RewardTerm,
    reduce_ensemble,
)
from biddable.learn.rule_budget import RuleBudget
from biddable.learn.selfplay import SPEAKER
from biddable.model import checkpoints, hardware
from biddable.model.rule_model import RuleLike
from biddable.model.trunk import Scorer, Trunk
from biddable.run.config import UserError
from biddable.run.outgoing import post_json
from biddable.run.parse import parse_json
from biddable.run.rules import load

FROZEN_TOKENS = 2048
"""Tokens per forward of the models that do not learn: more are not faster, fewer take less memory."""

Read = Callable[[Sequence[Episode]], torch.Tensor]


def load_reward(terms: Sequence[RewardTerm], missing_eos_score: float | None, trunk: Trunk) -> Reward:
    """All terms of a reward on one trunk. Raises UserError with a line for every term that can't be read, and
    for two of the same name."""
    errors, loaded = [], []
    for settings in terms:
        try:
            loaded.append(load_term(settings, trunk))
        except UserError as error:
            errors += error.lines
    names = [settings.name or settings.source for settings in terms]
    errors += [
        f'reward: two terms are called "{name}"; give one of them a name'
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if not terms:
        errors.append("reward: holds no term")
    if errors:
        raise UserError(errors)
    return Reward(loaded, missing_eos_score)


def load_term(settings: RewardTerm, trunk: Trunk) -> LoadedTerm:
    """One term with what gives its values."""
    if settings.rules is not None:
        return load_rules(settings, trunk)
    return LoadedTerm(settings, _read_of(settings, trunk))


def _read_of(settings: RewardTerm, trunk: Trunk) -> Read:
    if settings.scorer is not None:
        return score_with(checkpoints.load_scorer(settings.scorer, trunk).freeze())
    if settings.ensemble:
        scorers = [checkpoints.load_scorer(folder, trunk).freeze() for folder in settings.ensemble]
        reads = [score_with(scorer) for scorer in scorers]
        return lambda episodes: reduce_ensemble(
            torch.stack([read(episodes) for read in reads]), settings.ensemble_reduction
        )
    if settings.function is not None:
        return call_function(settings.function, import_function(settings.function))
    if settings.endpoint is not None:
        return lambda episodes: ask_endpoint(settings, episodes)
    return minus_length if settings.length else minus_invalid


def reward_of(scorer: Scorer, missing_eos_score: float | None = None) -> Reward:
    """The reward of one scorer that is loaded already."""
    term = RewardTerm(scorer=Path("learn.reward"))
    return Reward([LoadedTerm(term, score_with(scorer))], missing_eos_score)


def score_with(scorer: Scorer) -> Read:
    """A reward model's score at each answer's last token."""

    def read(episodes: Sequence[Episode]) -> torch.Tensor:
        trees = [episode.tree for episode in episodes]
        parts = (
            (indices, scorer.scores(packed).unbind())
            for indices, packed in microbatches(trees, FROZEN_TOKENS)
        )
        return torch.stack(in_order(parts, len(trees)))

    return read


def minus_length(episodes: Sequence[Episode]) -> torch.Tensor:
    """-T, the answer's tokens."""
    lengths = [-float(len(episode.tokens)) for episode in episodes]
    return torch.tensor(lengths, device=hardware.device())


def minus_invalid(episodes: Sequence[Episode]) -> torch.Tensor:
    """-1 for invalid answers, 0 for others."""
    return torch.tensor([-float(is_invalid(e)) for e in episodes], device=hardware.device())


def is_invalid(episode: Episode) -> bool:
    """Whether an answer breaks the form of a turn: cut off before its end, empty, with a token of the chat
    template in it, or with a line that begins as another speaker's (Glaese et al. 2022: it begins and ends at
    the speakers' labels)."""
    inner = episode.tokens[:-1] if episode.finish == "stop" else episode.tokens
    return (
        episode.finish == "length"
        or not episode.text.strip()
        or not episode.special.isdisjoint(inner)
        or SPEAKER.search(episode.text) is not None
    )


def load_rules(settings: RewardTerm, trunk: Trunk) -> LoadedTerm:
    """A rule model with the rules to ask it about. Raises UserError when there are none."""
    assert settings.rules is not None
    model = checkpoints.load_rule_model(settings.rules, trunk).freeze()
    rules: Sequence[RuleLike] = load(settings.rules_file) if settings.rules_file else model.rules
    if not rules:
        raise UserError(f"reward rules = {settings.rules}: this folder names no rules; set rules_file")
    ids = tuple(rule.id for rule in rules)
    budget = None
    if settings.budget is not None:
        budget = RuleBudget(len(ids), settings.budget, settings.multiplier_rate, settings.multiplier_cap)

    def read(episodes: Sequence[Episode]) -> torch.Tensor:
        dialogues = [(*episode.tree.prompt, *episode.tokens) for episode in episodes]
        return model.p_break(dialogues, rules)

    return LoadedTerm(settings, read, budget, ids)


def import_function(name: str) -> Callable[..., Any]:
    """`module:name`. Modules may lie in the folder where the command runs. Raises UserError when there is no
    such function."""
    module_name, _, function_name = name.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise UserError(f'reward function = "{name}": does not load: {error}') from error
    if not callable(function):
        raise UserError(f'reward function = "{name}": is no function')
    return function


def call_function(name: str, function: Callable[..., Any]) -> Read:
    """A user's function as a term. Raises UserError when it fails or does not give one number an answer."""

    def read(episodes: Sequence[Episode]) -> torch.Tensor:
        try:
            numbers = function([_dialogue(e) for e in episodes], [e.text for e in episodes])
            return _one_number_each(numbers, len(episodes))
        except Exception as error:  # whatever a user's code may raise
            raise UserError(f'reward function = "{name}": {type(error).__name__}: {error}') from error

    return read


def _dialogue(episode: Episode) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in episode.messages]


def _one_number_each(numbers: Any, count: int) -> torch.Tensor:
    """(A,) of a list of numbers. Raises ValueError or TypeError for anything else."""
    values = torch.tensor([float(number) for number in numbers], device=hardware.device())
    if len(values) != count:
        raise ValueError(f"gave {len(values)} numbers for {count} answers")
    return values


def ask_endpoint(settings: RewardTerm, episodes: Sequence[Episode]) -> torch.Tensor:
    """The rewards that an endpoint gives, asked in batches. Raises UserError in a line when it can't be
    reached, is too slow or gives something else."""
    parts = []
    for start in range(0, len(episodes), settings.endpoint_batch):
        batch = episodes[start : start + settings.endpoint_batch]
        body = {"prompts": [_dialogue(e) for e in batch], "answers": [e.text for e in batch]}
        try:
            content = post_json(str(settings.endpoint), json.dumps(body).encode(), {}, settings.timeout)
            rewards = parse_json(content.decode())["rewards"]
            parts.append(_one_number_each(rewards, len(batch)))
        except (OSError, ValueError, TypeError, KeyError) as error:
            reason = getattr(error, "reason", None) or error
            raise UserError(
                f"reward endpoint = {settings.endpoint}: {type(error).__name__}: {reason}; it must answer "
                'a POST with {"rewards": [a number for each answer]}'
            ) from error
    return torch.cat(parts)
