"""The loop as a row of stations: ask, show, compare, practise, measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from biddable.measure.report import wording
from biddable.measure.report.evidence import Evidence
from biddable.measure.report.wording import count
from biddable.run.lineage import Node

Number = tuple[str, str]
"""A number and what it counts: ('720', 'prompts')."""


class Station(NamedTuple):
    """One station of the loop: what happens there, its numbers, and the stages that did it."""

    title: str
    text: str
    numbers: list[Number]
    stages: list[str]
    seconds: str


def stations(evidence: Evidence) -> list[Station]:
    """The loop's stages, looked up by following the inputs, whatever the stages are called."""
    through = evidence.lineage.through
    ppo, comparisons = evidence.ppo, evidence.comparisons
    prompts, demonstrations = through(ppo, "prompts"), through(evidence.sft, "demonstrations")
    rankings = through(evidence.winrate, "comparisons")
    return [
        station(
            "Ask",
            "Prompts are cleaned and split, so that no user’s prompts are both learned from and measured "
            "with.",
            [count_records(prompts, "prompts.jsonl", "prompts")],
            [prompts],
        ),
        station(
            "Show",
            "Labelers give the answers they would want to see. The model learns to imitate them (SFT).",
            [
                count_records(demonstrations, "demonstrations.jsonl", "demonstrations"),
                count_labelers(demonstrations),
            ],
            [demonstrations, evidence.sft],
        ),
        station(
            "Compare",
            "The model answers, labelers rank the answers, and a reward model learns what they prefer.",
            [
                count_records(comparisons, "comparisons.jsonl", "rankings"),
                final_number(evidence.reward, "pairs"),
                count_labelers(comparisons),
            ],
            [through(comparisons, "replies"), comparisons, evidence.reward],
        ),
        station(
            "Practise",
            "The policy answers prompts and is moved towards what scores well, but not far from where it "
            f"began ({evidence.algorithm}).",
            [final_number(ppo, "episodes"), final_number(ppo, "steps")],
            [ppo],
        ),
        station(
            "Measure",
            "Labelers who gave no training data rank all models’ answers to new prompts, blind.",
            [count_records(rankings, "comparisons.jsonl", "rankings"), count_labelers(rankings)],
            [evidence.replies, rankings, evidence.winrate],
        ),
    ]


def station(title: str, text: str, numbers: Sequence[Number | None], nodes: Sequence[Node | None]) -> Station:
    """A station with the numbers and stages that the run has."""
    stages = [node for node in nodes if node is not None]
    seconds = sum(float(node.manifest.get("seconds", 0)) for node in stages)
    return Station(
        title,
        text,
        [number for number in numbers if number is not None],
        [node.name for node in stages],
        wording.seconds(seconds),
    )


def count_records(node: Node | None, file: str, what: str) -> Number | None:
    """How many records a stage's file holds."""
    return (count(node.rows[file]), what) if node and file in node.rows else None


def count_labelers(node: Node | None) -> Number | None:
    """How many people gave a stage's labels."""
    if node is None or not node.people:
        return None
    labelers = {person.labeler for person in node.people}
    return count(len(labelers)), "simulated labelers" if node.simulated else "labelers"


def final_number(node: Node, key: str) -> Number | None:
    """One number of a stage's summary, named by its key."""
    return (count(node.summary[key]), key) if key in node.summary else None
