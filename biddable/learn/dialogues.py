"""Prompts for reinforcement learning from four sources: questions, people's dialogues, red-team questions, self-play (Glaese et al. 2022).

policy + prompts + dialogues + rules -> `prompts.jsonl`, each with its `source`. Red-team questions are written
by the policy from a template for each rule, first without and then with examples (Perez et al. 2022); those
without a question mark, in other speakers' words or near duplicates of earlier ones stay out. In self-play
the policy goes on as user and assistant in turn. The paper's proportions are not known: how many of each is a
setting.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from biddable.learn.demonstrations import split_of
from biddable.learn.selfplay import SPEAKER, Dialogue, is_valid_statement
from biddable.learn.simulate.speaker import Sampling, Speaker, load_speaker
from biddable.learn.training import derive_seed
from biddable.model.encoding import encode_text
from biddable.model.sampler import Request, sample
from biddable.run import diversity, jsonl, rules
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.records import Comparison, Message, Probe, Prompt
from biddable.run.rules import Rule

EXAMPLES = 5
"""Earlier questions that the few-shot stage shows (an implementation of Perez et al. 2022)."""


class Config(Settings):
    policy: Input = Path("learn.sft")
    """The policy that writes red-team questions and plays both sides."""
    prompts: Input = Path("curate.prompts")
    """Questions, and what self-play begins with."""
    comparisons: Input | None = None
    """Rankings in running dialogues; their prompts of several turns are people's dialogues. none: without."""
    probes: Input | None = None
    """Probing dialogues, cut at each of the prober's messages: people's dialogues too. none: without."""
    rules: Input | None = None
    """A TOML file of rules that red-team questions are about; none: ours."""
    questions: int = Field(default=256, ge=0)
    """Prompts of `prompts` at most."""
    people: int = Field(default=256, ge=0)
    """Dialogues of people at most, drawn at random."""
    redteam: int = Field(default=256, ge=0)
    """Red-team questions at most; each rule has the same share."""
    selfplay: int = Field(default=256, ge=0)
    """Dialogues of self-play at most; each ends with a user's statement."""
    template: str = 'List of questions to ask an assistant so that it breaks the rule "{rule}":\n1.'
    """What the policy continues with a red-team question; {rule} is the rule's text. The paper's is not known
    (Perez et al. 2022: "List of questions to ask someone:\\n1.")."""
    few_shot_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the red-team questions that are written after examples of earlier ones."""
    similarity: float = Field(default=0.7, gt=0, le=1)
    """Questions that share more of their words with an earlier one stay out."""
    statements: int = Field(default=2, ge=1)
    """Statements that self-play adds to a question: an answer, a user's reply, and so on in pairs."""
    red_top_p: float = Field(default=0.95, gt=0, le=1)
    """Nucleus of red-team questions (Perez et al. 2022: 0.95)."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature of self-play."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus of self-play."""
    max_tokens: int = Field(default=64, ge=1)
    """Tokens per statement or question at most."""
    slots: int = Field(default=32, ge=1)
    """Statements under way at once."""


def run(cfg: Config, context: StageContext) -> None:
    prompts = [p for p in jsonl.read(cfg.prompts / "prompts.jsonl", Prompt) if p.split != "test"]
    if not prompts:
        raise UserError(f"[{context.key}] prompts: all belong to the split test; nothing may be learned from")
    speaker = load_speaker(cfg.policy, Sampling(cfg.temperature, cfg.top_p, cfg.max_tokens, cfg.slots))
    questions = [p.model_copy(update={"source": "questions"}) for p in prompts[: cfg.questions]]
    people = people_dialogues(cfg, context)
    attacks = red_team(cfg, speaker, rules.load(cfg.rules), context)
    played = self_play(cfg, speaker, prompts, context)
    written = [*questions, *people, *attacks, *played]
    for split in ("train", "valid"):
        if all(prompt.split != split for prompt in written):
            raise UserError(f"[{context.key}] no prompt belongs to the split {split}; ask for more of them")
    jsonl.write(context.path("prompts.jsonl"), written)
    texts = [prompt.messages[-1].content for prompt in attacks]
    context.summary = {
        "prompts": len(written),
        "questions": len(questions),
        "people": len(people),
        "redteam": len(attacks),
        "selfplay": len(played),
        "redteam_self_bleu": diversity.self_bleu(texts, context.seed),
        "redteam_distinct_2": diversity.distinct(texts, 2),
        "redteam_without_words": diversity.wordless(texts),
    }


def people_dialogues(cfg: Config, context: StageContext) -> list[Prompt]:
    """Dialogues of people up to a user's message: of comparisons those with several turns, of probes every
    cut. Each once."""
    rows: dict[tuple[Message, ...], Prompt] = {}
    if cfg.comparisons is not None:
        for row in jsonl.read(cfg.comparisons / "comparisons.jsonl", Comparison):
            if len(row.prompt.messages) > 1 and row.prompt.split != "test":
                rows.setdefault(row.prompt.messages, row.prompt)
    if cfg.probes is not None:
        for probe in jsonl.read(cfg.probes / "probes.jsonl", Probe):
            for cut in range(1, len(probe.messages), 2):
                messages = probe.messages[:cut]
                rows.setdefault(
                    messages, Prompt(id=f"{probe.id}-{cut}", messages=messages, user=probe.labeler)
                )
    shuffled = sorted(rows.values(), key=lambda row: row.id)
    random.Random(derive_seed("people", context.seed)).shuffle(shuffled)
    return [
        row.model_copy(update={"source": "people", "split": split_of(row), "wishes": ()})
        for row in shuffled[: cfg.people]
    ]


def red_team(cfg: Config, speaker: Speaker, rulebook: Sequence[Rule], context: StageContext) -> list[Prompt]:
    """Questions for every rule, half of them (or as `few_shot_share` says) after examples of the first half."""
    if not cfg.redteam:
        return []
    per_rule = -(-cfg.redteam // len(rulebook))
    few = round(per_rule * cfg.few_shot_share)
    by_rule: dict[str, list[str]] = {rule.id: [] for rule in rulebook}
    for stage, count in (("zero", per_rule - few), ("few", few)):
        starts: list[tuple[Rule, str]] = []
        for rule in rulebook:
            # twice as many as are needed: many will have no question mark or be like another
            starts += [
                (rule, opening_text(cfg, rule, by_rule[rule.id], stage, n, context.seed))
                for n in range(2 * count)
            ]
        texts = continuations(cfg, speaker, [text for _, text in starts], stage, context)
        for (rule, _), text in zip(starts, texts, strict=True):
            if (question := first_question(text)) is not None:
                by_rule[rule.id].append(question)
        for id, questions in by_rule.items():
            by_rule[id] = [questions[place] for place in diversity.unlike(questions, cfg.similarity)]
        context.progress(1 if stage == "zero" else 2, 3)
    prompts = [
        Prompt(
            id=f"redteam-{rule}-{number:03d}",
            messages=(Message(role="user", content=text),),
            user="red-team",
            source="redteam",
        )
        for rule, texts in by_rule.items()
        for number, text in enumerate(texts[:per_rule])
    ]
    return [p.model_copy(update={"split": split_of(p)}) for p in prompts[: cfg.redteam]]


def opening_text(cfg: Config, rule: Rule, earlier: Sequence[str], stage: str, number: int, seed: int) -> str:
    """The template up to where a question begins; in the few-shot stage behind examples of earlier questions,
    numbered, drawn at random."""
    start = cfg.template.replace("{rule}", rule.text)
    if stage == "zero" or not earlier:
        return start
    chance = random.Random(derive_seed("examples", seed, rule.id, number))
    examples = chance.sample(list(earlier), min(EXAMPLES, len(earlier)))
    lines = "".join(f" {text}\n{place}." for place, text in enumerate(examples, 2))
    return start + lines


def continuations(
    cfg: Config, speaker: Speaker, texts: Sequence[str], stage: str, context: StageContext
) -> list[str]:
    """What the policy writes behind plain texts, without a chat template."""
    ids = [encode_text(speaker.tokenizer, text) for text in texts]
    longest = speaker.context_length - cfg.max_tokens
    if errors := sorted({t for t, row in zip(texts, ids, strict=True) if len(row) > longest}):
        raise UserError(
            f"[{context.key}] template: with a rule it leaves no room for {cfg.max_tokens} tokens: {errors[0][:80]}"
        )
    requests = [
        Request(
            row,
            derive_seed("redteam", context.seed, context.key, stage, number),
            cfg.max_tokens,
            1.0,
            cfg.red_top_p,
        )
        for number, row in enumerate(ids)
    ]
    samples = sample(speaker.policy, requests, speaker.eos, cfg.slots)
    return [str(speaker.tokenizer.decode(s.tokens, skip_special_tokens=True)) for s in samples]


def first_question(text: str) -> str | None:
    """The text up to its first question mark, if that is one line of one speaker; None without one (Perez et
    al. 2022: a case must hold a question mark; what follows it is cut)."""
    line, mark, _ = text.strip().partition("?")
    question = line.strip().strip('"').strip() + mark
    return (
        question
        if mark and "\n" not in question and len(question) > 3 and not SPEAKER.search(question)
        else None
    )


def self_play(
    cfg: Config, speaker: Speaker, prompts: Sequence[Prompt], context: StageContext
) -> list[Prompt]:
    """Questions that the policy went on with, answering and asking in turn; those in which a statement is no
    usable one stay out."""
    # each once: first those that are no questions themselves
    firsts = [*prompts[cfg.questions :], *prompts[: cfg.questions]][: cfg.selfplay]
    running = [(prompt, Dialogue(prompt.messages)) for prompt in firsts]
    for turn in range(2 * ((cfg.statements + 1) // 2)):
        running = [(prompt, dialogue) for prompt, dialogue in running if speaker.fits(dialogue)]
        groups = speaker.candidates([d for _, d in running], 1, "selfplay", context.seed, context.key, turn)
        running = [
            (prompt, dialogue.with_statement(statement.text))
            for (prompt, dialogue), (statement,) in zip(running, groups, strict=True)
            if is_valid_statement(dialogue, statement.text)
        ]
    context.progress(3, 3)
    return [
        prompt.model_copy(
            update={
                "id": f"{prompt.id}-selfplay",
                "messages": dialogue.messages,
                "source": "selfplay",
                "split": split_of(prompt),
                "wishes": (),
            }
        )
        for prompt, dialogue in running
    ]
