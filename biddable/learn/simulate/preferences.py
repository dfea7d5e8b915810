"""Preferences in running dialogues: K candidates a turn, a simulated person ranks them, the best one is
appended, and the dialogue goes on (Glaese et al. 2022: the per-turn response preference)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from biddable.learn.selfplay import Dialogue, is_valid_statement
from biddable.learn.simulate.speaker import Speaker, with_answer
from biddable.run.context import StageContext
from biddable.run.records import Answer, Comparison, Prompt
from biddable.simulated import labelers
from biddable.simulated.labelers import Panel, Person

GUIDELINE = "simulated-turns"


class TurnSettings(Protocol):
    """The settings of preference dialogues."""

    @property
    def turns(self) -> int: ...
    @property
    def candidates(self) -> int: ...
    @property
    def panel(self) -> Panel: ...


def preference_dialogues(
    cfg: TurnSettings,
    speakers: Sequence[Speaker],
    prompts: Sequence[Prompt],
    people: Sequence[Person],
    context: StageContext,
) -> list[Comparison]:
    """One ranking for each turn of each dialogue. All dialogues take a turn together; the first speaker speaks
    for the user between two turns, and a dialogue whose user says nothing usable ends."""
    plain = [speaker for speaker in speakers if speaker.reranker is None]
    comparisons: list[Comparison] = []
    running = [(number, prompt) for number, prompt in enumerate(prompts)]
    for turn in range(cfg.turns):
        running = [
            (number, prompt)
            for number, prompt in running
            if all(s.fits(Dialogue(prompt.messages)) for s in plain)
        ]
        groups = turn_candidates(cfg, plain, [prompt for _, prompt in running], turn, context)
        following: list[tuple[int, Prompt]] = []
        for (number, prompt), answers in zip(running, groups, strict=True):
            person = people[number % len(people)]
            ranks = labelers.rank(person, prompt, answers)
            comparisons.append(
                Comparison(
                    id=f"{prompt.id}-{person.id}",
                    prompt=prompt,
                    answers=tuple(answers),
                    ranks=ranks,
                    labeler=person.id,
                    panel=cfg.panel,
                    simulated=True,
                    guideline=GUIDELINE,
                )
            )
            chosen = answers[labelers.choose(person, prompt, answers)]
            following.append((number, continued(prompt, chosen, turn)))
        context.progress(turn + 1, cfg.turns)
        if turn + 1 < cfg.turns:
            running = with_user_turns(plain[0], following, turn, context)
    return comparisons


def turn_candidates(
    cfg: TurnSettings,
    speakers: Sequence[Speaker],
    prompts: Sequence[Prompt],
    turn: int,
    context: StageContext,
) -> list[list[Answer]]:
    """The answers to choose from in each dialogue: `candidates` of each policy."""
    dialogues = [Dialogue(prompt.messages) for prompt in prompts]
    by_speaker = [
        speaker.candidates(dialogues, cfg.candidates, "turn", context.seed, context.key, turn)
        for speaker in speakers
    ]
    return [[answer for answers in group for answer in answers] for group in zip(*by_speaker, strict=True)]


def continued(prompt: Prompt, answer: Answer, turn: int) -> Prompt:
    """A prompt of the next turn; it still lacks the user's words. Wishes belonged to the first turn's."""
    number = turn + 2
    return prompt.model_copy(
        update={
            "id": f"{prompt.id.removesuffix(f'-t{turn + 1}')}-t{number}",
            "messages": with_answer(prompt.messages, answer),
            "wishes": (),
            "source": "dialogue",
        }
    )


def with_user_turns(
    speaker: Speaker, running: Sequence[tuple[int, Prompt]], turn: int, context: StageContext
) -> list[tuple[int, Prompt]]:
    """The dialogues with what the policy says for the user. Those where it has no usable words are left
    out."""
    dialogues = [(number, prompt, Dialogue(prompt.messages)) for number, prompt in running]
    dialogues = [row for row in dialogues if row[2].messages[-1].content.strip() and speaker.fits(row[2])]
    statements = speaker.candidates(
        [dialogue for _, _, dialogue in dialogues], 1, "user", context.seed, context.key, turn
    )
    rows: list[tuple[int, Prompt]] = []
    for (number, prompt, dialogue), (statement,) in zip(dialogues, statements, strict=True):
        if statement.finish == "stop" and is_valid_statement(dialogue, statement.text):
            messages = dialogue.with_statement(statement.text).messages
            rows.append((number, prompt.model_copy(update={"messages": messages})))
    return rows
