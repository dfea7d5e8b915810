"""comparisons.jsonl: rankings on the prompts that curation left, masked and in their split.

They may come from several places. Rankings by users (`collect.served`) hold prompts as they were asked: their
prompt is replaced by the curated one, and answers are masked too. Rankings that were made on curated prompts,
such as an earlier round's, are copied as they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from biddable.curate import prompts as curate_prompts
from biddable.curate.personal_data import detect, masking, phones
from biddable.run import jsonl
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.records import Comparison, Prompt


class Config(Settings):
    """Settings of curate.comparisons."""

    renamed: ClassVar[dict[str, str]] = {"names": "spacy_model"}

    prompts: Input = Path("curate.prompts")
    """The curated prompts."""
    served: tuple[Input, ...] = (Path("collect.served"),)
    """Folders with rankings on prompts as they were asked; rankings on prompts that curation dropped are left
    out and counted."""
    labelled: tuple[Input, ...] = ()
    """Folders with rankings on curated prompts, copied as they are: this run's label.comparisons, those of
    earlier rounds."""
    spacy_model: str | None = None
    """As in curate.prompts: a spaCy model that finds people's names."""
    presidio: tuple[str, ...] = Field(())
    """As in curate.prompts: recognisers of presidio-analyzer to run as well."""


def run(cfg: Config, context: StageContext) -> None:
    """Put users' rankings on curated prompts, add labelers' rankings, write them all."""
    prompts = {prompt.id: prompt for prompt in jsonl.read(cfg.prompts / "prompts.jsonl", Prompt)}
    kinds, regions = masking_settings(cfg.prompts)
    finders = masking.finders(cfg.spacy_model, cfg.presidio) if kinds else []
    comparisons: dict[str, Comparison] = {}
    dropped = masked = 0
    for folder in cfg.served:
        path = folder / "comparisons.jsonl"
        # An empty file is fine, users need not rank; a missing one is an error, which `read` raises.
        for row in jsonl.read(path, Comparison) if not path.exists() or path.stat().st_size else []:
            if row.prompt.id not in prompts:
                dropped += 1
                continue
            clean, changed = clean_comparison(row, prompts[row.prompt.id], kinds, finders, regions)
            masked += changed
            comparisons[clean.id] = clean
    for number, folder in enumerate(cfg.labelled):
        for row in jsonl.read(folder / "comparisons.jsonl", Comparison):
            # Two rounds may both have a comparison "17".
            name = row.id if row.id not in comparisons else f"{row.id}@{number}"
            comparisons[name] = row if name == row.id else row.model_copy(update={"id": name})
    if not comparisons:
        raise UserError(
            f"[{context.key}] served, labelled: no ranking on a prompt that was kept; ask labelers, or serve "
            "longer"
        )
    jsonl.write(context.path("comparisons.jsonl"), comparisons.values())
    context.summary |= {
        "comparisons": len(comparisons),
        "prompts": len({row.prompt.id for row in comparisons.values()}),
        "labelers": len({row.labeler for row in comparisons.values()}),
        "dropped_prompts": dropped,
        "masked_answers": masked,
        "simulated": any(row.simulated for row in comparisons.values()),
    }


def masking_settings(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The kinds that curate.prompts masked (all where the folder does not say, none where prompts with
    personal data were kept as they are), and the countries whose telephone numbers counted."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return detect.KINDS, phones.REGIONS
    renamed = curate_prompts.Config.renamed
    settings: dict[str, Any] = {
        renamed.get(name, name): value  # folders of earlier versions have the earlier names
        for name, value in json.loads(manifest.read_text(encoding="utf-8"))["settings"].items()
    }
    if settings.get("personal_data") == "keep":
        return (), ()
    return (
        tuple(settings.get("personal_data_kinds", detect.KINDS)),
        phones.REGIONS if (regions := settings.get("phone_regions")) is None else tuple(regions),
    )


def clean_comparison(
    row: Comparison,
    prompt: Prompt,
    kinds: tuple[str, ...],
    finders: list[masking.Finder],
    regions: tuple[str, ...],
) -> tuple[Comparison, bool]:
    """The ranking on the curated prompt, and whether an answer had to be masked: its token ids are dropped
    then, they spell the old text.

    Prompt and answers are masked together, so that a value has the same pseudonym in both.
    """
    if not kinds:
        return row.model_copy(update={"prompt": prompt}), False
    messages = [message.content for message in row.prompt.messages]
    answered = [answer.text for answer in row.answers]
    texts, values = masking.mask_texts([*messages, *answered], kinds, finders, regions)
    if not values:
        return row.model_copy(update={"prompt": prompt}), False
    answers = tuple(
        answer if text == answer.text else answer.model_copy(update={"text": text, "tokens": None})
        for answer, text in zip(row.answers, texts[len(messages) :], strict=True)
    )
    return row.model_copy(update={"prompt": prompt, "answers": answers}), answers != row.answers
