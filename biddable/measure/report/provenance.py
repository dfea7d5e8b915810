"""The way back from a number to people: the stages behind it, their labels, labelers and guidelines."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any, NamedTuple

from biddable.measure.report.evidence import Evidence
from biddable.measure.report.wording import count
from biddable.run.lineage import Node


class Branch(NamedTuple):
    """One line of the lineage tree."""

    word: str
    node: Node
    what: str
    same: bool
    seen: bool  # drawn further up already
    below: list[Any]


def walk(evidence: Evidence) -> list[tuple[str, Node, str]]:
    """From the headline back to the prompts, one sentence a stop."""
    ranked, shown = (
        evidence.lineage.through(evidence.winrate, "comparisons"),
        evidence.lineage.through(evidence.sft, "demonstrations"),
    )
    prompts = evidence.lineage.through(evidence.ppo, "prompts")
    stops = [
        ("The win rates", evidence.winrate, "count pairs of answers."),
        ("The pairs are from rankings", ranked, format_labels(ranked)),
        ("of answers", evidence.replies, "by all models to the same new prompts."),
        ("The policy", evidence.ppo, format_settings(evidence.ppo, "episodes", "kl_coef", "ptx_coef")),
        (
            "was scored by the reward model",
            evidence.reward,
            format_settings(evidence.reward, "epochs", "batch"),
        ),
        ("which learned from rankings", evidence.comparisons, format_labels(evidence.comparisons)),
        (
            "of answers by the SFT policy",
            evidence.sft,
            format_settings(evidence.sft, "epochs", "learning_rate"),
        ),
        ("which learned from demonstrations", shown, format_labels(shown)),
        (
            "All of them start from prompts",
            prompts,
            f"{count(prompts.rows.get('prompts.jsonl', 0))} prompts." if prompts else "",
        ),
    ]
    return [(title, node, text) for title, node, text in stops if node is not None]


def format_settings(node: Node, *names: str) -> str:
    """The settings that matter most, in words."""
    held = node.manifest.get("settings", {})
    return ", ".join(f"{name} {held[name]}" for name in names if name in held)


def format_labels(node: Node | None) -> str:
    """Whose labels a stage holds, by what guidelines."""
    if node is None or not node.people:
        return ""
    kind = node.people[0].kind
    total = sum(one.labels for one in node.people)
    names = sorted({one.labeler for one in node.people})
    shown = ", ".join(names[:8]) + (f" and {count(len(names) - 8)} more" if len(names) > 8 else "")
    guidelines = ", ".join(sorted({g for one in node.people for g in one.guidelines}))
    people = "simulated labelers" if node.simulated else "labelers"
    return f"{count(total)} {kind} by {count(len(names))} {people} ({shown}), guideline {guidelines}."


def tree(evidence: Evidence, node: Node, seen: set[str], word: str = "", same: bool = True) -> Branch:
    """A node with everything behind it; what was drawn already is only named."""
    drawn = node.name in seen
    seen.add(node.name)
    below = (
        []
        if drawn
        else [tree(evidence, evidence.lineage.nodes[a.name], seen, a.word, a.same) for a in node.arrows]
    )
    rows = ", ".join(f"{count(n)} lines of {file}" for file, n in node.rows.items())
    return Branch(word, node, format_labels(node) or rows, same, drawn, below)


def labeler_rows(evidence: Evidence) -> Iterator[list[str]]:
    """One line for each labeler: who, which panel, what they gave, by which guidelines."""
    held: dict[tuple[str, str, bool], dict[str, int]] = collections.defaultdict(
        lambda: collections.defaultdict(int)
    )
    rules: dict[tuple[str, str, bool], set[str]] = collections.defaultdict(set)
    for one in evidence.lineage.people():
        key = (one.labeler, one.panel.replace("_", "-"), one.simulated)
        held[key][one.kind] += one.labels
        rules[key].update(one.guidelines)
    for (labeler, panel, simulated), gave in sorted(held.items(), key=lambda item: (item[0][1], item[0][0])):
        kinds = [
            count(gave[kind]) if gave[kind] else "" for kind in ("demonstrations", "rankings", "ratings")
        ]
        guidelines = ", ".join(sorted(rules[labeler, panel, simulated]))
        yield [labeler, panel, "simulated" if simulated else "person", *kinds, guidelines]
