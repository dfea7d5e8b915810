"""Draws docs/rooms.svg, the rooms and who imports whom, from the import table in tests/test_house.py: python
docs/draw_rooms.py

An arrow that follows from others (label imports web, web imports store) is left out. A test sees that the
picture is today's.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT, GAP = 118, 46, 14
PURPOSE = {
    "cli": "a run's verbs",
    "collect": "prompts come in",
    "curate": "prompts made usable",
    "label": "people answer",
    "learn": "SFT, reward, PPO",
    "measure": "numbers, intervals",
    "serve": "chat and API",
    "web": "what sites share",
    "model": "trunk, sampler (torch)",
    "store": "people's work (SQL)",
    "simulated": "invented people",
    "formats": "others' files",
    "run": "settings, records, stages, manifests: files and folders",
}
PLACES = {
    "cli": (2.5, 0),
    "web": (2, 2),
    "model": (3.5, 2),
    "store": (2, 3),
    "simulated": (3, 3),
    "formats": (1, 3),
    "run": (0, 4),
} | {
    room: (column, 1)
    for column, room in enumerate(("collect", "curate", "label", "learn", "measure", "serve"))
}
"""Column and row of each room; `run` lies below all columns."""


def import_table() -> dict[str, tuple[str, ...]]:
    """IMPORTS as tests/test_house.py says it, without importing the test."""
    tree = ast.parse((ROOT / "tests" / "test_house.py").read_text(encoding="utf-8"))
    values = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    ground = ast.literal_eval(values["GROUND"])
    table = values["IMPORTS"]
    assert isinstance(table, ast.Dict)
    rooms = [ast.literal_eval(key) for key in table.keys if key is not None]
    imports = [ground if isinstance(value, ast.Name) else ast.literal_eval(value) for value in table.values]
    return dict(zip(rooms, imports, strict=True))


def reduced(imports: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    """The arrows that do not follow from others."""

    def below(room: str) -> set[str]:
        return set(imports[room]).union(*(below(lower) for lower in imports[room]))

    return [
        (room, lower)
        for room in imports
        for lower in imports[room]
        if not any(lower in below(between) for between in imports[room])
    ]


def picture() -> str:
    """The SVG, in colours that suit light and dark pages."""
    total = 6 * WIDTH + 5 * GAP
    corner = {room: (x * (WIDTH + GAP), 10 + y * (HEIGHT + 34)) for room, (x, y) in PLACES.items()}
    width = {room: total if room == "run" else WIDTH for room in PLACES}
    height = max(y for _, y in corner.values()) + HEIGHT + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-8 0 {total + 16} {height}" '
        'font-family="system-ui, sans-serif" role="img">',
        "<title>Rooms and who imports whom</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#7a869a"/></marker></defs>',
    ]
    for room, lower in reduced(import_table()):
        x, y = corner[room][0] + WIDTH / 2, corner[room][1] + HEIGHT
        u, v = x if lower == "run" else corner[lower][0] + WIDTH / 2, corner[lower][1]
        lines.append(
            f'<path d="M{x:g} {y:g}C{x:g} {y + 24:g} {u:g} {v - 24:g} {u:g} {v:g}" fill="none" '
            'stroke="#7a869a" stroke-width="1.4" marker-end="url(#tip)"/>'
        )
    for room, (x, y) in corner.items():
        fill = "#f3e6cf" if room == "cli" else "#dce6f7" if PLACES[room][1] == 1 else "#dcefe4"
        middle = x + width[room] / 2
        lines += [
            f'<rect x="{x:g}" y="{y:g}" width="{width[room]}" height="{HEIGHT}" rx="7" fill="{fill}" '
            'stroke="#7a869a"/>',
            f'<text x="{middle:g}" y="{y + 20:g}" text-anchor="middle" font-size="14" font-weight="600" '
            f'fill="#1c2430">{room}</text>',
            f'<text x="{middle:g}" y="{y + 36:g}" text-anchor="middle" font-size="10" '
            f'fill="#3c4656">{PURPOSE[room]}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "rooms.svg").write_text(picture(), encoding="utf-8")
