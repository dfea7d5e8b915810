"""What an answer is paid: a weighted sum of terms, each measured, capped and put on a common scale by itself.

`reward = "learn.reward"` is the sum of one term. An array of tables `[[learn.ppo.reward]]` names several, as
Glaese et al. 2022 add preference, rules, length and validity: R = R_pref + 1/n sum R_rule - beta T - gamma
[invalid]. Adding terms of different scales is what readers of that paper name as its weakness, so a term may
be standardised on answers of the policy that training begins from, and held in the range it had there.

Legend: A answers, K terms, R rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field, model_validator

from biddable.learn.rule_budget import RuleBudget
from biddable.model import hardware
from biddable.model.packing import Tree
from biddable.run.config import Input, Settings, UserError
from biddable.run.records import Finish, Message

SOURCES = ("scorer", "ensemble", "rules", "function", "endpoint", "length", "invalid")
"""Settings that say where a term's values come from; a term has exactly one."""


class RewardTerm(Settings):
    """One table `[[learn.ppo.reward]]`."""

    name: str = Field(default="", pattern=r"^[a-z0-9_]*$")
    """What metrics call the term (`reward_NAME`); empty: its source, `scorer`, `rules`, `length` and so on."""
    scorer: Input | None = None
    """A reward model: its score at the answer's last token."""
    ensemble: tuple[Input, ...] = ()
    """Several reward models on the same trunk."""
    ensemble_reduction: Literal["mean", "worst"] = "mean"
    """What an ensemble pays: the mean of its scores, or the lowest (Coste et al. 2024: harder to game)."""
    rules: Input | None = None
    """A rule model (learn.rules): the probability that each rule is kept, p_keep = 1 - p_break."""
    rules_file: Input | None = None
    """A TOML file of rules to ask the rule model about, also new ones; none: those that it was trained on."""
    rule_reduction: Literal["mean", "sum"] = "mean"
    """R = 1/n sum p_keep, or the sum alone."""
    budget: float | None = Field(default=None, gt=0, lt=1)
    """The rate at which each rule may be broken. The term is then -sum lambda_i p_break_i, and rule i's
    multiplier lambda_i rises while its rate is above the budget and falls while it is below. None: equal
    weights."""
    multiplier_rate: float = Field(default=1.0, gt=0)
    """How far a multiplier moves per rollout and unit of excess."""
    multiplier_cap: float = Field(default=5.0, gt=0)
    """No multiplier rises above this, so a budget that can't be met does not drown all else."""
    function: str | None = Field(default=None, pattern=r"^[\w.]+:\w+$")
    """A Python function `module:name`, called with the dialogues (lists of {role, content}) and the answers'
    texts; it returns a number for each answer. The module may lie in the folder where the command runs."""
    endpoint: str | None = Field(default=None, pattern=r"^https?://")
    """An address that takes {"prompts": [...], "answers": [...]} by POST, as the function does, and answers
    {"rewards": [...]}."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds to wait for the endpoint."""
    endpoint_batch: int = Field(default=64, ge=1)
    """Answers per request to the endpoint."""
    length: bool = False
    """Minus the answer's length in tokens, -T; weight is beta."""
    invalid: bool = False
    """-1 for an answer that was cut off, is empty or speaks for somebody else, 0 for others; weight is
    gamma."""
    weight: float = 1.0
    """What the term is multiplied by."""
    standardise: bool = False
    """Bring the term to mean 0 and standard deviation 1 on the reference answers."""
    cap: tuple[float, float] | None = None
    """Hold the term in [lowest, highest], in its own unit, before standardising and weighting."""
    cap_to_reference: bool = False
    """Hold the term in the range it has on the reference answers: beyond it nobody knows what it means."""

    @model_validator(mode="after")
    def _one_source(self) -> RewardTerm:
        named = [word for word in SOURCES if getattr(self, word)]
        if len(named) != 1:
            raise ValueError(
                f"must name exactly one of {', '.join(SOURCES)} (names {', '.join(named) or 'none'})"
            )
        if (self.budget is not None or self.rules_file is not None) and not self.rules:
            raise ValueError("budget and rules_file: only a term with rules has them")
        if self.cap is not None and self.cap_to_reference:
            raise ValueError("cap and cap_to_reference: set one of the two")
        if self.cap is not None and self.cap[0] >= self.cap[1]:
            raise ValueError(f"cap = {list(self.cap)}: the first number must be less than the second")
        return self

    @property
    def source(self) -> str:
        """Which of SOURCES the term names."""
        return next(word for word in SOURCES if getattr(self, word))


@dataclass(frozen=True)
class Episode:
    """An answer as terms read it."""

    messages: tuple[Message, ...]  # the dialogue it answers
    tree: Tree  # ids of prompt and answer, with the trunk's outputs where they are kept
    text: str
    finish: Finish
    special: frozenset[int] = frozenset()  # ids of the chat template's own tokens: an answer holds none

    @property
    def by_assistant(self) -> bool:
        """Whether it is an assistant's statement; in self-play some are the user's."""
        return not self.messages or self.messages[-1].role == "user"

    @property
    def tokens(self) -> Sequence[int]:
        """The answer's ids, with the end-of-sequence token if it has one."""
        return self.tree.answers[0]


class Moments(NamedTuple):
    """A term on the reference answers, before its weight."""

    mean: float
    deviation: float
    lowest: float
    highest: float


class Scored(NamedTuple):
    """What the terms say of some answers."""

    terms: torch.Tensor  # (A, K) each term's share of the reward; their sum is the reward
    raw: torch.Tensor  # (A, K) as the sources gave them; NaN where rules are not for a user's statement
    p_break: torch.Tensor  # (A, R) of all rule terms, NaN likewise; R may be 0

    @property
    def rewards(self) -> torch.Tensor:
        """(A,)."""
        return self.terms.sum(1)


def reduce_ensemble(scores: torch.Tensor, reduction: Literal["mean", "worst"]) -> torch.Tensor:
    """(M, A) scores of M models -> (A,)."""
    return scores.mean(0) if reduction == "mean" else scores.amin(0)


def reduce_rules(p_keep: torch.Tensor, reduction: Literal["mean", "sum"]) -> torch.Tensor:
    """(A, R) -> (A,): the mean over rules (Glaese et al. 2022), or their sum. A rule that everybody keeps
    adds the same to every answer in the sum; in the mean it dilutes the others."""
    return p_keep.mean(1) if reduction == "mean" else p_keep.sum(1)


def measure(values: torch.Tensor) -> Moments:
    """Mean, population standard deviation and range of a term's values (A,)."""
    return Moments(
        float(values.mean()),
        float(values.std(unbiased=False)),
        float(values.amin()),
        float(values.amax()),
    )


def scale_term(values: torch.Tensor, settings: RewardTerm, moments: Moments | None) -> torch.Tensor:
    """(A,) -> (A,): a term held in its range, then standardised. The cap comes first: it is in the source's
    own unit, and an outlier must not pay after it any more than before. `moments` may be none where neither
    asks for them."""
    if settings.cap is not None:
        values = values.clamp(*settings.cap)
    if moments is not None and settings.cap_to_reference:
        values = values.clamp(moments.lowest, moments.highest)
    if moments is not None and settings.standardise:
        values = (values - moments.mean) / moments.deviation
    return values


def penalize_missing_eos(
    scores: torch.Tensor, finishes: Sequence[Finish], highest: float | None
) -> torch.Tensor:
    """Scores (A,) where answers that were cut off score at most `highest`; None changes nothing.

    The reward model was trained on finished answers, so its score of a cut one means nothing (the EOS trick,
    Huang et al. 2024). At most and not exactly: else an unfinished answer could pay more than a bad finished
    one. After the reward model, before the KL penalty.
    """
    if highest is None:
        return scores
    cut_off = torch.tensor([finish == "length" for finish in finishes], device=scores.device)
    return torch.where(cut_off, scores.clamp(max=highest), scores)


@dataclass
class LoadedTerm:
    """A term's settings with what gives its values."""

    settings: RewardTerm
    read: Callable[[Sequence[Episode]], torch.Tensor]  # (A,), or p_break (A, R) of rules
    budget: RuleBudget | None = None
    rule_ids: tuple[str, ...] = ()
    moments: Moments | None = None

    @property
    def name(self) -> str:
        return self.settings.name or self.settings.source

    @property
    def needs_reference(self) -> bool:
        return self.settings.standardise or self.settings.cap_to_reference

    def reduce(self, values: torch.Tensor) -> torch.Tensor:
        """One number an answer (A,): of rules their reduction, or what their multipliers make of them."""
        if values.dim() == 1:
            return values
        if self.budget is not None:
            return -(values * values.new_tensor(self.budget.multipliers)).sum(1)
        return reduce_rules(1 - values, self.settings.rule_reduction)


@dataclass
class Reward:
    """The terms of a run, loaded. What was measured on the reference answers and the rules' multipliers
    belong into checkpoints."""

    terms: list[LoadedTerm]
    missing_eos_score: float | None = None
    rule_ids: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.rule_ids = tuple(rule for term in self.terms for rule in term.rule_ids)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(term.name for term in self.terms)

    @property
    def needs_reference(self) -> bool:
        return any(term.needs_reference for term in self.terms)

    @torch.no_grad()
    def score(self, episodes: Sequence[Episode]) -> Scored:
        """Read, cap, scale and weight every term. Raises UserError when a source gives a number that is not
        finite."""
        finishes = [episode.finish for episode in episodes]
        shares, raw, p_break = [], [], []
        for term in self.terms:
            values = self._read(term, episodes)
            if values.dim() == 2:
                p_break.append(values)
            reduced = term.reduce(values)
            judged = reduced.isfinite()  # all but users' statements, which pay no rule term
            scaled = scale_term(reduced, term.settings, term.moments)
            if term.settings.source in ("scorer", "ensemble"):
                scaled = penalize_missing_eos(scaled, finishes, self.missing_eos_score)
            shares.append(term.settings.weight * torch.where(judged, scaled, torch.zeros_like(scaled)))
            raw.append(reduced)
        rules = torch.cat(p_break, 1) if p_break else raw[0].new_zeros(len(episodes), 0)
        return Scored(torch.stack(shares, 1), torch.stack(raw, 1), rules)

    def _read(self, term: LoadedTerm, episodes: Sequence[Episode]) -> torch.Tensor:
        """(A,), or p_break (A, R) of rules, NaN for a user's statements: rules are not for them."""
        if term.rule_ids and not all(e.by_assistant for e in episodes):
            places = [i for i, episode in enumerate(episodes) if episode.by_assistant]
            table = torch.full((len(episodes), len(term.rule_ids)), torch.nan)
            if places:
                table[places] = self._read(term, [episodes[i] for i in places]).cpu()
            return table.to(hardware.device())
        values = term.read(episodes).float()
        if not bool(values.isfinite().all()):
            raise UserError(f"reward {term.name}: gave a number that is not finite (NaN or infinite)")
        return values

    @torch.no_grad()
    def measure(self, episodes: Sequence[Episode]) -> None:
        """Mean, deviation and range of the terms that are standardised or held in their reference range.
        Raises UserError for a term that is the same for all: nothing can be scaled by that."""
        for term in self.terms:
            if term.needs_reference:
                term.moments = measure(term.reduce(self._read(term, episodes)))
                if term.settings.standardise and term.moments.deviation < 1e-6:
                    raise UserError(
                        f"reward {term.name}: is {term.moments.mean:.4g} for every reference answer, so it "
                        "can't be standardised; set standardise = false"
                    )

    def update_budgets(self, scored: Scored) -> None:
        """Move every rule's multiplier by the rate at which a rollout broke it. A rollout of users' statements
        alone says nothing of rules."""
        if scored.p_break.isnan().all():
            return
        start = 0
        for term in self.terms:
            rates = scored.p_break[:, start : start + len(term.rule_ids)].nanmean(0).tolist()
            start += len(term.rule_ids)
            if term.budget is not None:
                term.budget.update(rates)

    def metrics(self, scored: Scored) -> dict[str, float]:
        """Means over a rollout: each term's share of the reward and its own value, each rule's rate and
        multiplier."""
        numbers = {f"reward_{n}": float(v) for n, v in zip(self.names, scored.terms.mean(0), strict=True)}
        numbers |= {f"raw_{n}": float(v) for n, v in zip(self.names, scored.raw.nanmean(0), strict=True)}
        numbers |= {
            f"p_break_{r}": float(v) for r, v in zip(self.rule_ids, scored.p_break.nanmean(0), strict=True)
        }
        for term in self.terms:
            if term.budget is not None:
                pairs = zip(term.rule_ids, term.budget.multipliers, strict=True)
                numbers |= {f"multiplier_{rule}": multiplier for rule, multiplier in pairs}
        # NaN: a term that paid no statement of this rollout
        return {name: number for name, number in numbers.items() if not math.isnan(number)}

    def summary(self) -> dict[str, Any]:
        """For summary.json: what was measured on the reference answers, and rules that their budget did not
        hold."""
        facts: dict[str, Any] = {}
        moments = {term.name: term.moments._asdict() for term in self.terms if term.moments}
        if moments:
            facts["reward_reference"] = moments
        budgets = [(term.budget, term.rule_ids) for term in self.terms if term.budget is not None]
        if budgets:
            facts["rules_over_budget"] = {
                rule: rate for budget, rules in budgets for rule, rate in budget.unreached(rules).items()
            }
        return facts

    def state(self) -> list[dict[str, Any]]:
        """For a checkpoint."""
        return [
            {
                "moments": None if term.moments is None else list(term.moments),
                "budget": None if term.budget is None else term.budget.state(),
            }
            for term in self.terms
        ]

    def restore(self, state: Sequence[dict[str, Any]]) -> None:
        for term, saved in zip(self.terms, state, strict=True):
            term.moments = None if saved["moments"] is None else Moments(*saved["moments"])
            if term.budget is not None:
                term.budget.restore(saved["budget"])
