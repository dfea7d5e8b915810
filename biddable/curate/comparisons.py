"""comparisons.jsonl: rankings from several places, on curated prompts: masked, placed in their split, and only of prompts that were kept.

Rankings by users (`collect.served`) hold prompts as they were asked: their prompt is replaced by the curated one, and personal data goes out of
the answers too. Rankings that were made on curated prompts, such as a last round's, are taken over as they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from biddable.curate.personal_data import detect, masking
from biddable.run import jsonl
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.records import Comparison, Prompt


class Config(Settings):
    prompts: Input = Path("curate.prompts")
    """The curated prompts."""
    served: tuple[Input, ...] = (Path("collect.served"),)
    """Folders with rankings on prompts as they were asked; rankings on prompts that curation dropped are left out and counted."""
    labelled: tuple[Input, ...] = ()
    """Folders with rankings on curated prompts, taken over as they are: this run's label.comparisons, those of earlier rounds."""
    names: str | None = None
    """As in curate.prompts: a spaCy model that finds names."""
    presidio: tuple[str, ...] = Field(())
    """As in curate.prompts: recognisers of presidio-analyzer to run as well."""


def run(cfg: Config, context: StageContext) -> None:
    prompts = {prompt.id: prompt for prompt in jsonl.read(cfg.prompts / "prompts.jsonl", Prompt)}
    kinds = _kinds(cfg.prompts)
    more = masking.finders(cfg.names, cfg.presidio) if kinds else []
    found: dict[str, Comparison] = {}
    dropped = masked = 0
    for folder in cfg.served:
        path = folder / "comparisons.jsonl"
        for row in jsonl.read(path, Comparison) if not path.exists() or path.stat().st_size else []:
            if row.prompt.id not in prompts:
                dropped += 1
                continue
            clean, changed = _clean(row, prompts[row.prompt.id], kinds, more)
            masked += changed
            found[clean.id] = clean
    for number, folder in enumerate(cfg.labelled):
        for row in jsonl.read(folder / "comparisons.jsonl", Comparison):
            name = row.id if row.id not in found else f"{row.id}@{number}"
            found[name] = row if name == row.id else row.model_copy(update={"id": name})
    if not found:
        raise UserError(
            f"[{context.key}] served, labelled: no ranking on a prompt that was kept; ask labelers, or serve longer"
        )
    jsonl.write(context.path("comparisons.jsonl"), found.values())
    context.summary |= {
        "comparisons": len(found),
        "prompts": len({row.prompt.id for row in found.values()}),
        "labelers": len({row.labeler for row in found.values()}),
        "dropped_prompts": dropped,
        "masked_answers": masked,
        "simulated": any(row.simulated for row in found.values()),
    }


def _kinds(folder: Path) -> tuple[str, ...]:
    """What curate.prompts masked; everything when the folder does not say, nothing when it kept or dropped such prompts whole."""
    manifest = folder / "manifest.json"
    told: dict[str, Any] = (
        json.loads(manifest.read_text(encoding="utf-8"))["settings"] if manifest.is_file() else {}
    )
    return () if told.get("personal") == "keep" else tuple(told.get("personal_kinds", detect.KINDS))


def _clean(
    row: Comparison, prompt: Prompt, kinds: tuple[str, ...], more: list[masking.Finder]
) -> tuple[Comparison, bool]:
    """The ranking on the curated prompt, and whether an answer had to be masked: then its token ids are no longer its own, and go.

    Prompt and answers are masked together, so that a value has the same pseudonym in both.
    """
    asked = [message.content for message in row.prompt.messages]
    texts, values = (
        masking.masked_texts([*asked, *(answer.text for answer in row.answers)], kinds, more)
        if kinds
        else ([], {})
    )
    answers = row.answers
    if values:
        answers = tuple(
            answer if text == answer.text else answer.model_copy(update={"text": text, "tokens": None})
            for answer, text in zip(row.answers, texts[len(asked) :], strict=True)
        )
    return row.model_copy(update={"prompt": prompt, "answers": answers}), answers != row.answers
