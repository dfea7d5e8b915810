"""Puts a benchmark's questions to policies: policies on one trunk together, chunk by chunk, and it goes on
where a broken-off run stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from biddable.measure.benchmarks.queries import Likelihoods, Question, Reader, Style, likelihoods
from biddable.measure.benchmarks.tasks import TASKS, GenerationItem, Result
from biddable.measure.winrate import short_names
from biddable.model import checkpoints
from biddable.model.packing import Tree
from biddable.run import jsonl
from biddable.run.context import StageContext
from biddable.run.manifest import hash_file

if TYPE_CHECKING:
    from biddable.measure.benchmarks import Config

CHUNK = 128
"""Items between two notes of what is done. Chunks are the same whether or not a run was broken off, so that
the numbers are."""
CHECKPOINT_SECONDS = 5.0
"""Time between two checkpoints."""


def ask_policies(
    cfg: Config, context: StageContext, ids: Sequence[str], questions: Sequence[Question]
) -> dict[str, list[Result]]:
    """Short name of each policy -> its results in the questions' order. The longest questions go first, so
    that memory runs out early or never."""
    short = policy_names(cfg.policies, cfg.names, context.key)
    groups = group_by_trunk(cfg.policies)
    chunks = range(0, len(questions), CHUNK)
    resumed = context.restore()
    next_step, checkpointed = resumed[0] if resumed else 0, time.monotonic()
    for group, folders in enumerate(groups):
        if next_step >= (group + 1) * len(chunks):
            continue
        readers = load_readers(folders, cfg.style)
        trees = readers[0].trees(questions, ids, context.key)
        for reader in readers:
            reader.refuse_too_long(trees, ids, cfg.max_tokens, context.key)
        order = sorted(range(len(trees)), key=lambda i: (-len(trees[i]), tuple(trees[i].prompt), i))
        for step, start in enumerate(chunks, group * len(chunks)):
            if step < next_step:
                continue
            chunk = order[start : start + CHUNK]
            results = ask_chunk(
                cfg, context.seed, readers, [ids[i] for i in chunk], [trees[i] for i in chunk]
            )
            for reader, policy_results in zip(readers, results, strict=True):
                for i, result in zip(chunk, policy_results, strict=True):
                    row = {"output": result} if isinstance(result, str) else result._asdict()
                    context.append("answers.jsonl", {"model": short[reader.folder], "id": ids[i]} | row)
            context.progress(step + 1, len(chunks) * len(groups))
            if time.monotonic() - checkpointed > CHECKPOINT_SECONDS:
                checkpointed = time.monotonic()
                context.checkpoint(step + 1, lambda folder: None)
    return read_answers(context.path("answers.jsonl"), [short[folder] for folder in cfg.policies], ids)


def ask_chunk(
    cfg: Config, seed: int, readers: Sequence[Reader], ids: Sequence[str], trees: Sequence[Tree]
) -> Sequence[Sequence[Result]]:
    """Each policy's likelihoods or answers of one chunk. Sampling seeds depend on the item alone, so that
    neighbours change nothing."""
    task = TASKS[cfg.task]
    if not issubclass(task, GenerationItem):
        return likelihoods([reader.policy for reader in readers], trees)
    digests = [hashlib.blake2b(f"{seed} {name}".encode(), digest_size=7).digest() for name in ids]
    seeds = [int.from_bytes(digest, "big") for digest in digests]
    prompts = [tree.prompt for tree in trees]
    return [
        reader.answers(prompts, seeds, cfg.max_tokens, cfg.temperature, task.single_line)
        for reader in readers
    ]


def read_answers(path: Path, names: Sequence[str], ids: Sequence[str]) -> dict[str, list[Result]]:
    """What `ask_policies` wrote: each policy's results in the order of `ids`."""
    results: dict[str, dict[str, Result]] = {name: {} for name in names}
    for _, line in jsonl.read_lines(path):
        row = json.loads(line)
        results[row["model"]][row["id"]] = (
            row["output"] if "output" in row else Likelihoods(tuple(row["logp"]), tuple(row["tokens"]))
        )
    return {name: [by_id[item] for item in ids] for name, by_id in results.items()}


def policy_names(folders: Sequence[Path], names: dict[str, str], key: str) -> dict[Path, str]:
    """Each policy's short name. Policies of several runs that have the same name are keyed by their folders
    in `names`."""
    stages = [folder.name for folder in folders]
    keys = {folder: folder.name if stages.count(folder.name) == 1 else str(folder) for folder in folders}
    short = short_names(list(keys.values()), names, key)
    return {folder: short[key] for folder, key in keys.items()}


def group_by_trunk(folders: Sequence[Path]) -> list[list[Path]]:
    """Policies in groups of those with the same trunk and tokenizer: they are asked at once, and the trunk
    runs once for all of them."""
    groups: dict[tuple[str, ...], list[Path]] = {}
    for folder in folders:
        info, model = checkpoints.model_info(folder), checkpoints.model_folder(folder)
        files = [model / name for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")]
        hashes = (str(info["fingerprint"]), *(hash_file(path) for path in files if path.is_file()))
        groups.setdefault(hashes if info["trunk"] else (str(folder),), []).append(folder)
    return list(groups.values())


def load_readers(folders: Sequence[Path], style: Style) -> list[Reader]:
    """Policies that share a trunk, to read with."""
    readers: list[Reader] = []
    for folder in folders:
        policy = checkpoints.load_policy(folder, shared=readers[0].policy.trunk if readers else None).freeze()
        readers.append(Reader(folder, policy, style))
    return readers
