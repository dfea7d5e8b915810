"""`biddable serve.keys FILE add NAME`: who may use the served policy."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from biddable.cli.arguments import HELP
from biddable.run.errors import UserError

if TYPE_CHECKING:
    from biddable.store.api_keys import Keys

USAGE = """Usage: biddable serve.keys FILE              list the keys
       biddable serve.keys FILE add NAME     make a key for a person or a program; it is shown once
       biddable serve.keys FILE close NAME   the key of this name works no more"""


def main(arguments: list[str]) -> int:
    """List, make or close keys in the store of the run's server. Returns the exit code."""
    if not arguments or arguments[0].startswith("-"):
        print(USAGE)
        return 0 if HELP & set(arguments) else 2

    from biddable.run.plan import load_plan

    plan = load_plan(Path(arguments[0]), only="serve.api")
    # the store is a setting like any other; the server's own packages are not needed for it
    store = plan.stage("serve.api").settings["store"] or plan.folder / "store.db"
    print(command(store, arguments[1:]))
    return 0


def command(where: str | Path, words: list[str]) -> str:
    """Run `add NAME`, `close NAME` or nothing (list) on a store; returns what to print. Raises UserError for
    anything else."""
    from biddable.store.api_keys import FRESH_SECONDS, Keys
    from biddable.store.store import open_store

    if words and (len(words) != 2 or words[0] not in ("add", "close")):
        raise UserError(USAGE.split("\n"))
    with open_store(where) as store:
        keys = Keys(store)
        if not words:
            return list_keys(keys)
        action, name = words
        if action == "add":
            return (
                f"{keys.add(name)}\nthis is the only time that the key of {name} is shown; the store "
                "holds its hash"
            )
        keys.close(name)
        return f"closed the key of {name}; it works for another {FRESH_SECONDS:.0f} seconds at most"


def list_keys(keys: Keys) -> str:
    """A line a key: its name, the day it was made, its pseudonym, open or closed."""
    lines = [
        f"{key.name:24} {_day(key.created)}  {key.pseudonym}  {'closed' if key.closed else 'open'}"
        for key in keys.all()
    ]
    return "\n".join(lines) or "no keys yet"


def _day(timestamp: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(timestamp))
