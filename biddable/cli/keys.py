"""`biddable serve.keys my.toml add NAME`: who may use the served policy."""

from __future__ import annotations

import time
from pathlib import Path

from biddable.run.config import UserError

USAGE = """Usage: biddable serve.keys FILE              list the keys
       biddable serve.keys FILE add NAME     make a key for a person or a program; it is shown once
       biddable serve.keys FILE close NAME   the key of this name works no more"""


def command(where: str | Path, words: list[str]) -> str:
    """`biddable serve.keys`: what to print. Raises UserError for anything else than `add NAME`, `close NAME` or nothing."""
    from biddable.store.api_keys import FRESH_SECONDS, Keys
    from biddable.store.store import open_store

    if words and (len(words) != 2 or words[0] not in ("add", "close")):
        raise UserError(USAGE)
    with open_store(where) as store:
        keys = Keys(store)
        if not words:
            rows = [
                (key.name, _day(key.created), key.pseudonym, "closed" if key.closed else "open")
                for key in keys.all()
            ]
            return (
                "\n".join(f"{name:24} {since}  {who}  {state}" for name, since, who, state in rows)
                or "no keys yet"
            )
        if words[0] == "add":
            return f"{keys.add(words[1])}\nthis is the only time that the key of {words[1]} is shown; it is kept as a hash"
        keys.close(words[1])
        return f"closed the key of {words[1]}; it works for another {FRESH_SECONDS:.0f} seconds at most"


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
