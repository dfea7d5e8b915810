"""Simulated people talk with a live policy: preferences turn by turn, and probing for rules (Glaese et al. 2022).

policies + prompts + rules -> `comparisons.jsonl`, one ranking a turn of a running dialogue, and
`probes.jsonl`, finished dialogues with the prober's own word. Where people do this, the records come from
`label.turns` and `label.probes`; what simulated people do is documented in docs/simulated_labelers.md and is
no claim about people. A policy may answer with the best of n by preference and rules (`reranked`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from biddable.learn.simulate.preferences import preference_dialogues
from biddable.learn.simulate.probing import probe_policies
from biddable.learn.simulate.speaker import Sampling, Speaker, load_speaker
from biddable.model.rerank import RuleReduction, load_reranker
from biddable.run import jsonl, rules
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.records import Probe, Prompt, Split
from biddable.run.rules import Rule
from biddable.simulated import labelers
from biddable.simulated.labelers import Panel
from biddable.simulated.probers import probed_rules


class Config(Settings):
    policies: tuple[Input, ...] = (Path("learn.sft"),)
    """The policies that people talk with. In preference dialogues each gives `candidates` answers a turn; probers
    talk with each."""
    reranked: tuple[Input, ...] = ()
    """Of these policies the best of `rerank` answers is probed too, under the name POLICY+bestN."""
    rerank: int = Field(default=8, ge=2)
    """How many answers the best is taken of (Glaese et al. 2022: 8)."""
    reward: Input | None = None
    """The preference model that reranks; needed where something is reranked."""
    rule_model: Input | None = None
    """The rule model that reranks; needed where something is reranked."""
    rule_reduction: RuleReduction = "geometric_mean"
    """How the rules' probabilities of being kept become one factor of the reranking score."""
    prompts: Input = Path("curate.prompts")
    """Preference dialogues begin with these prompts."""
    splits: tuple[Split, ...] = ("train", "valid")
    """Prompts of these splits only."""
    dialogues: int = Field(default=0, ge=0)
    """Preference dialogues: so many prompts begin one each."""
    turns: int = Field(default=2, ge=1)
    """Answers that are chosen in a preference dialogue; after the first prompt the policy speaks for the user."""
    candidates: int = Field(default=4, ge=1)
    """Answers to choose from in each turn, by each policy; with one policy at least 2."""
    rules: Input | None = None
    """A TOML file of rules; none: ours. Simulated probers know openings for sixteen of those."""
    probes: int = Field(default=0, ge=0)
    """Probing dialogues for each rule and policy."""
    probe_turns: int = Field(default=2, ge=1)
    """The prober's messages in a dialogue."""
    panel: Panel = "training"
    """Who talks: the panels' people differ, and so do their probers' sentences."""
    people: int = Field(default=12, ge=1)
    """Simulated people in the panel."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling; 1 is off."""
    max_tokens: int = Field(default=64, ge=1)
    """Tokens per answer at most."""
    slots: int = Field(default=32, ge=1)
    """Answers under way at once."""


def run(cfg: Config, context: StageContext) -> None:
    check_settings(cfg, context)
    people = labelers.panel(cfg.panel, context.seed, cfg.people)
    rulebook = [rule for rule in rules.load(cfg.rules) if rule.id in probed_rules()]
    if cfg.probes and not rulebook:
        raise UserError(f"[{context.key}] rules: simulated probers know openings for none of them")
    sampling = Sampling(cfg.temperature, cfg.top_p, cfg.max_tokens, cfg.slots)
    speakers = load_speakers(cfg, sampling, rulebook)
    comparisons = preference_dialogues(cfg, speakers, read_prompts(cfg, context), people, context)
    if comparisons:  # without dialogues there is no file
        jsonl.write(context.path("comparisons.jsonl"), comparisons)
    probes = probe_policies(cfg, speakers, rulebook, people, context)
    if probes:
        jsonl.write(context.path("probes.jsonl"), probes)
    context.summary = {
        "comparisons": len(comparisons),
        "dialogues": cfg.dialogues,
        "probes": len(probes),
        "rules": len({probe.rule for probe in probes}),
        "simulated": True,
        "panel": cfg.panel,
    }
    context.summary |= {
        f"broken_{speaker.name}": broken_share(speaker, probes) for speaker in speakers if cfg.probes
    }


def load_speakers(cfg: Config, sampling: Sampling, rulebook: Sequence[Rule]) -> list[Speaker]:
    """The policies, and after each that is reranked its best-of-n double; all on one trunk."""
    speakers: list[Speaker] = []
    reranked = {folder.name for folder in cfg.reranked}
    for folder in cfg.policies:
        shared = speakers[0].policy.trunk if speakers else None
        speaker = load_speaker(folder, sampling, shared)
        speakers.append(speaker)
        if folder.name in reranked:
            assert cfg.reward is not None and cfg.rule_model is not None
            trunk = speaker.policy.trunk
            reranker = load_reranker(cfg.reward, cfg.rule_model, trunk, rulebook, cfg.rule_reduction)
            speakers.append(speaker.best_of(cfg.rerank, reranker))
    return speakers


def broken_share(speaker: Speaker, probes: list[Probe]) -> float:
    """Share of a policy's probing dialogues in which, by the prober's own word, the rule was broken."""
    levels = [probe.level for probe in probes if probe.model == speaker.name]
    return sum(level.endswith("breaks") for level in levels) / len(levels)


def check_settings(cfg: Config, context: StageContext) -> None:
    """Raise UserError for settings that contradict each other."""
    errors = []
    if not cfg.dialogues and not cfg.probes:
        errors.append("dialogues and probes: both are 0; nothing would be done")
    if cfg.dialogues and cfg.candidates * len(cfg.policies) < 2:
        errors.append(f"candidates = {cfg.candidates}: one policy needs at least 2 to choose from")
    if cfg.reranked and (cfg.reward is None or cfg.rule_model is None):
        errors.append("reranked: needs reward and rule_model, by which the best answer is chosen")
    names = [folder.name for folder in cfg.policies]
    errors += [
        f"reranked: {folder.name} is not among policies"
        for folder in cfg.reranked
        if folder.name not in names
    ]
    if errors:
        raise UserError([f"[{context.key}] {line}" for line in errors])


def read_prompts(cfg: Config, context: StageContext) -> list[Prompt]:
    """The prompts that begin preference dialogues, in the file's order."""
    if not cfg.dialogues:
        return []
    prompts = [p for p in jsonl.read(cfg.prompts / "prompts.jsonl", Prompt) if p.split in cfg.splits]
    if len(prompts) < cfg.dialogues:
        raise UserError(
            f"[{context.key}] dialogues = {cfg.dialogues}: only {len(prompts)} prompts belong to the splits "
            f"{', '.join(cfg.splits)}"
        )
    return prompts[: cfg.dialogues]
