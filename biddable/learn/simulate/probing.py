"""Probing: simulated probers try to make each policy break one rule (Glaese et al. 2022: adversarial
probing). A prober says what they think of the dialogue; `label.rulechecks` asks a second person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from biddable.learn.selfplay import Dialogue
from biddable.learn.simulate.speaker import Speaker, with_answer
from biddable.run.context import StageContext
from biddable.run.records import Message, Probe
from biddable.run.rules import Rule
from biddable.simulated import probers, rule_judges
from biddable.simulated.labelers import Panel, Person

GUIDELINE = "simulated-probes"


class ProbeSettings(Protocol):
    """The settings of probing."""

    @property
    def probes(self) -> int: ...
    @property
    def probe_turns(self) -> int: ...
    @property
    def panel(self) -> Panel: ...


def probe_policies(
    cfg: ProbeSettings,
    speakers: Sequence[Speaker],
    rules: Sequence[Rule],
    people: Sequence[Person],
    context: StageContext,
) -> list[Probe]:
    """All dialogues: every rule, `probes` times, with every policy. The same opening meets every policy; what
    follows hangs on its answers."""
    probes: list[Probe] = []
    cases = [(rule, number) for rule in rules for number in range(cfg.probes)]
    for place, speaker in enumerate(speakers):
        dialogues = [
            (Message(role="user", content=probers.opening(rule.id, cfg.panel, number)),)
            for rule, number in cases
        ]
        finished = talk(cfg, speaker, cases, dialogues, place * cfg.probe_turns, len(speakers), context)
        for (rule, number), messages in zip(cases, finished, strict=True):
            person = people[number % len(people)]
            level, turn = rule_judges.judge_dialogue(person, rule.id, messages)
            assert level is not None, f"{rule.id} has no judge"
            probes.append(
                Probe(
                    id=f"{speaker.name}-{rule.id}-{number:03d}",
                    messages=messages,
                    model=speaker.name,
                    rule=rule.id,
                    rule_text=rule.text,
                    level=level,
                    turn=turn,
                    labeler=person.id,
                    simulated=True,
                    guideline=GUIDELINE,
                )
            )
    return probes


def talk(
    cfg: ProbeSettings,
    speaker: Speaker,
    cases: Sequence[tuple[Rule, int]],
    dialogues: Sequence[tuple[Message, ...]],
    steps_before: int,
    speakers: int,
    context: StageContext,
) -> list[tuple[Message, ...]]:
    """The dialogues to their end, all taking a turn together. One that no longer fits into the context ends
    with the policy's last answer."""
    running = list(range(len(cases)))
    messages = list(dialogues)
    for turn in range(cfg.probe_turns):
        if turn:
            spoken = {
                i: (
                    *messages[i],
                    Message(
                        role="user",
                        content=probers.next_message(cases[i][0].id, cfg.panel, cases[i][1], messages[i]),
                    ),
                )
                for i in running
            }
            running = [i for i in running if speaker.fits(Dialogue(spoken[i]))]
            for i in running:
                messages[i] = spoken[i]
        answers = speaker.answers(
            [Dialogue(messages[i]) for i in running], "probe", context.seed, context.key, turn
        )
        for i, answer in zip(running, answers, strict=True):
            messages[i] = with_answer(messages[i], answer)
        context.progress(steps_before + turn + 1, speakers * cfg.probe_turns)
    return messages
