"""`biddable run FILE`: every stage of a run, in the order of its arrows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from biddable.cli.arguments import File
from biddable.run.errors import UserError, Waiting

if TYPE_CHECKING:
    from biddable.run.plan import Plan, Stage


def run(file: File) -> None:
    """Run every stage that is not done yet; done ones are skipped, changed ones refused. What waits for
    people holds up only what needs it."""
    from biddable.run.catalog import is_site
    from biddable.run.plan import load_plan

    plan = load_plan(file)
    _refuse_unrunnable(plan)
    started = time.time()
    _run_all(plan, [stage for stage in plan.stages if not is_site(stage.name)])
    print(f"done in {time.time() - started:.0f} s: {plan.folder}")
    for page in sorted(plan.folder.glob("measure.report*/report.html")):
        print(f"report: {page}")


def _refuse_unrunnable(plan: Plan) -> None:
    """Raise UserError when stages cannot run: packages are missing, or settings differ from those a folder
    was made with."""
    from biddable.run.catalog import is_site
    from biddable.run.states import changed_message, stage_states

    errors = []
    for stage, state in stage_states(plan):
        if is_site(stage.name):
            continue
        if stage.missing:
            errors += [f"{plan.file}: {line}" for line in stage.missing.lines]
        elif state.name == "changed":
            errors.append(changed_message(plan, stage, state.reason))
    if errors:
        raise UserError(errors)


def _run_all(plan: Plan, stages: list[Stage]) -> None:
    """Run stages in order. Raises Waiting with all the sentences at the end, when everything else is done."""
    sentences: dict[str, str] = {}  # a stage that waits -> what for; "": for another one that waits
    for number, stage in enumerate(stages, 1):
        if any(name in sentences for name in stage.input_names):
            sentences[stage.key] = ""
            continue
        try:
            run_with_progress(plan, stage, f"{number}/{len(stages)} {stage.key}")
        except Waiting as waiting:
            sentences[stage.key] = str(waiting)
    if sentences:
        raise Waiting("\n".join(line for line in sentences.values() if line))


def run_with_progress(plan: Plan, stage: Stage, title: str) -> None:
    """Run one stage with a progress bar, or with plain lines where nobody watches a terminal."""
    from biddable.run.progress import Progress
    from biddable.run.runner import run_stage

    with Progress(title) as progress:
        worked = run_stage(plan, stage, progress.report)
        progress.close("done" if worked else "done already, skipped")
