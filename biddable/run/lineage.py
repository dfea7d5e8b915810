"""Lineage: from any stage folder back through what it was made from, to the labels, the people and the
prompts.

A manifest names its inputs with the hash of what they held, so the walk needs nothing but the folders; an
input that holds something else by now is marked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from biddable.run import jsonl
from biddable.run.manifest import content_hash, read_manifest, read_summary
from biddable.run.records import Comparison, Demonstration, Rating

KINDS: dict[str, tuple[type[Comparison] | type[Demonstration] | type[Rating], str]] = {
    "demonstrations.jsonl": (Demonstration, "demonstrations"),
    "comparisons.jsonl": (Comparison, "rankings"),
    "ratings.jsonl": (Rating, "ratings"),
}
"""Files that hold people's labels: what a line is, and what many are called."""
COUNTED = ("prompts.jsonl", "text.jsonl", "replies.jsonl", *KINDS)


class Arrow(NamedTuple):
    """One input of a stage."""

    word: str  # the setting: "comparisons"
    name: str  # the node: "label.comparisons"
    content: str  # hash of what it held when it was read
    same: bool  # it still holds that


class People(NamedTuple):
    """What one labeler gave in one stage. Pseudonyms only: real names never leave the store."""

    labeler: str
    panel: str
    simulated: bool
    kind: str
    labels: int
    guidelines: tuple[str, ...]
    stage: str


@dataclass(frozen=True)
class Node:
    """One finished stage; a file or folder that no stage made has an empty manifest."""

    name: str  # its key, with the run's name in front when it is another run's
    folder: Path
    manifest: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    arrows: tuple[Arrow, ...] = ()
    people: tuple[People, ...] = ()
    rows: dict[str, int] = field(default_factory=dict)  # lines of its record files

    @property
    def short(self) -> str:
        """A model's short name: the key's last word."""
        return self.name.rsplit(".", 1)[-1]

    @property
    def simulated(self) -> bool:
        """Whether programs stood in for people in this stage."""
        return any(labeler.simulated for labeler in self.people)


class Lineage:
    """All stages behind some folders, inputs before what was made from them."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self.nodes: dict[str, Node] = {}
        self._names: dict[Path, str] = {}  # resolved folder -> name of its node
        self._run: str | None = None  # the first folder's run, whose name is left out of nodes' names
        for folder in folders:
            self._add(folder)

    def of(self, folder: Path) -> Node:
        """The node of a folder that was walked."""
        return self.nodes[self._names[folder.resolve()]]

    def through(self, node: Node, word: str) -> Node | None:
        """What a node read as its input `word`; None when it has no such input."""
        return next((self.nodes[arrow.name] for arrow in node.arrows if arrow.word == word), None)

    def people(self) -> list[People]:
        """Everybody who gave labels, in the stages' order."""
        return [labeler for node in self.nodes.values() for labeler in node.people]

    def _add(self, folder: Path) -> str:
        """Walk a folder and all behind it; returns the name of its node."""
        path = folder.resolve()
        if path in self._names:
            return self._names[path]
        manifest = read_manifest(folder) if folder.is_dir() else None
        if manifest is None:
            name = self._names[path] = str(folder)
            self.nodes[name] = Node(name, folder)
            return name
        name = self._names[path] = self._new_name(folder, str(manifest["run"]), str(manifest["stage"]))
        arrows = [
            self._add_input(folder, word, arrow)
            for word, arrows in manifest["inputs"].items()
            for arrow in arrows
        ]
        people = [
            labeler
            for file in KINDS
            if (folder / file).is_file()
            for labeler in _read_people(folder / file, name)
        ]
        rows = {file: _count_lines(folder / file) for file in COUNTED if (folder / file).is_file()}
        # after its inputs: nodes are in the order in which they were made
        self.nodes[name] = Node(
            name, folder, manifest, read_summary(folder), tuple(arrows), tuple(people), rows
        )
        return name

    def _new_name(self, folder: Path, run: str, stage: str) -> str:
        self._run = self._run or run
        name = stage if run == self._run else f"{run}/{stage}"
        return str(folder) if name in self._names.values() else name

    def _add_input(self, folder: Path, word: str, arrow: dict[str, str]) -> Arrow:
        """An input as the manifest names it. Stages of one run lie side by side, also when the run was moved
        or copied."""
        sibling = folder.parent / arrow["name"]
        path = sibling if (sibling / "manifest.json").is_file() else Path(arrow["path"])
        if not path.exists():
            self.nodes.setdefault(arrow["name"], Node(arrow["name"], path))
            return Arrow(word, arrow["name"], arrow["content"], same=False)
        same = content_hash(path) == arrow["content"]
        return Arrow(word, self._add(path), arrow["content"], same)


def _read_people(file: Path, stage: str) -> list[People]:
    """Who gave the labels of one file, and by which guidelines."""
    kind, plural = KINDS[file.name]
    guidelines: dict[tuple[str, str, bool], list[str]] = defaultdict(list)  # one for each label
    for row in jsonl.read(file, kind):
        panel = "training" if isinstance(row, Demonstration) else row.panel
        guidelines[row.labeler, panel, row.simulated].append(row.guideline)
    return [
        People(labeler, panel, simulated, plural, len(versions), tuple(sorted(set(versions))), stage)
        for (labeler, panel, simulated), versions in sorted(guidelines.items())
    ]


def _count_lines(file: Path) -> int:
    return sum(1 for _ in jsonl.read_lines(file))


def code_versions(lineage: Lineage) -> str:
    """Which versions of the code made how many stages: `0.1.0 4f2a91c (12 stages)`."""
    codes = [node.manifest["code"] for node in lineage.nodes.values() if node.manifest]
    stages = Counter(f"{code['version']} {code.get('commit', '')}".strip() for code in codes)
    return ", ".join(f"{version} ({count} stages)" for version, count in sorted(stages.items()))
