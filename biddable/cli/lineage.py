"""The walk from an artefact back to where it came from, as text: a tree of stages, then the people, the guidelines, the prompts, the code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from biddable.run.config import UserError
from biddable.run.lineage import Lineage, Node, People, code_versions


def describe(folder: Path) -> Iterator[str]:
    """Lines to print. Raises UserError for a folder that no finished stage made."""
    if not (folder / "manifest.json").is_file():
        hint = "the stage is not done" if folder.is_dir() else "there is no such folder"
        raise UserError(f"{folder}: {hint}; name the folder of a finished stage, such as runs/demo/learn.ppo")
    walked = Lineage([folder])
    yield from _tree(walked, walked.of(folder), "", "", set())
    yield ""
    yield from _people(walked)
    guidelines = sorted({version for one in walked.people() for version in one.guidelines})
    yield f"guidelines: {', '.join(guidelines) or 'none'}"
    yield from _prompts(walked)
    yield f"code: {code_versions(walked)}"
    changed = [
        f"{node.name} reads {arrow.name}"
        for node in walked.nodes.values()
        for arrow in node.arrows
        if not arrow.same
    ]
    if changed:
        yield f"not what it was when it was read: {'; '.join(changed)}"


def _tree(walked: Lineage, node: Node, lead: str, word: str, seen: set[str]) -> Iterator[str]:
    """A stage and below it what it read; what was shown before is named only."""
    mark = f"{word}: " if word else ""
    if node.name in seen:
        yield f"{lead}{mark}{node.name} (above)"
        return
    seen.add(node.name)
    yield f"{lead}{mark}{node.name}{_what(node)}"
    inner = lead.replace("├─ ", "│  ").replace("└─ ", "   ")
    for place, arrow in enumerate(node.arrows):
        last = place + 1 == len(node.arrows)
        yield from _tree(
            walked, walked.nodes[arrow.name], inner + ("└─ " if last else "├─ "), arrow.word, seen
        )


def _what(node: Node) -> str:
    """Rows, people, hash, time and code of a stage in a few words."""
    if not node.manifest:
        return "  (a file or folder that no stage made)"
    parts = [f"{count} {name.removesuffix('.jsonl')}" for name, count in node.rows.items()]
    if node.people:
        kind = "simulated people" if node.simulated else "people"
        parts.append(f"by {len({one.labeler for one in node.people})} {kind}")
    return "  " + ", ".join([*parts, str(node.manifest["content"])[:10], str(node.manifest["finished"])])


def _people(walked: Lineage) -> Iterator[str]:
    """Every labeler with what they gave, panel by panel."""
    found: dict[tuple[str, bool], dict[str, Counter[str]]] = {}
    for one in walked.people():
        found.setdefault((one.panel, one.simulated), {}).setdefault(one.labeler, Counter())[_kind(one)] += (
            one.labels
        )
    for (panel, simulated), people in sorted(found.items()):
        nature = " (simulated)" if simulated else ""
        yield f"people of the panel {panel}{nature}: {len(people)}"
        for labeler, gave in sorted(people.items()):
            yield f"  {labeler}: {', '.join(f'{count} {kind}' for kind, count in sorted(gave.items()))}"
    if not found:
        yield "people: no labels behind it"


def _kind(one: People) -> str:
    return f"{one.kind} in {one.stage}"


def _prompts(walked: Lineage) -> Iterator[str]:
    for node in walked.nodes.values():
        if "prompts.jsonl" in node.rows and not any(
            "prompts.jsonl" in walked.nodes[a.name].rows for a in node.arrows
        ):
            users = node.summary.get("users")
            by = f" by {users} users" if users else ""
            files = ", ".join(arrow.name for arrow in node.arrows)
            yield f"prompts: {node.rows['prompts.jsonl']}{by} in {node.folder}{f', from {files}' if files else ''}"
