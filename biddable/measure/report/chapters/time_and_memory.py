"""How long every stage took, on what machine, and its peak memory."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from biddable.measure.report import wording
from biddable.measure.report.evidence import Chapter, Evidence, Table
from biddable.run.lineage import Node


def chapter(evidence: Evidence) -> Chapter:
    """A table of all stages with a bar for their time, and their memory where it was recorded."""
    nodes = [node for node in evidence.lineage.nodes.values() if node.manifest]
    durations = [float(node.manifest["seconds"]) for node in nodes]
    longest = max(durations, default=0.0) or 1.0
    memory = {node.name: peak for node in nodes if (peak := peak_memory(node)) is not None}
    hosts = sorted(
        {f"{node.manifest['host']['machine']}, {node.manifest['host']['cores']} cores" for node in nodes}
    )
    rows: list[list[Any]] = []
    for node, duration in zip(nodes, durations, strict=True):
        link = Markup('<a href="#stage-{0}">{0}</a>').format(node.name)
        share = f"{100 * duration / longest:.2f}"
        bar = Markup('<span class="bar" style="--share: {}%"></span>').format(share)
        rows.append([link, wording.seconds(duration), bar])
        if memory:
            rows[-1].append(f"{memory[node.name]:.2f}{wording.THIN}GB" if node.name in memory else "")
    head = ("stage", "time", "", "peak memory") if memory else ("stage", "time", "")
    total = wording.seconds(sum(durations))
    paragraphs = [f"The stages behind this page took {total} together ({'; '.join(hosts)})."]
    left_out = [] if memory else ["Peak memory is left out: no stage recorded it."]
    table = Table("Stages, inputs first", head, rows, ())
    return Chapter("time", "Time and memory", paragraphs, tables=[table], left_out=left_out)


def peak_memory(node: Node) -> float | None:
    """GB at most in use while a stage ran, where its manifest or summary says so."""
    peak = node.manifest.get("peak_memory_gb", node.summary.get("peak_memory_gb"))
    return float(peak) if isinstance(peak, int | float) else None
