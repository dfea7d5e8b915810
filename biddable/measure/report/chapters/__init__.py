"""The page's chapters, one a file: each has a `chapter(evidence)` that returns paragraphs, plots and
tables."""

from biddable.measure.report.chapters import (
    alignment_tax,
    benchmarks,
    overoptimisation,
    ppo,
    ratings,
    reward_model,
    rewards,
    rounds,
    rules,
    sft,
    time_and_memory,
    vital_signs,
    winrates,
)

CHAPTERS = (
    winrates.chapter,
    reward_model.chapter,
    rewards.chapter,
    ppo.chapter,
    overoptimisation.chapter,
    alignment_tax.chapter,
    benchmarks.chapter,
    ratings.chapter,
    rules.chapter,
    rounds.chapter,
    vital_signs.chapter,
    sft.chapter,
    time_and_memory.chapter,
)
"""In the order of the page."""
