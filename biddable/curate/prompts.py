"""prompts.jsonl: usable prompts, without duplicates, at most so many a user, split by user into train, valid and test.

What is left out, and why, stands in dropped.jsonl. The order is the paper's (Ouyang et al. 2022, section 3.2):
duplicates, cap, split.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from biddable.base import records
from biddable.base.config import Input, Refusal, Settings
from biddable.base.records import Prompt
from biddable.base.runs import Here
from biddable.curate import clean


class Config(Settings):
    """Settings of curate.prompts."""

    prompts: Input = Path("collect.files")
    """Where prompts.jsonl lies."""
    prefix_characters: int = Field(100, ge=1)
    """Prompts are duplicates when they share a prefix of at least so many characters (blanks and capitals evened out),
    and of at least `prefix_share` of the shorter one. The paper drops prompts with a long common prefix and gives no
    number."""
    prefix_share: float = Field(0.5, gt=0, le=1)
    """See `prefix_characters`; 1 drops only prompts that begin with the whole of another."""
    user_cap: int = Field(200, ge=1)
    """At most so many prompts of one user (Ouyang et al. 2022, section 3.2)."""
    valid_share: float = Field(0.12, gt=0, lt=1)
    """Share of the users whose prompts are for validation."""
    test_share: float = Field(0.18, gt=0, lt=1)
    """Share of the users whose prompts are for the final evaluation; the rest trains."""
    split_seed: int = 1
    """Decides with the user id who goes where. Not the run's seed: a user has to stay in one split over all rounds."""


def run(cfg: Config, here: Here) -> None:
    """Duplicates out, cap, split; refuse when a split is empty."""
    if cfg.valid_share + cfg.test_share >= 1:
        raise Refusal(
            f"valid_share + test_share = {cfg.valid_share + cfg.test_share:g}: less than 1 was expected; "
            "the rest trains"
        )
    prompts = records.read(cfg.prompts / "prompts.jsonl", Prompt)
    here.progress(1, 3, prompts=len(prompts))
    single, alike = clean.without_duplicates(prompts, cfg.prefix_characters, cfg.prefix_share)
    here.progress(2, 3, prompts=len(single))
    kept, above = clean.capped(single, cfg.user_cap)
    placed = [
        prompt.model_copy(
            update={"split": clean.split_of(prompt.user, cfg.valid_share, cfg.test_share, cfg.split_seed)}
        )
        for prompt in kept
    ]
    users = {split: {prompt.user for prompt in placed if prompt.split == split} for split in ("train", "valid", "test")}
    empty = [split for split, found in users.items() if not found]
    if empty:
        shown = f"valid_share = {cfg.valid_share:g}, test_share = {cfg.test_share:g}, split_seed = {cfg.split_seed}"
        everybody = len({prompt.user for prompt in placed})
        raise Refusal(
            [
                f"{cfg.prompts / 'prompts.jsonl'}: no prompts for the split {split!r}: {everybody} users, {shown}; "
                "add prompts of more users, or change the shares or the seed"
                for split in empty
            ]
        )
    dropped = alike + above
    records.write(here.path("dropped.jsonl"), dropped)
    records.write(here.path("prompts.jsonl"), placed)
    here.summary["prompts_read"] = len(prompts)
    here.summary["prompts"] = len(placed)
    for reason in ("same_text", "long_prefix", "user_cap"):
        here.summary[f"dropped_{reason}"] = sum(one.reason == reason for one in dropped)
    for split, found in users.items():
        here.summary[f"prompts_{split}"] = sum(prompt.split == split for prompt in placed)
        here.summary[f"users_{split}"] = len(found)
    here.progress(3, 3, prompts=len(placed))
