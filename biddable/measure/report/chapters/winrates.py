"""Win rates: who is preferred to whom, overall, by use case, and all models on one scale."""

from __future__ import annotations

from typing import Any

from biddable.measure.report import plots, wording
from biddable.measure.report.evidence import Chapter, Evidence, Figure, Table, estimate
from biddable.measure.report.plots import Dot
from biddable.measure.report.wording import between, count, percent, signed, with_interval
from biddable.measure.statistics import Estimate
from biddable.run import jsonl


def chapter(evidence: Evidence) -> Chapter:
    """Who is preferred to whom, overall and by use case, with tables of what stands behind it."""
    summary = evidence.winrate.summary
    by_model = "judge" in summary
    who = "A language model" if by_model else f"{count(summary.get('labelers', 0))} {evidence.judges}"
    paragraphs = [
        f"{who} ranked the answers of all models to {count(summary.get('prompts', 0))} prompts "
        f"({count(summary.get('rankings', 0))} rankings) without being told whose they were; ties were "
        "allowed. A dot is "
        "the share of pairs that a model won, a tie counting half. The line through it is the 95 % interval: "
        "if other prompts and "
        "other labelers were drawn, the share would be expected within it.",
    ]
    if by_model:
        paragraphs.append(judge_caveat(summary))
    figures = [pairs_figure(evidence), *elo_figures(evidence), *use_case_figures(evidence)]
    tables = [pair_table(evidence), answer_table(evidence)]
    return Chapter("win-rates", "Who is preferred", paragraphs, figures, tables)


def judge_caveat(summary: dict[str, Any]) -> str:
    """How far a language model's verdicts can be trusted: agreement with people, and consistency when answers
    swap places."""
    agreement = estimate(summary, "agreement_with_people")
    trust = (
        f"agrees with people on {percent(agreement.value)} ({between(agreement)})"
        if agreement
        else "was not compared with people"
    )
    return (
        f"These verdicts are by a language model, {wording.clean(summary['judge'], 60)}, not by people. It "
        f"{trust} and says the same in both orders "
        f"of the answers in {percent(float(summary.get('consistent') or 0))} of pairs; the other pairs count "
        "as ties."
    )


def pairs_figure(evidence: Evidence) -> Figure:
    """All measured pairs, the strongest first."""
    dots = [
        Dot(f"{evidence.title(winner)} over {evidence.title(loser)}", rate, evidence.role(winner))
        for key, winner, loser in evidence.pairs()
        if (rate := estimate(evidence.winrate.summary, key))
    ]
    svg = share_plot("win-rates", dots)
    caption = "The dashed line at 50 % is where neither is preferred."
    return Figure(svg, "Who is preferred to whom", caption, (evidence.winrate.name,))


def use_case_figures(evidence: Evidence) -> list[Figure]:
    """The headline pair by use case."""
    key = f"{evidence.short(evidence.ppo)}_over_{evidence.short(evidence.sft)}"
    lines = jsonl.read_objects(evidence.winrate.folder / "use_cases.jsonl", ("pair", "rate"))
    rows = [row for row in lines if row["pair"] == key]
    if len(rows) < 2:
        return []
    rows.sort(key=lambda row: -float(row["rate"]))
    dots = [
        Dot(
            f"{wording.clean(row['use_case'], 22)} ({row['prompts']})",
            Estimate(row["rate"], row["low"], row["high"]),
            "ppo",
        )
        for row in rows
    ]
    svg = share_plot("use-cases", dots)
    title = f"{evidence.node_title(evidence.ppo)} over {evidence.node_title(evidence.sft)}, by use case"
    caption = "In brackets: prompts. Few prompts make wide intervals."
    return [Figure(svg, title, caption, (evidence.winrate.name,))]


def share_plot(name: str, dots: list[Dot]) -> str:
    """Shares of pairs won from 0 to 100 %, with a line at 50 %."""
    alt = "; ".join(f"{dot.label}: {with_interval(dot.estimate)}" for dot in dots)
    return plots.dots(name, alt, dots, "pairs won (%)", with_interval, centre=50, limits=(0, 100))


def elo_figures(evidence: Evidence) -> list[Figure]:
    """All models on one scale. For two models that scale says no more than their win rate."""
    rows = jsonl.read_objects(evidence.winrate.folder / "ladder.jsonl", ("model", "elo"))
    if len(rows) < 3:
        return []

    def words(elo: Estimate) -> str:
        return f"{elo.value:+.0f} ({elo.low:+.0f} to {elo.high:+.0f})".replace("-", "−")

    dots = [
        Dot(
            evidence.title(row["model"]),
            Estimate(row["elo"], row["low"], row["high"]),
            evidence.role(row["model"]),
        )
        for row in rows
    ]
    alt = "; ".join(f"{dot.label}: {words(dot.estimate)}" for dot in dots)
    svg = plots.dots("ladder", alt, dots, "Elo points", words, scale=1.0, centre=0)
    # Elo's scale: a difference of d points is a win rate of 1 / (1 + 10^(-d / 400)), which is 0.64 at 100.
    caption = (
        "Bradley-Terry strengths from all pairs; 0 is the mean of these models, 100 points more win 64 %."
    )
    return [Figure(svg, "The ladder", caption, (evidence.winrate.name,))]


def pair_table(evidence: Evidence) -> Table:
    """Every pair with what stands behind its rate."""
    summary = evidence.winrate.summary
    unit = str(summary.get("length_unit", "tokens"))
    rows = []
    for key, winner, loser in evidence.pairs():
        rate, equal = estimate(summary, key), estimate(summary, f"{key}_equal_length")
        if rate is None:
            continue
        rows.append(
            [
                f"{evidence.title(winner)} over {evidence.title(loser)}",
                percent(rate.value, 1),
                between(rate, 1),
                f"{percent(equal.value, 1)} ({between(equal, 1)})" if equal else "cannot be told",
                signed(float(longer), 1, unit)
                if (longer := summary.get(f"{key}_longer")) is not None
                else "",
                percent(float(summary.get(f"{key}_ties", 0.0)), 1),
                *(count(summary[f"{key}_{what}"]) for what in ("pairs", "prompts", "labelers")),
            ]
        )
    head = ("pair", "won", "95 % interval", "won at equal length", "longer by", "ties")
    return Table(
        "Win rates in numbers",
        (*head, "pairs", "prompts", "labelers"),
        rows,
        (evidence.winrate.name,),
    )


def answer_table(evidence: Evidence) -> Table:
    """Length and finish of each model's answers."""
    summary = evidence.winrate.summary
    names = [key.removeprefix("finished_") for key in summary if key.startswith("finished_")]
    unit = str(summary.get("length_unit", "tokens"))
    rows = [
        [evidence.title(name), f"{summary[f'length_{name}']:.1f}", percent(summary[f"finished_{name}"], 1)]
        for name in names
        if f"length_{name}" in summary
    ]
    head = ("model", f"mean length ({unit})", "finished")
    return Table("The answers that were ranked", head, rows, (evidence.winrate.name,))
