"""`biddable label.people FILE NAME`: an admin for the labeling site, who invites everybody else."""

from __future__ import annotations

import sys
from pathlib import Path

from biddable.cli.arguments import HELP
from biddable.run.errors import UserError

REMOVE = "--remove-second-factor"
USAGE = f"""Usage: biddable label.people FILE NAME [{REMOVE}]

Add an admin to the labeling site, who can invite everybody else. Asks for a password.
With {REMOVE}: somebody who lost phone and recovery codes logs in with the password alone again.
For example: biddable label.people my.toml ada"""


def main(arguments: list[str]) -> int:
    """Add an admin to the store of the run's labeling site, or remove somebody's second factor. Returns the exit
    code."""
    removes = REMOVE in arguments
    arguments = [argument for argument in arguments if argument != REMOVE]
    if len(arguments) != 2 or arguments[1].startswith("-"):
        print(USAGE)
        return 0 if HELP & set(arguments) else 2

    from biddable.run.plan import load_plan
    from biddable.store import second_factor
    from biddable.store.accounts import Accounts
    from biddable.store.store import open_store

    file, name = arguments
    plan = load_plan(Path(file), only="label.site")
    with open_store(plan.stage("label.site").config.store or plan.folder / "store.db") as store:
        if removes:
            second_factor.remove(store, Accounts(store).find(name).id, None)
            print(f"{name} logs in with the password alone; a second factor is added in the profile")
            return 0
        account = Accounts(store).add(name, read_password(), "admin")
    print(f"added the admin {account.login}; next: biddable label.site {file}")
    return 0


def read_password() -> str:
    """A password typed twice without being shown; in scripts the first line of the input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")

    import getpass

    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise UserError("the two passwords differ; nothing was added")
    return password
