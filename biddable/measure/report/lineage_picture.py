"""The lineage as a picture: every stage behind an artefact, who gave the labels and by which guidelines, as
inline SVG in the page's own colours.

Three lanes from left to right: people, records, models. Time runs down: a stage stands below all that it
read. An arrow that a longer way implies is left out. The page says the same as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from biddable.measure.report.wording import count, printable
from biddable.run.lineage import Lineage, Node

WIDTH, HEIGHT = 184, 44
"""A box."""
GAP, STEP = 40, 66
"""Between two lanes, and from one row to the next."""
PEOPLE, RECORDS, MODELS = 0, 1, 2


class Box(NamedTuple):
    """One box: where it stands, two lines of text, what pointing at it says, where it leads."""

    lane: int
    row: int
    title: str
    text: str
    hint: str
    target: str

    @property
    def x(self) -> int:
        return self.lane * (WIDTH + GAP) + 1

    @property
    def y(self) -> int:
        return self.row * STEP + 28


def draw(lineage: Lineage, node: Node) -> Markup:
    """The `<svg>` of a node and of all that it was made from."""
    stages = stages_behind(lineage, node)
    boxes = place_boxes(lineage, stages)
    people = [box for name in stages if (box := _people(lineage.nodes[name], boxes[name].row)) is not None]
    width = 3 * WIDTH + 2 * GAP + 30
    height = max(box.y for box in boxes.values()) + HEIGHT + 4
    parts = [
        Markup('<svg viewBox="0 0 {} {}" class="lineage" role="group" aria-label="{}">').format(
            width, height, f"Lineage of {node.name}: {len(stages)} stages; the same as text below"
        ),
        Markup(
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto-start-reverse">'
            '<path d="M0 0L8 4L0 8z"/></marker></defs>'
        ),
    ]
    for lane, word in enumerate(("People", "Records", "Models")):
        parts.append(
            Markup('<text class="lane" x="{}" y="14">{}</text>').format(lane * (WIDTH + GAP) + 2, word)
        )
    for source, target in direct_arrows(lineage, stages):
        between = any(
            b.lane == boxes[source].lane and boxes[source].row < b.row < boxes[target].row
            for b in boxes.values()
        )
        parts.append(
            Markup('<path class="arrow" d="{}"/>').format(_path(boxes[source], boxes[target], between))
        )
    for box in people:
        y = box.y + HEIGHT // 2
        parts.append(
            Markup('<path class="arrow" d="M{} {}H{}"/>').format(box.x + WIDTH, y, box.x + WIDTH + GAP)
        )
    parts += [_box(box, node.name) for box in [*people, *boxes.values()]]
    return Markup("\n").join([*parts, Markup("</svg>")])


def stages_behind(lineage: Lineage, node: Node) -> list[str]:
    """The names of a node and of everything that it was made from, inputs before what was made from them."""
    names: set[str] = set()
    todo = [node.name]
    while todo:
        if (name := todo.pop()) not in names:
            names.add(name)
            todo += [arrow.name for arrow in lineage.nodes[name].arrows]
    return [name for name in lineage.nodes if name in names]


def direct_arrows(lineage: Lineage, stages: Sequence[str]) -> list[tuple[str, str]]:
    """(from, to) for every input that is not implied by a longer way."""
    above: dict[str, set[str]] = {}
    arrows = []
    for name in stages:
        direct = dict.fromkeys(arrow.name for arrow in lineage.nodes[name].arrows)
        above[name] = set(direct).union(*(above[source] for source in direct))
        # Transitive reduction: an input that another input was made from is drawn by way of that one.
        arrows += [(source, name) for source in direct if not any(source in above[via] for via in direct)]
    return arrows


def place_boxes(lineage: Lineage, stages: Sequence[str]) -> dict[str, Box]:
    """A box for every stage: in the first free row of its lane below all that it read."""
    boxes: dict[str, Box] = {}
    occupied: set[tuple[int, int]] = set()
    for name in stages:
        node = lineage.nodes[name]
        model = name.split("/")[-1].startswith("learn.") and not name.split("/")[-1].startswith(
            "learn.replies"
        )
        lane = MODELS if model else RECORDS
        row = max((boxes[arrow.name].row + 1 for arrow in node.arrows), default=0)
        while (lane, row) in occupied:
            row += 1
        occupied.add((lane, row))
        rows = ", ".join(
            f"{count(n)} {file.removesuffix('.jsonl')}" for file, n in node.rows.items() if not model
        )
        content = str(node.manifest.get("content", ""))[:8]
        hint = f"{name}: {rows or 'no records'}" + (
            f", made {node.manifest['finished']}" if node.manifest else ", made by no stage"
        )
        text = " · ".join(part for part in (rows, content) if part) or "made by no stage"
        boxes[name] = Box(lane, row, name, text, hint, f"#stage-{name}")
    return boxes


def _people(node: Node, row: int) -> Box | None:
    """Who stands behind a stage: its labelers, or the users whose prompts it brought in."""
    if node.people:
        names = sorted({person.labeler for person in node.people})
        guidelines = ", ".join(sorted({version for person in node.people for version in person.guidelines}))
        kind = "simulated labelers" if node.simulated else "labelers"
        return Box(
            PEOPLE,
            row,
            f"{count(len(names))} {kind}",
            f"guideline {guidelines}",
            f"{', '.join(names)}; guideline {guidelines}",
            "#people",
        )
    users = node.summary.get("users")
    if users and node.name.split("/")[-1].startswith("collect."):
        hint = f"{count(users)} users asked the prompts of {node.name}"
        return Box(PEOPLE, row, f"{count(users)} users", "asked the prompts", hint, f"#stage-{node.name}")
    return None


def _box(box: Box, end: str) -> Markup:
    kind = "person" if box.lane == PEOPLE else "end" if box.title == end else "stage"
    return Markup(
        '<a href="{}" class="{}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="{}"/>'
        '<text class="name" x="{}" y="{}">{}</text><text class="what" x="{}" y="{}">{}</text></a>'
    ).format(
        *(
            box.target,
            kind,
            printable(box.hint),
            box.x,
            box.y,
            WIDTH,
            HEIGHT,
            22 if box.lane == PEOPLE else 7,
        ),
        *(box.x + 12, box.y + 18, _cut(box.title, 27), box.x + 12, box.y + 34, _cut(box.text, 31)),
    )


def _cut(text: str, most: int) -> str:
    text = str(printable(text))
    return text if len(text) <= most else text[: most - 1] + "…"


def _path(source: Box, target: Box, between: bool) -> str:
    """Straight down where nothing stands between, around it at the lane's outer side otherwise; into the
    other lane from side to side."""
    if source.lane == target.lane and not between:
        return f"M{source.x + WIDTH // 2} {source.y + HEIGHT}V{target.y}"
    begin, end = source.y + HEIGHT // 2 + 6, target.y + HEIGHT // 2 - 6
    if source.lane == target.lane:
        side = source.x + WIDTH if source.lane == MODELS else source.x
        out = side + 26 if source.lane == MODELS else side - 26
        return (
            f"M{side} {begin}C{out} {begin} {out} {begin + 20} {out} {begin + 30}V{end - 30}C{out} "
            f"{end - 20} {out} {end} {side} {end}"
        )
    rightwards = source.lane < target.lane
    start, stop = (source.x + WIDTH, target.x) if rightwards else (source.x, target.x + WIDTH)
    middle = (start + stop) // 2 + (source.row % 5 - 2) * 6  # arrows of different stages run side by side
    return (
        f"M{start} {begin}C{middle} {begin} {middle} {begin + 8} {middle} "
        f"{begin + 16}V{end - 16}C{middle} {end - 8} {middle} {end} {stop} {end}"
    )
