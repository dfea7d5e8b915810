"""Which state every stage of a run is in, and what differs from the settings and inputs that a folder was
made with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from biddable.run import stage_folder
from biddable.run.config import Settings
from biddable.run.manifest import content_hash, read_manifest
from biddable.run.plan import Plan, Stage

StateName = Literal["ready", "waiting", "running", "begun", "done", "changed", "not installed"]


class State(NamedTuple):
    """A stage's state and the reason in a few words."""

    name: StateName
    reason: str = ""


def stage_states(plan: Plan) -> list[tuple[Stage, State]]:
    """Every stage with its state. A done stage counts as `changed` too when an input of it does: all that
    must be made again shows at once."""
    states: list[tuple[Stage, State]] = []
    changed: set[str] = set()
    for stage in plan.stages:
        state = stage_state(plan, stage)
        stale = [name for name in stage.input_names if name in changed]
        if state.name == "done" and stale:
            state = State("changed", f"{', '.join(stale)} must be made again")
        if state.name == "changed":
            changed.add(stage.key)
        states.append((stage, state))
    return states


def stage_state(plan: Plan, stage: Stage) -> State:
    """A stage's state from its own folder. The reason of `changed` is what differs from the manifest."""
    if stage.missing:
        return State("not installed", stage.missing.install)
    folder = plan.folder / stage.key
    manifest = read_manifest(folder)
    if manifest is not None:
        differs = differences(plan, stage, manifest)
        return State("changed", differs) if differs else State("done", f"{manifest['seconds']:.0f} s")
    if stage_folder.is_locked(folder):
        return State("running")
    if "waiting" in (progress := stage_folder.read_progress(folder)):
        return State("waiting", str(progress["waiting"]))
    if (folder / stage_folder.BEGUN).exists():
        resumes = stage_folder.list_checkpoints(folder)
        return State("begun", "it goes on from its last checkpoint" if resumes else "it begins anew")
    unfinished = unfinished_inputs(stage)
    return State("waiting", f"for {', '.join(unfinished)}") if unfinished else State("ready")


def unfinished_inputs(stage: Stage) -> list[str]:
    """Names of the inputs that are not done."""
    return [
        name for arrows in stage.inputs.values() for name, path in arrows if stage_folder.is_unfinished(path)
    ]


def differences(plan: Plan, stage: Stage, manifest: dict[str, Any]) -> str:
    """How settings, seed and inputs differ from those that a folder was made with; "" when they don't."""
    lines = _setting_differences(stage, manifest["settings"])
    if manifest["seed"] != plan.seed:
        lines.append(f"seed was {manifest['seed']}, is {plan.seed}")
    for word, arrows in stage.inputs.items():
        lines += _input_differences(word, arrows, manifest["inputs"].get(word, []))
    return "; ".join(lines)


def _setting_differences(stage: Stage, before: dict[str, Any]) -> list[str]:
    now = stage.written_settings
    runtime = getattr(stage.config, "runtime_settings", ())
    return [
        f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
        and name not in runtime
        # a setting younger than the manifest: its default is what the stage did before there was a choice
        and not (name not in before and _is_default(stage, name))
    ]


def _is_default(stage: Stage, name: str) -> bool:
    if not isinstance(stage.config, Settings):
        return False
    field = type(stage.config).model_fields[name]
    return bool(getattr(stage.config, name) == field.get_default(call_default_factory=True))


def _input_differences(word: str, arrows: list[tuple[str, Path]], before: list[dict[str, str]]) -> list[str]:
    if unfinished := [name for name, path in arrows if stage_folder.is_unfinished(path)]:
        return [f"its input {word} ({', '.join(unfinished)}) is not done"]
    if [arrow["content"] for arrow in before] != [content_hash(path) for _, path in arrows]:
        return [f"its input {word} ({', '.join(name for name, _ in arrows)}) has changed since"]
    return []


def changed_message(plan: Plan, stage: Stage, reason: str) -> str:
    """The line that refuses a stage whose folder was made with other settings or inputs, with both ways
    out."""
    again = f"to make it again: rm -r {plan.folder / stage.key}"
    keep = 'to keep it and run into another folder: name = "NAME" at the top of the file'
    return f"{plan.file}: [{stage.key}] {reason}; {again}; {keep}"
