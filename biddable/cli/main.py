"""The entry point of `biddable`: finds the verb, and turns users' errors into lines and exit codes.

Exit codes: 0 done, 1 a bug (traceback), 2 the user's mistake (one line each), 3 waiting for people.
Nothing heavy is imported here or at the top of a verb's file: `--help` answers in a fraction of a second.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from typing import Annotated

import typer

import biddable
from biddable.cli import accounts, keys, stage
from biddable.cli.check import check
from biddable.cli.forget import forget
from biddable.cli.lineage import lineage
from biddable.cli.new import new
from biddable.cli.run import run
from biddable.cli.show import show
from biddable.cli.status import status
from biddable.run.errors import Mistakes, UserError, Waiting, suggestion
from biddable.run.output import plain, print_lines

VERBS = {verb.__name__: verb for verb in (new, check, run, status, show, lineage, forget)}

app = typer.Typer(
    help="The whole loop that turns a language model into one that follows instructions: label, fine-tune, "
    "reward, PPO, measure, serve.",
    epilog="Every stage is a command too: biddable learn.ppo my.toml kl_coef=0.1 name=kl01. Its settings: "
    "biddable learn.ppo --help",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in VERBS.values():
    app.command()(verb)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"biddable {biddable.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command of `sys.argv` and exit."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # our own progress is enough
    with redirect_stdout(plain(sys.stdout)), redirect_stderr(plain(sys.stderr)):
        _run()


def _run() -> None:
    try:
        dispatch(sys.argv[1:])
    except UserError as error:
        mistakes = Mistakes()
        mistakes.add(error.lines)
        print_lines(mistakes.lines(), sys.stderr)
        sys.exit(2)
    except Waiting as waiting:
        print(waiting)
        sys.exit(3)
    except BrokenPipeError:  # a reader such as `head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)
    except Exception:  # a bug: its traceback may hold a URL, or a text with escape sequences
        traceback.print_exc()
        sys.exit(1)


def dispatch(arguments: list[str]) -> None:
    """Call the verb that the first argument names: one of VERBS, `label.people`, `serve.keys` or a stage."""
    word = arguments[0] if arguments else "--help"
    if word == "label.people":
        sys.exit(accounts.main(arguments[1:]))
    if word == "serve.keys":
        sys.exit(keys.main(arguments[1:]))
    if "." in word and not word.startswith("-"):
        sys.exit(stage.main(word, arguments[1:]))
    if word not in VERBS and not word.startswith("-"):
        from biddable.run.catalog import stage_names

        hint = suggestion(word, [*VERBS, *stage_names()])
        raise UserError(f"biddable {word}: there is no such command{hint}; `biddable --help` lists them")
    app()


if __name__ == "__main__":
    main()
