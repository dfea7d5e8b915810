"""Win rates: who is preferred to whom, overall, by use case, and all models on one scale."""

from __future__ import annotations

from biddable.measure.report import plots, wording
from biddable.measure.report.evidence import Chapter, Evidence, Figure, Table, estimate
from biddable.measure.report.plots import Dot
from biddable.measure.report.wording import between, count, percent, signed, with_interval
from biddable.measure.statistics import Estimate
from biddable.run import jsonl


def chapter(evidence: Evidence) -> Chapter:
    """Who is preferred to whom, overall and by use case."""
    summary, own = evidence.winrate.summary, (evidence.winrate.name,)
    who = (
        "A language model" if "judge" in summary else f"{count(summary.get('labelers', 0))} {evidence.judges}"
    )
    paragraphs = [
        f"{who} ranked the answers of all models to {count(summary.get('prompts', 0))} prompts "
        f"({count(summary.get('rankings', 0))} rankings) without being told whose they were; ties were allowed. A dot is "
        "the share of pairs that a model won, a tie counting half. The line through it is the 95 % interval: if other prompts and "
        "other labelers were drawn, the share would be expected within it.",
    ]
    dots = [
        Dot(f"{evidence.title(one)} over {evidence.title(other)}", found, evidence.role(one))
        for key, one, other in evidence.pairs()
        if (found := estimate(summary, key))
    ]
    alt = "; ".join(f"{dot.label}: {with_interval(dot.estimate)}" for dot in dots)
    if "judge" in summary:
        with_people = estimate(summary, "agreement_with_people")
        known = (
            f"agrees with people on {percent(with_people.value)} ({between(with_people)})"
            if with_people
            else "was not compared with people"
        )
        paragraphs.append(
            f"These verdicts are by a language model, {wording.clean(summary['judge'], 60)}, not by people. It {known} and says the same in both orders "
            f"of the answers in {percent(float(summary.get('consistent') or 0))} of pairs; the other pairs count as ties."
        )
    figures = [
        Figure(
            plots.dots("win-rates", alt, dots, "pairs won (%)", with_interval, centre=50, limits=(0, 100)),
            "Who is preferred to whom",
            "The dashed line at 50 % is where neither is preferred.",
            own,
        )
    ]
    figures += elo_figures(evidence) + use_case_figures(evidence)
    return Chapter(
        "win-rates", "Who is preferred", paragraphs, figures, [pair_table(evidence), answer_table(evidence)]
    )


def use_case_figures(evidence: Evidence) -> list[Figure]:
    """The headline pair by use case."""
    key = f"{evidence.short(evidence.ppo)}_over_{evidence.short(evidence.sft)}"
    rows = [
        row
        for row in jsonl.read_objects(evidence.winrate.folder / "use_cases.jsonl", ("pair", "rate"))
        if row["pair"] == key
    ]
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
    alt = "; ".join(f"{dot.label}: {with_interval(dot.estimate)}" for dot in dots)
    return [
        Figure(
            plots.dots("use-cases", alt, dots, "pairs won (%)", with_interval, centre=50, limits=(0, 100)),
            f"{evidence.title(evidence.short(evidence.ppo))} over {evidence.title(evidence.short(evidence.sft))}, by use case",
            "In brackets: prompts. Few prompts make wide intervals.",
            (evidence.winrate.name,),
        )
    ]


def elo_figures(evidence: Evidence) -> list[Figure]:
    """All models on one scale."""
    rows = jsonl.read_objects(evidence.winrate.folder / "ladder.jsonl", ("model", "elo"))
    if len(rows) < 3:
        return []
    dots = [
        Dot(
            evidence.title(row["model"]),
            Estimate(row["elo"], row["low"], row["high"]),
            evidence.role(row["model"]),
        )
        for row in rows
    ]

    def words(found: Estimate) -> str:
        return f"{found.value:+.0f} ({found.low:+.0f} to {found.high:+.0f})".replace("-", "−")

    alt = "; ".join(f"{dot.label}: {words(dot.estimate)}" for dot in dots)
    svg = plots.dots("ladder", alt, dots, "Elo points", words, scale=1.0, centre=0)
    caption = (
        "Bradley-Terry strengths from all pairs; 0 is the mean of these models, 100 points more win 64 %."
    )
    return [Figure(svg, "The ladder", caption, (evidence.winrate.name,))]


def pair_table(evidence: Evidence) -> Table:
    """Every pair with what stands behind its rate."""
    summary, rows = evidence.winrate.summary, []
    for key, one, other in evidence.pairs():
        found, equal = estimate(summary, key), estimate(summary, f"{key}_equal_length")
        if found is None:
            continue
        rows.append(
            [
                f"{evidence.title(one)} over {evidence.title(other)}",
                percent(found.value, 1),
                between(found, 1),
                f"{percent(equal.value, 1)} ({between(equal, 1)})" if equal else "",
                signed(
                    float(summary.get(f"{key}_longer", 0.0)), 1, str(summary.get("length_unit", "tokens"))
                ),
                percent(float(summary.get(f"{key}_ties", 0.0)), 1),
                *(count(summary[f"{key}_{what}"]) for what in ("pairs", "prompts", "labelers")),
            ]
        )
    head = (
        "pair",
        "won",
        "95 % interval",
        "won at equal length",
        "longer by",
        "ties",
        "pairs",
        "prompts",
        "labelers",
    )
    return Table("Win rates in numbers", head, rows, (evidence.winrate.name,))


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
    return Table(
        "The answers that were ranked",
        ("model", f"mean length ({unit})", "finished"),
        rows,
        (evidence.winrate.name,),
    )
