"""The alignment tax on running text: how PPO changed the likelihood of text that no policy was trained on."""

from __future__ import annotations

from biddable.measure.report import plots, wording
from biddable.measure.report.evidence import Chapter, Evidence, Figure, Table, estimate
from biddable.measure.report.plots import Dot
from biddable.measure.report.wording import signed
from biddable.measure.statistics import Estimate

ANCHOR, TITLE = "alignment-tax", "The alignment tax"
OPENING = (
    "A policy that learns to please may forget how ordinary text goes on. We measure the negative "
    "log-likelihood of running text that no "
    "policy was trained on; PPO-ptx mixes pretraining text into each update to hold it down."
)


def chapter(evidence: Evidence) -> Chapter:
    """Change of the NLL from the SFT policy's, with and without the pretraining mix."""
    node = evidence.text
    if node is None:
        return Chapter(
            ANCHOR, TITLE, [OPENING], left_out=["This is left out: the run has no [measure.text]."]
        )
    relative_to = str(node.manifest.get("settings", {}).get("relative_to", evidence.sft.name))
    baseline = evidence.title(evidence.short_of(relative_to))
    names = [
        key.removeprefix("nll_change_")
        for key in node.summary
        if key.startswith("nll_change_") and f"{key}_low" in node.summary
    ]
    changes = {name: change for name in names if (change := estimate(node.summary, f"nll_change_{name}"))}
    dots = [Dot(evidence.title(name), change, evidence.role(name)) for name, change in changes.items()]
    svg = plots.dots(
        "tax",
        "; ".join(f"{dot.label}: {signed(dot.estimate.value)}" for dot in dots),
        dots,
        f"change of the NLL relative to {baseline} (%)",
        lambda change: signed(change.value, 2),
        scale=1,
        centre=0,
    )
    caption = "Right of the dashed line: text has become more surprising. 95 % intervals over pieces of text."
    rows = [
        [
            evidence.title(name),
            wording.plain_interval(nll, 3),
            signed(change.value, 2),
            format_change_interval(change),
        ]
        for name, change in changes.items()
        if (nll := estimate(node.summary, f"nll_{name}"))
    ]
    head = ("model", "NLL (nats per token)", f"change from {baseline}", "95 % interval")
    return Chapter(
        ANCHOR,
        TITLE,
        [OPENING],
        [Figure(svg, "Change on held-out text", caption, (node.name,))],
        [Table("Text likelihood in numbers", head, rows, (node.name,))],
    )


def format_change_interval(change: Estimate) -> str:
    """'−0.12 % to +0.40 %': an interval of changes that are in percent already."""
    return f"{signed(change.low, 2)} to {signed(change.high, 2)}"
