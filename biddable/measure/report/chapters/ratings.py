"""Ratings by model: overall quality from 1 to 7, and the yes-or-no questions of the form (Ouyang et al. 2022,
figure 4)."""

from __future__ import annotations

from collections.abc import Sequence

from biddable.measure.report import paper_plots, plots
from biddable.measure.report.evidence import Chapter, Evidence, Figure, estimate
from biddable.measure.report.paper_plots import Bars
from biddable.measure.report.plots import Dot
from biddable.measure.report.wording import count
from biddable.measure.statistics import Estimate
from biddable.run.lineage import Node


def chapter(evidence: Evidence) -> Chapter:
    """One plot of overall quality, and one of the form's questions where any were answered."""
    anchor, title = "ratings", "What labelers noted about the answers"
    node = evidence.ratings_by_model
    if node is None:
        return Chapter(anchor, title, [], left_out=["This is left out: the run has no [measure.ratings]."])
    # The summary has QUESTION_MODEL with QUESTION_MODEL_count for each, beside differences
    # QUESTION_MODEL_minus_MODEL.
    keys = [
        key.removesuffix("_count") for key in node.summary if key.endswith("_count") and "_minus_" not in key
    ]
    models = [key.removeprefix("overall_") for key in keys if key.startswith("overall_")]
    questions = sorted({question_of(key, models) for key in keys} - {None, "overall"}, key=str)
    figures = [overall_figure(evidence, node, models)]
    if questions:
        figures.append(questions_figure(evidence, node, models, [str(question) for question in questions]))
    who = "Simulated labelers" if node.summary.get("simulated") else "Labelers"
    return Chapter(anchor, title, [f"{who} gave {count(node.summary.get('ratings', 0))} ratings."], figures)


def overall_figure(evidence: Evidence, node: Node, models: Sequence[str]) -> Figure:
    """Mean overall quality, one dot a model."""

    def words(rating: Estimate) -> str:
        return f"{rating.value:.2f} ({rating.low:.2f} to {rating.high:.2f})"

    dots = [
        Dot(evidence.title(model), rating, evidence.role(model))
        for model in models
        if (rating := estimate(node.summary, f"overall_{model}"))
    ]
    alt = "; ".join(f"{dot.label}: {words(dot.estimate)}" for dot in dots)
    svg = plots.dots("overall", alt, dots, "mean rating (1 to 7)", words, scale=1.0, limits=(1, 7))
    return Figure(svg, "Overall quality", "Lines are 95 % intervals over prompts and labelers.", (node.name,))


def questions_figure(
    evidence: Evidence, node: Node, models: Sequence[str], questions: Sequence[str]
) -> Figure:
    """Shares of answers for which labelers said yes, one bar a model and question."""
    bars = [
        Bars(
            evidence.title(model),
            [estimate(node.summary, f"{question}_{model}") for question in questions],
            evidence.role(model),
        )
        for model in models
    ]
    texts = []
    for bar in bars:
        shares = [
            f"{question} {100 * share.value:.0f} %"
            for question, share in zip(questions, bar.estimates, strict=True)
            if share
        ]
        texts.append(f"{bar.label}: {', '.join(shares)}")
    svg = paper_plots.bars(
        "metadata", "; ".join(texts), questions, bars, "answers for which labelers said yes (%)"
    )
    caption = "Only answers to which a question applies. Black lines: 95 % intervals."
    return Figure(svg, "The form’s questions", caption, (node.name,))


def question_of(key: str, models: Sequence[str]) -> str | None:
    """The question of a summary's QUESTION_MODEL, None without a model; of models whose names end alike, the
    longest one counts."""
    endings = [model for model in models if key.endswith(f"_{model}")]
    return key.removesuffix(f"_{max(endings, key=len)}") if endings else None
