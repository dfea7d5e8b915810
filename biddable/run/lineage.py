"""Lineage: from any stage folder back through what it was made from, to the labels, the people and the prompts.

A manifest names its inputs with the hash of what they held, so the walk needs nothing but the folders; an input that holds something else by now is marked.
"""

from __future__ import annotations

from collections import Counter
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
        return any(one.simulated for one in self.people)


class Lineage:
    """All stages behind some folders, inputs before what was made from them."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self.nodes: dict[str, Node] = {}
        self._known: dict[Path, str] = {}
        self._run: str | None = None
        for folder in folders:
            self._add(folder)

    def of(self, folder: Path) -> Node:
        """The node of a folder that was walked."""
        return self.nodes[self._known[folder.resolve()]]

    def through(self, node: Node, word: str) -> Node | None:
        """What a node read as its input `word`; None when it has no such input."""
        return next((self.nodes[arrow.name] for arrow in node.arrows if arrow.word == word), None)

    def people(self) -> list[People]:
        """Everybody who gave labels, in the stages' order."""
        return [one for node in self.nodes.values() for one in node.people]

    def _add(self, folder: Path) -> str:
        place = folder.resolve()
        if place in self._known:
            return self._known[place]
        manifest = read_manifest(folder) if folder.is_dir() else None
        if manifest is None:
            name = self._known[place] = str(folder)
            self.nodes[name] = Node(name, folder)
            return name
        self._run = self._run or str(manifest["run"])
        own = str(manifest["stage"])
        name = own if manifest["run"] == self._run else f"{manifest['run']}/{own}"
        name = self._known[place] = str(folder) if name in self._known.values() else name
        arrows = tuple(
            self._arrow(folder, word, one) for word, found in manifest["inputs"].items() for one in found
        )
        people = tuple(
            one for file in KINDS if (folder / file).is_file() for one in _people(folder / file, name)
        )
        self.nodes[name] = Node(
            name,
            folder,
            manifest,
            read_summary(folder),
            arrows,
            people,
            {f: _rows(folder / f) for f in COUNTED if (folder / f).is_file()},
        )
        return name

    def _arrow(self, folder: Path, word: str, one: dict[str, str]) -> Arrow:
        """An input as it was written down. Stages of one run lie side by side, also when the run was moved or copied."""
        beside = folder.parent / one["name"]
        path = beside if (beside / "manifest.json").is_file() else Path(one["path"])
        if not path.exists():
            self.nodes.setdefault(one["name"], Node(one["name"], path))
            return Arrow(word, one["name"], one["content"], False)
        return Arrow(word, self._add(path), one["content"], content_hash(path) == one["content"])


def _people(file: Path, stage: str) -> list[People]:
    """Who gave the labels of one file, and by which guidelines."""
    kind, words = KINDS[file.name]
    found: dict[tuple[str, str, bool], list[str]] = {}
    for row in jsonl.read(file, kind):
        panel = "training" if isinstance(row, Demonstration) else row.panel
        found.setdefault((row.labeler, panel, row.simulated), []).append(row.guideline)
    return [
        People(labeler, panel, simulated, words, len(seen), tuple(sorted(set(seen))), stage)
        for (labeler, panel, simulated), seen in sorted(found.items())
    ]


def _rows(file: Path) -> int:
    return sum(1 for _ in jsonl.read_lines(file))


def code_versions(lineage: Lineage) -> str:
    """Which versions of the code made how many stages: `0.1.0 4f2a91c (12 stages)`."""
    codes = [node.manifest["code"] for node in lineage.nodes.values() if node.manifest]
    stages = Counter(f"{code['version']} {code.get('commit', '')}".strip() for code in codes)
    return ", ".join(f"{version} ({count} stages)" for version, count in sorted(stages.items()))
