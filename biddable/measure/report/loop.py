"""The loop as a row of stations: ask, show, compare, practise, measure."""

from __future__ import annotations

from typing import NamedTuple

from biddable.measure.report import wording
from biddable.measure.report.evidence import Evidence
from biddable.measure.report.wording import count
from biddable.run.lineage import Node


class Station(NamedTuple):
    """One station of the loop: what happens there, its numbers, and the stages that did it."""

    title: str
    text: str
    numbers: list[tuple[str, str]]
    stages: list[str]
    seconds: str


def stations(evidence: Evidence) -> list[Station]:
    """The loop as stations, found by following the inputs, whatever the stages are called."""
    through = evidence.lineage.through
    prompts, shown = through(evidence.ppo, "prompts"), through(evidence.sft, "demonstrations")
    replies, ranked = through(evidence.comparisons, "replies"), through(evidence.winrate, "comparisons")
    asked = prompts and prompts.rows.get("prompts.jsonl")
    stations: list[tuple[str, str, list[tuple[str, str] | None], list[Node | None]]] = [
        (
            "Ask",
            "Prompts are cleaned and split, so that no user’s prompts are both learned from and measured with.",
            [(count(asked), "prompts") if asked else None],
            [prompts],
        ),
        (
            "Show",
            "Labelers give the answers they would want to see. The model learns to imitate them (SFT).",
            [count_records(shown, "demonstrations.jsonl", "demonstrations"), count_labelers(shown)],
            [shown, evidence.sft],
        ),
        (
            "Compare",
            "The model answers, labelers rank the answers, and a reward model learns what they prefer.",
            [
                count_records(evidence.comparisons, "comparisons.jsonl", "rankings"),
                count_pairs(evidence),
                count_labelers(evidence.comparisons),
            ],
            [replies, evidence.comparisons, evidence.reward],
        ),
        (
            "Practise",
            "The policy answers prompts and is moved towards what scores well, but not far from where it began (PPO).",
            [
                (count(evidence.ppo.summary["episodes"]), "episodes")
                if "episodes" in evidence.ppo.summary
                else None,
                (count(evidence.ppo.summary["steps"]), "steps") if "steps" in evidence.ppo.summary else None,
            ],
            [evidence.ppo],
        ),
        (
            "Measure",
            "Labelers who gave no training data rank all models’ answers to new prompts, blind.",
            [count_records(ranked, "comparisons.jsonl", "rankings"), count_labelers(ranked)],
            [evidence.replies, ranked, evidence.winrate],
        ),
    ]
    steps = []
    for title, text, numbers, nodes in stations:
        own = [node for node in nodes if node is not None]
        took = sum(float(node.manifest.get("seconds", 0)) for node in own)
        steps.append(
            Station(
                title,
                text,
                [n for n in numbers if n],
                [n.name for n in own],
                wording.seconds(took),
            )
        )
    return steps


def count_records(node: Node | None, file: str, what: str) -> tuple[str, str] | None:
    """How many records a stage's file holds."""
    return (count(node.rows[file]), what) if node and file in node.rows else None


def count_labelers(node: Node | None) -> tuple[str, str] | None:
    """How many people gave a stage's labels."""
    if node is None or not node.people:
        return None
    return count(
        len({one.labeler for one in node.people})
    ), "simulated labelers" if node.simulated else "labelers"


def count_pairs(evidence: Evidence) -> tuple[str, str] | None:
    """Pairs that the reward model learned from."""
    return (count(evidence.reward.summary["pairs"]), "pairs") if "pairs" in evidence.reward.summary else None
