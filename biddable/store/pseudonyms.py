"""Pseudonyms: two friendly words and a number, which is all that records say of a person."""

from __future__ import annotations

import secrets

import sqlalchemy as sa

from biddable.store.tables import people

ADJECTIVES = [
    "amber",
    "brisk",
    "calm",
    "clever",
    "coral",
    "dapper",
    "early",
    "eager",
    "fair",
    "gentle",
    "golden",
    "green",
    "happy",
    "jolly",
    "keen",
    "kind",
    "lively",
    "lucky",
    "merry",
    "mild",
    "neat",
    "noble",
    "olive",
    "patient",
    "plain",
    "proud",
    "quick",
    "quiet",
    "rapid",
    "ready",
    "sharp",
    "silver",
    "steady",
    "sunny",
    "swift",
    "tidy",
    "violet",
    "warm",
    "wise",
]

ANIMALS = [
    "badger",
    "beaver",
    "bison",
    "crane",
    "curlew",
    "deer",
    "dove",
    "eagle",
    "falcon",
    "finch",
    "fox",
    "gull",
    "hare",
    "hawk",
    "heron",
    "ibex",
    "jay",
    "kestrel",
    "lark",
    "lynx",
    "marten",
    "mole",
    "newt",
    "otter",
    "owl",
    "plover",
    "puffin",
    "quail",
    "raven",
    "robin",
    "seal",
    "shrew",
    "snipe",
    "stork",
    "swan",
    "tern",
    "thrush",
    "vole",
    "wren",
    "yak",
]


def new_pseudonym(connection: sa.Connection) -> str:
    """A name that nobody has, drawn at random: it says nothing about who came when."""
    while True:
        name = f"{secrets.choice(ADJECTIVES)}-{secrets.choice(ANIMALS)}-{secrets.randbelow(9000) + 1000}"
        if not connection.execute(sa.select(people.c.id).where(people.c.id == name)).first():
            return name
