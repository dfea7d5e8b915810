"""`biddable status FILE`: which stages are done, changed, running, begun or waiting."""

from __future__ import annotations

from typing import Any

from biddable.cli.arguments import File


def status(file: File) -> None:
    """Which stages are done, changed, running, begun or waiting."""
    from rich.console import Console
    from rich.table import Table

    from biddable.run.output import screen, visible
    from biddable.run.plan import load_plan
    from biddable.run.redaction import redact
    from biddable.run.stage_folder import read_progress
    from biddable.run.states import stage_states

    plan = load_plan(file)
    table = Table("stage", "state", "")
    for stage, state in stage_states(plan):
        progress = read_progress(plan.folder / stage.key) if state.name in ("running", "begun") else {}
        table.add_row(stage.key, state.name, visible(redact(format_progress(progress) or state.reason)))
    Console(file=screen(), markup=False).print(table)  # [learn] is an extra here, not a style


def format_progress(progress: dict[str, Any]) -> str:
    """How far a stage is: `12/100  loss 0.25`; "" without a number of steps."""
    if "steps" not in progress:
        return ""
    numbers = [
        f"{name} {value:.3g}"
        for name, value in progress.items()
        if name not in ("step", "steps") and value is not None
    ]
    return "  ".join([f"{progress['step']}/{progress['steps']}", *numbers])
