"""The alignment tax on running text: how PPO changed the likelihood of text no policy was trained on."""

from __future__ import annotations

from biddable.measure.report import plots, wording
from biddable.measure.report.evidence import Chapter, Evidence, Figure, Table, estimate
from biddable.measure.report.plots import Dot
from biddable.measure.report.wording import signed
from biddable.measure.statistics import Estimate


def chapter(evidence: Evidence) -> Chapter:
    """What reading running text costs after PPO, with and without the pretraining mix."""
    title, anchor = "The alignment tax", "alignment-tax"
    opening = (
        "A policy that learns to please may forget how ordinary text goes on. We measure the negative log-likelihood of running text that no "
        "policy was trained on; PPO-ptx mixes pretraining text into each update to hold it down."
    )
    if evidence.text is None:
        return Chapter(
            anchor, title, [opening], left_out=["This is left out: the run has no [measure.text]."]
        )
    summary, own = evidence.text.summary, (evidence.text.name,)
    base = evidence.title(
        evidence.short_of(
            str(evidence.text.manifest.get("settings", {}).get("relative_to", evidence.sft.name))
        )
    )
    names = [
        k.removeprefix("nll_change_")
        for k in summary
        if k.startswith("nll_change_") and f"{k}_low" in summary
    ]
    found = {n: (estimate(summary, f"nll_{n}"), estimate(summary, f"nll_change_{n}")) for n in names}
    changes = [
        Dot(evidence.title(name), change, evidence.role(name))
        for name, (_, change) in found.items()
        if change
    ]
    alt = "; ".join(f"{dot.label}: {signed(dot.estimate.value)}" for dot in changes)
    xlabel = f"change of the NLL relative to {base} (%)"
    svg = plots.dots("tax", alt, changes, xlabel, lambda change: signed(change.value, 2), scale=1, centre=0)
    caption = "Right of the dashed line: text has become more surprising. 95 % intervals over pieces of text."
    rows = [
        [
            evidence.title(n),
            wording.plain_interval(nll, 3),
            signed(change.value, 2),
            format_change_interval(change),
        ]
        for n, (nll, change) in found.items()
        if nll and change
    ]
    table = Table(
        "Text likelihood in numbers",
        ("model", "NLL (nats per token)", f"change from {base}", "95 % interval"),
        rows,
        own,
    )
    return Chapter(anchor, title, [opening], [Figure(svg, "Change on held-out text", caption, own)], [table])


def format_change_interval(found: Estimate) -> str:
    """An interval of changes, in percent with signs."""
    return f"{signed(found.low, 2)} to {signed(found.high, 2)}"
