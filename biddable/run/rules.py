"""Rules that answers are held against: read from a TOML file, each with an id, a text and a question. One
broken rule is one sentence."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from biddable.run.config import UserError
from biddable.run.parse import parse_toml
from biddable.run.records import Level, Record, hash_fraction

OURS = Path(__file__).with_name("rules.toml")
"""The 23 rules of `configs/rules.toml`, which is a link to this file."""


class Rule(Record):
    """One rule: what labelers, probers and the rule model read, and the question that they answer. Reports add
    up by `group`."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    text: str = Field(min_length=1)
    question: str = Field(min_length=1)
    group: str = ""


def load(path: Path | None) -> tuple[Rule, ...]:
    """The rules of a file, ours without one. Raises UserError with everything that is wrong with it."""
    path = path or OURS
    try:
        table: dict[str, Any] = parse_toml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: not a TOML file of rules: {error}") from error
    rows = table.pop("rule", None)
    if table or not isinstance(rows, list) or not rows:
        raise UserError(
            f"{path}: expected tables [[rule]] with id, text and question (and group, if wanted), and nothing else"
        )
    rules, errors = [], []
    for number, row in enumerate(rows, 1):
        try:
            rules.append(Rule.model_validate(row))
        except ValidationError as error:
            errors += [
                f"{path}: rule {number} {'.'.join(map(str, e['loc']))}: {e['msg']}"
                for e in error.errors(include_url=False)
            ]
    ids = [rule.id for rule in rules]
    errors += [
        f"{path}: the id {id} is there twice" for id in sorted({id for id in ids if ids.count(id) > 1})
    ]
    if errors:
        raise UserError(errors)
    return tuple(rules)


def choose(rules: Sequence[Rule], count: int, *key: object) -> list[Rule]:
    """Some of the rules, chosen by a hash of their ids and the key."""
    return sorted(rules, key=lambda rule: hash_fraction("rule", *key, rule.id))[:count]


def level_shares(levels: Sequence[Level]) -> dict[str, float]:
    """Share of what counts as broken, as kept, and as neither (Glaese et al. 2022): however sure somebody is,
    a break is a break."""
    sides = [level.split("_")[-1] for level in levels]
    names = {"broken": "breaks", "kept": "follows", "unsure": "unsure"}
    return {name: sides.count(side) / len(sides) for name, side in names.items()}
