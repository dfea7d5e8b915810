"""A store for load tests: tasks with texts as models write them, and people who are logged in already."""

from __future__ import annotations

import hashlib
import random

import sqlalchemy as sa
from itsdangerous import Signer
from label_load import SET

from biddable.label import collection
from biddable.run.records import Answer, Message, Prompt, Replies
from biddable.store import guidelines
from biddable.store.accounts import Accounts
from biddable.store.store import open_store
from biddable.store.tables import accounts, sessions
from biddable.store.types import Person, Task, TaskSet

WORDS = [
    "the",
    "a",
    "of",
    "kettle",
    "water",
    "heat",
    "and",
    "then",
    "because",
    "lamp",
    "small",
    "bubbles",
    "rise",
    "metal",
    "loud",
    "sound",
    "while",
    "it",
    "cools",
    "nobody",
    "knows",
    "river",
    "stone",
    "bread",
    "morning",
]


def some_text(chance: random.Random, words: int) -> str:
    """Text with a list and some code in it, as models write."""
    line = " ".join(chance.choice(WORDS) for _ in range(words // 2))
    items = "\n".join(
        f"- **{chance.choice(WORDS)}**: " + " ".join(chance.choice(WORDS) for _ in range(8))
        for _ in range(words // 20)
    )
    return f"{line}.\n\n{items}\n\n```\nprint('{chance.choice(WORDS)}')\n```\n"


def prepared(where: str, count: int, tasks: int, overlap: int) -> tuple[str, ...]:
    """A store with tasks and people who are logged in already; returns their cookies. Nobody's password is
    ever asked for."""
    chance = random.Random(1)
    with open_store(where) as store:
        team = Accounts(store)
        team.add("boss", "nine quiet horses", "admin")
        persons = [Person(f"p{i}", f"p{i}", "training", False) for i in range(count)]
        store.add_people(persons)
        now = store.clock()
        tokens = [f"token-{i}-{chance.getrandbits(64):x}" for i in range(count)]
        rows = [
            {
                "id": f"a{i}",
                "login": f"p{i}",
                "password": "none",
                "role": "labeler",
                "person": f"p{i}",
                "created": now,
            }
            for i in range(count)
        ]
        logged_in = [
            {
                "id": hashlib.sha256(token.encode()).hexdigest(),
                "account": f"a{i}",
                "agent": "bench",
                "created": now,
                "seen": now,
                "until": now + 86400,
            }
            for i, token in enumerate(tokens)
        ]

        def step(connection: sa.Connection) -> None:
            connection.execute(sa.insert(accounts), rows)
            connection.execute(sa.insert(sessions), logged_in)

        store.write(step)
        questions = []
        for i in range(tasks):
            prompt = Prompt(
                id=f"p{i}", messages=(Message(role="user", content=some_text(chance, 60)),), user="u"
            )
            answers = tuple(Answer(text=some_text(chance, 150), model=f"m{j}") for j in range(4))
            question = Replies(prompt=prompt, answers=answers).model_dump_json(exclude_none=True)
            questions.append(Task(f"{SET}#{chance.getrandbits(40):010x}-{i}", question, overlap))
        store.put_tasks(TaskSet(SET, "label.comparisons", "training", False), questions)
        guidelines.publish_guideline(store, *collection.guideline("training"))
        signer = Signer(team.cookie_secret(), salt="cookie")
        return tuple(signer.sign(token).decode() for token in tokens)
