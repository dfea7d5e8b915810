"""The way back from a number to people: the stages behind it, their labels, labelers and guidelines."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import NamedTuple

from biddable.measure.report.evidence import Evidence
from biddable.measure.report.wording import count
from biddable.run.lineage import Node

Person = tuple[str, str, bool]
"""Pseudonym, panel, and whether a program answers."""
LABELERS_NAMED = 8
"""Labelers who are named in a line; the others are counted."""


class Branch(NamedTuple):
    """One line of the lineage tree, with those below it."""

    word: str  # the setting by which the stage above reads it
    node: Node
    what: str
    same: bool  # it still holds what was read
    repeated: bool  # drawn further up already
    below: list[Branch]


def walk(evidence: Evidence) -> list[tuple[str, Node, str]]:
    """From the headline back to the prompts: (sentence, stage, detail) of each stop."""
    through = evidence.lineage.through
    rankings = through(evidence.winrate, "comparisons")
    demonstrations = through(evidence.sft, "demonstrations")
    prompts = through(evidence.ppo, "prompts")
    prompt_count = f"{count(prompts.rows.get('prompts.jsonl', 0))} prompts." if prompts else ""
    ppo, reward, sft = evidence.ppo, evidence.reward, evidence.sft
    stops = [
        ("The win rates", evidence.winrate, "count pairs of answers."),
        ("The pairs are from rankings", rankings, format_labels(rankings)),
        ("of answers", evidence.replies, "by all models to the same new prompts."),
        ("The policy", ppo, format_settings(ppo, "episodes", "kl_coef", "ptx_coef")),
        ("was scored by the reward model", reward, format_settings(reward, "epochs", "batch")),
        ("which learned from rankings", evidence.comparisons, format_labels(evidence.comparisons)),
        ("of answers by the SFT policy", sft, format_settings(sft, "epochs", "learning_rate")),
        ("which learned from demonstrations", demonstrations, format_labels(demonstrations)),
        ("All of them start from prompts", prompts, prompt_count),
    ]
    return [(title, node, text) for title, node, text in stops if node is not None]


def format_settings(node: Node, *names: str) -> str:
    """The settings that matter most, in words."""
    settings = node.manifest.get("settings", {})
    return ", ".join(f"{name} {settings[name]}" for name in names if name in settings)


def format_labels(node: Node | None) -> str:
    """Whose labels a stage holds, by what guidelines."""
    if node is None or not node.people:
        return ""
    total = sum(person.labels for person in node.people)
    names = sorted({person.labeler for person in node.people})
    rest = len(names) - LABELERS_NAMED
    named = ", ".join(names[:LABELERS_NAMED]) + (f" and {count(rest)} more" if rest > 0 else "")
    guidelines = ", ".join(sorted({version for person in node.people for version in person.guidelines}))
    people = "simulated labelers" if node.simulated else "labelers"
    kind = node.people[0].kind
    return f"{count(total)} {kind} by {count(len(names))} {people} ({named}), guideline {guidelines}."


def tree(evidence: Evidence, node: Node, drawn: set[str], word: str = "", same: bool = True) -> Branch:
    """A node with everything behind it; one in `drawn`, which grows, is only named."""
    repeated = node.name in drawn
    drawn.add(node.name)
    below = []
    for arrow in node.arrows if not repeated else ():
        below.append(tree(evidence, evidence.lineage.nodes[arrow.name], drawn, arrow.word, arrow.same))
    rows = ", ".join(f"{count(number)} lines of {file}" for file, number in node.rows.items())
    return Branch(word, node, format_labels(node) or rows, same, repeated, below)


def labeler_rows(evidence: Evidence) -> Iterator[list[str]]:
    """One line for each labeler, by panel and name: who, which panel, what they gave, by which guidelines."""
    labels: dict[Person, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    guidelines: dict[Person, set[str]] = collections.defaultdict(set)
    for part in evidence.lineage.people():
        person = (part.labeler, part.panel.replace("_", "-"), part.simulated)
        labels[person][part.kind] += part.labels
        guidelines[person].update(part.guidelines)
    for person in sorted(labels, key=lambda person: (person[1], person[0])):
        labeler, panel, simulated = person
        numbers = [labels[person][kind] for kind in ("demonstrations", "rankings", "ratings")]
        yield [
            labeler,
            panel,
            "simulated" if simulated else "person",
            *(count(number) if number else "" for number in numbers),
            ", ".join(sorted(guidelines[person])),
        ]
