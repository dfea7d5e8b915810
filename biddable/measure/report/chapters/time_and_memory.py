"""How long every stage took, on what machine, and its peak memory."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from biddable.measure.report import wording
from biddable.measure.report.evidence import Chapter, Evidence, Table
from biddable.run.lineage import Node


def chapter(evidence: Evidence) -> Chapter:
    """How long every stage took, on what machine, and its memory where it was recorded."""
    nodes = [node for node in evidence.lineage.nodes.values() if node.manifest]
    total = sum(float(node.manifest["seconds"]) for node in nodes)
    longest = max((float(node.manifest["seconds"]) for node in nodes), default=0.0) or 1.0
    memory = {node.name: peak for node in nodes if (peak := peak_memory(node)) is not None}
    hosts = sorted(
        {f"{node.manifest['host']['machine']}, {node.manifest['host']['cores']} cores" for node in nodes}
    )
    rows: list[list[Any]] = []
    for node in nodes:
        took = float(node.manifest["seconds"])
        bar = Markup('<span class="bar" style="--share: {}%"></span>').format(f"{100 * took / longest:.2f}")
        row = [Markup('<a href="#stage-{0}">{0}</a>').format(node.name), wording.seconds(took), bar]
        rows.append(
            [*row, f"{memory[node.name]:.2f}{wording.THIN}GB" if node.name in memory else ""]
            if memory
            else row
        )
    head = ("stage", "time", "", "peak memory") if memory else ("stage", "time", "")
    paragraphs = [f"The stages behind this page took {wording.seconds(total)} together ({'; '.join(hosts)})."]
    left = [] if memory else ["Peak memory is left out: no stage recorded it."]
    return Chapter(
        "time", "Time and memory", paragraphs, [], [Table("Stages, inputs first", head, rows, ())], left
    )


def peak_memory(node: Node) -> float | None:
    """GB at most in use while a stage ran, where its manifest or summary says so."""
    found = node.manifest.get("peak_memory_gb", node.summary.get("peak_memory_gb"))
    return float(found) if isinstance(found, int | float) else None
