"""The command line: `biddable VERB my.toml`, and every stage's name is a verb. The only place that prints and that catches users' mistakes.

Exit codes: 0 done, 1 a bug (traceback), 2 the user's mistake (one line each), 3 waiting for people.
"""

from __future__ import annotations

import json
import os
import sys
import time
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from biddable.run import catalog, config
from biddable.run.config import UserError, Waiting
from biddable.run.context import StageContext
from biddable.run.plan import Plan, Stage, load_plan

app = typer.Typer(
    help="The whole loop that turns a language model into one that follows instructions: label, fine-tune, reward, PPO, measure, serve.",
    epilog="Every stage is a command too: biddable learn.ppo my.toml kl_coef=0.1 name=kl01. Its settings: biddable learn.ppo --help",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
File = Annotated[Path, typer.Argument(help="The run's TOML file.", metavar="FILE")]


def main() -> None:
    """Entry point of the console script."""
    arguments = sys.argv[1:]
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # our own progress is enough
    try:
        if arguments and arguments[0] == "label.people":
            sys.exit(_people(arguments[1:]))
        if arguments and arguments[0] == "serve.keys":
            sys.exit(_keys(arguments[1:]))
        if arguments and "." in arguments[0] and not arguments[0].startswith("-"):
            sys.exit(_stage(arguments[0], arguments[1:]))
        _suggest(arguments)
        app()
    except UserError as refusal:
        for line in refusal.lines:
            print(line, file=sys.stderr)
        sys.exit(2)
    except Waiting as waiting:
        print(waiting)
        sys.exit(3)
    except BrokenPipeError:  # whoever read along, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)


def _suggest(arguments: list[str]) -> None:
    known = ["new", "check", "run", "status", "show", "lineage", "forget"]
    if arguments and not arguments[0].startswith("-") and arguments[0] not in known:
        hint = config.suggestion(arguments[0], [*known, *catalog.stage_names()])
        raise UserError(
            f"biddable {arguments[0]}: there is no such command{hint}; `biddable --help` lists them"
        )


TWICE: dict[str, dict[str, Any]] = {
    "learn.replies.start": {"policies": ["learn.start"]},
    "learn.replies.test": {
        "policies": ["learn.start", "learn.sft", "learn.ppo"],
        "splits": ["test"],
        "min_answers": 1,
        "max_answers": 1,
    },
    "label.comparisons.heldout": {"replies": "learn.replies.test", "panel": "held_out"},
}
"""Stages that the paper's chain uses twice, under a third word, and what differs there: `new` writes them too."""


LATER = (
    *(
        "collect.served",
        "curate.comparisons",
        "label.imports",
        "label.probes",
        "label.prompts",
        "label.rulechecks",
        "label.screening",
    ),
    *("learn.classifier", "measure.benchmarks", "measure.judge", "measure.toxicity"),
)
"""Stages that a first loop does without, or that need a file or an address of the user's: `new` writes them as comments."""


@app.command()
def new(file: File) -> None:
    """Write a commented file with every stage and every default."""
    if file.exists():
        raise UserError(f"{file}: exists already; choose another name")
    if not file.parent.is_dir():
        raise UserError(f"{file}: there is no folder {file.parent}; make it first")
    file.write_text(_template(file.stem), encoding="utf-8")
    print(f"wrote {file}; next: biddable check {file}")


def _template(name: str) -> str:
    lines = [
        '# One run: every table is a stage; texts in quotes such as "learn.sft" are arrows to another stage\'s folder.',
        f"name = {json.dumps(name)}",
        "seed = 1",
        "",
    ]
    for stage, about in catalog.stage_names().items():
        begin = len(lines)
        lines += [f"# {about}", f"[{stage}]"]
        for one in catalog.settings(stage):
            lines += [f"# {line.strip()}" for line in one.about.splitlines()]
            lines.append(f"# {one.name} =" if one.default is None else f"{one.name} = {_toml(one.default)}")
        for twin, settings in TWICE.items():
            if twin.startswith(stage + "."):
                lines += ["", f"# [{stage}] once more; every other setting as its default", f"[{twin}]"]
                lines += [f"{word} = {_toml(value)}" for word, value in settings.items()]
        if stage in LATER:
            lines[begin:] = [line if line.startswith("#") else f"# {line}" for line in lines[begin:]]
            lines[begin:begin] = ["# Not part of the plain loop; take away the signs in front to use it:"]
        lines.append("")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


@app.command()
def check(file: File) -> None:
    """Find all mistakes of a file and of the records it names; show the order, what each stage reads, and the memory it needs."""
    from biddable.cli import display

    plan = load_plan(file)
    lines, problems = display.plan(plan)
    if problems:
        raise UserError(problems)
    print("\n".join(lines))
    sites = sum(catalog.is_site(stage.name) for stage in plan.stages)
    also = f" and {sites} site{'s' if sites > 1 else ''}" if sites else ""
    print(f"\n{file} is in order: {len(plan.stages) - sites} stages{also} into {plan.folder}")


@app.command()
def run(file: File) -> None:
    """Run every stage that is not done yet; done ones are skipped, changed ones refused. What waits for people holds up only what needs it."""
    from biddable.run import stages as runs

    plan = load_plan(file)
    stages = [stage for stage in plan.stages if not catalog.is_site(stage.name)]
    changed = []
    for stage in stages:
        known, why = runs.stage_state(plan, stage)
        if known == "changed":
            changed.append(runs.changed_message(plan, stage, why))
    if changed:
        raise UserError(changed)
    began = time.time()
    waits: dict[str, str] = {}
    for number, stage in enumerate(stages, 1):
        if any(name in waits for names in stage.inputs.values() for name, _ in names):
            waits[stage.key] = ""
            continue
        try:
            _run(plan, stage, f"{number}/{len(stages)} ")
        except Waiting as waiting:
            waits[stage.key] = str(waiting)
    if waits:
        raise Waiting("\n".join(line for line in waits.values() if line))
    print(f"done in {time.time() - began:.0f} s: {plan.folder}")
    for page in sorted(plan.folder.glob("measure.report*/report.html")):
        print(f"report: {page}")


def _run(plan: Plan, stage: Stage, mark: str = "") -> None:
    from biddable.run import stages as runs
    from biddable.run.progress import Progress

    with Progress(mark + stage.key) as display:
        did = runs.run(plan, stage, display.report)
        display.close("done" if did else "done already, skipped")


def _stage(key: str, arguments: list[str]) -> int:
    """`biddable learn.ppo my.toml kl_coef=0.1 name=kl01`: one stage, with exceptions."""
    known = catalog.stage_names()
    name = ".".join(key.split(".")[:2])
    if name not in known:
        raise UserError(f"biddable {key}: there is no such stage{config.suggestion(name, list(known))}")
    if not arguments or "--help" in arguments or "-h" in arguments:
        print(
            f"Usage: biddable {key} FILE [SETTING=VALUE ...] [name=NAME]\n\n{known[name]}\n\nFILE is your run's TOML; `biddable new my.toml` makes one, then: biddable {key} my.toml\n"
        )
        for one in catalog.settings(name):
            default = "(none)" if one.default is None else _toml(one.default)
            print(f"  {one.name} = {default}\n      {' '.join(one.about.split())}")
        return 0
    settings: dict[str, Any] = {}
    for argument in arguments[1:]:
        word, sign, text = argument.partition("=")
        if not sign:
            raise UserError(f"biddable {key}: {argument}: SETTING=VALUE was expected")
        try:
            settings[word] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            settings[word] = text
    other = settings.pop("name", None)
    plan = load_plan(Path(arguments[0]), {key: settings}, None if other is None else str(other), key)
    if catalog.is_site(name):
        _serve(plan, plan.stage(key))
    else:
        _run(plan, plan.stage(key))
        print(plan.folder / key)
    return 0


def _serve(plan: Plan, stage: Stage) -> None:
    """A site: it has no end, so no manifest either, and several may serve the same run."""

    settings = stage.config
    print(
        f"{stage.key}: starting at {getattr(settings, 'address', None) or f'http://{settings.host}:{settings.port}'} (Ctrl-C stops it)",
        flush=True,
    )
    context = StageContext(plan.folder / stage.key, stage.key, plan.seed, lambda step, steps, numbers: None)
    catalog.import_stage(stage.name).serve(settings, context)


def _people(arguments: list[str]) -> int:
    """`biddable label.people my.toml NAME`: an admin for the labeling site. The password is asked for; in scripts it is the input's first line."""
    from biddable.store.accounts import Accounts
    from biddable.store.store import open_store

    if len(arguments) != 2 or arguments[1].startswith("-"):
        print(
            "Usage: biddable label.people FILE NAME\n\nAdd an admin to the labeling site, who can invite everybody else. Asks for a password.\nFor example: biddable label.people my.toml ada"
        )
        return 0 if {"--help", "-h"} & set(arguments) else 2
    plan = load_plan(Path(arguments[0]), only="label.site")
    with open_store(plan.stage("label.site").config.store or plan.folder / "store.db") as store:
        account = Accounts(store).add(arguments[1], _password(), "admin")
    print(f"added the admin {account.login}; next: biddable label.site {arguments[0]}")
    return 0


def _keys(arguments: list[str]) -> int:
    """`biddable serve.keys my.toml add NAME`: who may use the served policy."""
    from biddable.cli import keys

    if not arguments or arguments[0].startswith("-"):
        print(keys.USAGE)
        return 0 if {"--help", "-h"} & set(arguments) else 2
    plan = load_plan(Path(arguments[0]), only="serve.api")
    print(keys.command(plan.stage("serve.api").config.store or plan.folder / "store.db", arguments[1:]))
    return 0


def _password() -> str:
    import getpass

    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise UserError("the two passwords differ; nothing was added")
    return password


@app.command()
def status(file: File) -> None:
    """Which stages are done, changed, running, begun or waiting."""
    from rich.console import Console
    from rich.table import Table

    from biddable.run import stages as runs

    plan = load_plan(file)
    table = Table("stage", "state", "")
    for stage in plan.stages:
        known, why = runs.stage_state(plan, stage)
        note = plan.folder / stage.key / "progress.json"
        if known in ("running", "begun") and note.is_file():
            told = json.loads(note.read_text(encoding="utf-8"))
            if "steps" in told:
                numbers = "  ".join(f"{k} {v:.3g}" for k, v in told.items() if k not in ("step", "steps"))
                why = f"{told['step']}/{told['steps']}  {numbers}"
        table.add_row(stage.key, known, why)
    Console().print(table)


@app.command()
def show(
    folder: Annotated[
        Path, typer.Argument(help="A stage's folder, e.g. runs/demo/learn.ppo.", metavar="FOLDER")
    ],
) -> None:
    """A stage folder's manifest, last numbers and three samples."""
    from biddable.cli import display

    for line in display.folder(folder):
        print(line)


@app.command()
def lineage(
    folder: Annotated[
        Path, typer.Argument(help="A stage's folder, e.g. runs/demo/learn.ppo.", metavar="FOLDER")
    ],
) -> None:
    """Walk an artefact back to what it was made from: prompts, people (pseudonymous), guideline versions, code."""
    from biddable.cli import lineage as lineages

    for line in lineages.describe(folder):
        print(line)


@app.command()
def forget(
    person: Annotated[str, typer.Argument(help="The person's pseudonym, as in the field user or labeler.")],
    file: File,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only show what would go.")] = False,
) -> None:
    """Forget a person: out of the store, the served turns and the masked values; lists the run folders that hold them."""
    from biddable.cli import forget as forgetting

    for line in forgetting.told(forgetting.forget(load_plan(file), person, yes), yes):
        print(line)


if __name__ == "__main__":
    main()
