"""Ratings by model: overall quality from 1 to 7, and the yes-or-no questions of the form."""

from __future__ import annotations

from collections.abc import Sequence

from biddable.measure.report import paper_plots, plots
from biddable.measure.report.evidence import Chapter, Evidence, Figure, estimate
from biddable.measure.report.paper_plots import Bars
from biddable.measure.report.plots import Dot
from biddable.measure.report.wording import count
from biddable.measure.statistics import Estimate


def chapter(evidence: Evidence) -> Chapter:
    """The 1 to 7 and the form's questions, by model."""
    anchor, title = "ratings", "What labelers noted about the answers"
    node = evidence.ratings_by_model
    if node is None:
        return Chapter(anchor, title, [], left_out=["This is left out: the run has no [measure.ratings]."])
    summary = node.summary
    counted = [
        key.removesuffix("_count") for key in summary if key.endswith("_count") and "_minus_" not in key
    ]
    models = [key.removeprefix("overall_") for key in counted if key.startswith("overall_")]
    questions = sorted(
        {question for key in counted if (question := question_of(key, models)) and question != "overall"}
    )
    parts = [
        Bars(
            evidence.title(m),
            [estimate(summary, f"{question}_{m}") for question in questions],
            evidence.role(m),
        )
        for m in models
    ]
    drawn = []
    dots = [
        Dot(evidence.title(m), found, evidence.role(m))
        for m in models
        if (found := estimate(summary, f"overall_{m}"))
    ]

    def words(found: Estimate) -> str:
        return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"

    alt = "; ".join(f"{dot.label}: {words(dot.estimate)}" for dot in dots)
    svg = plots.dots("overall", alt, dots, "mean rating (1 to 7)", words, scale=1.0, limits=(1, 7))
    drawn.append(
        Figure(svg, "Overall quality", "Lines are 95 % intervals over prompts and labelers.", (node.name,))
    )
    if questions:
        alt = "; ".join(
            f"{part.label}: "
            + ", ".join(
                f"{q} {100 * one.value:.0f} %"
                for q, one in zip(questions, part.estimates, strict=True)
                if one
            )
            for part in parts
        )
        svg = paper_plots.bars("metadata", alt, questions, parts, "answers for which labelers said yes (%)")
        drawn.append(
            Figure(
                svg,
                "The form’s questions",
                "Only answers to which a question applies. Black lines: 95 % intervals.",
                (node.name,),
            )
        )
    who = "Simulated labelers" if summary.get("simulated") else "Labelers"
    return Chapter(anchor, title, [f"{who} gave {count(summary.get('ratings', 0))} ratings."], drawn)


def question_of(key: str, models: Sequence[str]) -> str | None:
    """The question of a summary's QUESTION_MODEL; of models whose names end alike, the longest is meant."""
    fitting = [model for model in models if key.endswith(f"_{model}")]
    return key.removesuffix(f"_{max(fitting, key=len)}") if fitting else None
