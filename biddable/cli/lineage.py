"""`biddable lineage FOLDER`: from an artefact back to what it was made from, as a tree of stages; then
people, guidelines, prompts and code."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from biddable.cli.arguments import Folder
from biddable.run.errors import UserError
from biddable.run.output import print_lines

if TYPE_CHECKING:
    from biddable.run.lineage import Lineage, Node


def lineage(folder: Folder) -> None:
    """Walk an artefact back to what it was made from: prompts, people (pseudonymous), guideline versions,
    code."""
    print_lines(describe_lineage(folder))


def describe_lineage(folder: Path) -> Iterator[str]:
    """Lines to print. Raises UserError for a folder that no finished stage made."""
    from biddable.run.lineage import Lineage, code_versions

    if not (folder / "manifest.json").is_file():
        hint = "the stage is not done" if folder.is_dir() else "there is no such folder"
        raise UserError(f"{folder}: {hint}; name the folder of a finished stage, such as runs/demo/learn.ppo")
    graph = Lineage([folder])
    yield from _tree(graph, graph.of(folder), "", "", set())
    yield ""
    yield from _people(graph)
    guidelines = sorted({version for person in graph.people() for version in person.guidelines})
    yield f"guidelines: {', '.join(guidelines) or 'none'}"
    yield from _prompts(graph)
    yield f"code: {code_versions(graph)}"
    changed = [
        f"{node.name} reads {arrow.name}"
        for node in graph.nodes.values()
        for arrow in node.arrows
        if not arrow.same
    ]
    if changed:
        yield f"not what it was when it was read: {'; '.join(changed)}"


def _tree(graph: Lineage, node: Node, indent: str, word: str, shown: set[str]) -> Iterator[str]:
    """A stage and below it what it read; a stage that was shown before is only named."""
    label = f"{word}: " if word else ""
    if node.name in shown:
        yield f"{indent}{label}{node.name} (above)"
        return
    shown.add(node.name)
    yield f"{indent}{label}{node.name}{_describe_node(node)}"
    inner = indent.replace("├─ ", "│  ").replace("└─ ", "   ")
    for number, arrow in enumerate(node.arrows, 1):
        branch = "└─ " if number == len(node.arrows) else "├─ "
        yield from _tree(graph, graph.nodes[arrow.name], inner + branch, arrow.word, shown)


def _describe_node(node: Node) -> str:
    """Rows, people, hash and time of a stage in a few words."""
    if not node.manifest:
        return "  (a file or folder that no stage made)"
    parts = [f"{count} {name.removesuffix('.jsonl')}" for name, count in node.rows.items()]
    if node.people:
        kind = "simulated people" if node.simulated else "people"
        parts.append(f"by {len({person.labeler for person in node.people})} {kind}")
    return "  " + ", ".join([*parts, str(node.manifest["content"])[:10], str(node.manifest["finished"])])


def _people(graph: Lineage) -> Iterator[str]:
    """Every labeler with the number of their labels, panel by panel."""
    panels: dict[tuple[str, bool], dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for person in graph.people():
        labels = panels[person.panel, person.simulated][person.labeler]
        labels[f"{person.kind} in {person.stage}"] += person.labels
    for (panel, simulated), labelers in sorted(panels.items()):
        nature = " (simulated)" if simulated else ""
        yield f"people of the panel {panel}{nature}: {len(labelers)}"
        for labeler, labels in sorted(labelers.items()):
            yield f"  {labeler}: {', '.join(f'{count} {kind}' for kind, count in sorted(labels.items()))}"
    if not panels:
        yield "people: no labels behind it"


def _prompts(graph: Lineage) -> Iterator[str]:
    """The stages where prompts enter: they hold prompts and none of their inputs does."""
    for node in graph.nodes.values():
        inputs_hold_prompts = any("prompts.jsonl" in graph.nodes[arrow.name].rows for arrow in node.arrows)
        if "prompts.jsonl" in node.rows and not inputs_hold_prompts:
            users = node.summary.get("users")
            by = f" by {users} users" if users else ""
            files = ", ".join(arrow.name for arrow in node.arrows)
            origin = f", from {files}" if files else ""
            yield f"prompts: {node.rows['prompts.jsonl']}{by} in {node.folder}{origin}"
