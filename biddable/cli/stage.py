"""`biddable learn.ppo my.toml kl_coef=0.1 name=kl01`: one stage of a run, with settings that replace the
file's."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biddable.cli.arguments import HELP
from biddable.cli.new import format_toml
from biddable.run import catalog
from biddable.run.errors import UserError, suggestion
from biddable.run.parse import parse_toml

if TYPE_CHECKING:
    from biddable.run.plan import Plan, Stage


def main(key: str, arguments: list[str]) -> int:
    """Run a stage, or print its settings without arguments and for `--help`. Returns the exit code."""
    from biddable.cli.run import run_with_progress

    names = catalog.stage_names()
    name = ".".join(key.split(".")[:2])
    if name not in names:
        raise UserError(f"biddable {key}: there is no such stage{suggestion(name, list(names))}")
    if not arguments or HELP & set(arguments):
        print(describe_stage(key, name, names[name]))
        return 0

    from biddable.run.plan import load_plan

    settings = parse_settings(key, arguments[1:])
    run_name = settings.pop("name", None)
    plan = load_plan(
        Path(arguments[0]), {key: settings}, None if run_name is None else str(run_name), only=key
    )
    stage = plan.stage(key)
    if catalog.is_site(name):
        serve(plan, stage)
    else:
        run_with_progress(plan, stage, key)
        print(plan.folder / key)
    return 0


def describe_stage(key: str, name: str, summary: str) -> str:
    """The help of a stage: what it makes, then every setting with its default and its description."""
    lines = [
        f"Usage: biddable {key} FILE [SETTING=VALUE ...] [name=NAME]",
        "",
        summary,
        "",
        f"FILE is your run's TOML; `biddable new my.toml` makes one, then: biddable {key} my.toml",
        "",
    ]
    for setting in catalog.settings(name):
        default = format_toml("none" if setting.default is None else setting.default)
        switch = ' (or "none")' if setting.optional and setting.default is not None else ""
        lines += [f"  {setting.name} = {default}{switch}", f"      {' '.join(setting.description.split())}"]
        if setting.table:
            lines.append(f"      or tables [[{key}.{setting.name}]], each with:")
        for field in setting.table:
            value = format_toml("none" if field.default is None else field.default)
            lines += [f"        {field.name} = {value}", f"            {' '.join(field.description.split())}"]
    return "\n".join(lines)


def parse_settings(key: str, arguments: list[str]) -> dict[str, Any]:
    """`kl_coef=0.1` as a TOML value; what is not TOML, such as `text=none` or `name=kl01`, is a text."""
    settings: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals:
            raise UserError(f"biddable {key}: {argument}: expected SETTING=VALUE")
        try:
            settings[name] = parse_toml(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            settings[name] = text
    return settings


def serve(plan: Plan, stage: Stage) -> None:
    """Serve a site until it is stopped. It leaves no manifest, and several processes may serve the same
    run."""
    from biddable.run.catalog import import_stage
    from biddable.run.context import StageContext

    if stage.missing:
        raise UserError([f"{plan.file}: {line}" for line in stage.missing.lines])
    settings = stage.config
    address = getattr(settings, "address", None) or f"http://{settings.host}:{settings.port}"
    print(f"{stage.key}: starting at {address} (Ctrl-C stops it)", flush=True)
    context = StageContext(plan.folder / stage.key, stage.key, plan.seed, lambda step, steps, numbers: None)
    import_stage(stage.name).serve(settings, context)
