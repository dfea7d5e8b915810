"""What the training stages are compared with: plain transformers models, one sequence at a time, without
packing, trunk or cache.

And the small records that are fed to both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import nn

from biddable.model import checkpoints, random_model
from biddable.model.trunk import scorer_from
from biddable.run import jsonl
from biddable.run.context import StageContext
from biddable.run.records import Answer, Comparison, Demonstration, Message, Prompt, Record, Text

TRUNK = 1  # of two blocks


def make_start(folder: Path) -> Path:
    """`learn.start` with a random model of two blocks, cut in the middle, in fp32."""
    random_model.save_random_model(folder / "source", layers=2)
    checkpoints.import_model(str(folder / "source"), folder / "learn.start" / "model", TRUNK)
    return folder / "learn.start"


def make_reward(folder: Path, start: Path, seed: int = 3, std: float = 0.05, bias: float = 0.25) -> Path:
    """A reward model with a random head and a bias, on the weights of `start`."""
    scorer = scorer_from(checkpoints.load_policy(start), torch.Generator().manual_seed(seed), std)
    with torch.no_grad():
        scorer.bias.fill_(bias)
    checkpoints.save_scorer(scorer, folder / "learn.reward" / "model", start)
    return folder / "learn.reward"


def make_context(folder: Path, key: str, seed: int = 1) -> StageContext:
    folder.mkdir(parents=True, exist_ok=True)
    return StageContext(folder, key, seed, lambda step, steps, numbers: None)


def metrics(context: StageContext, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in context.path(name).read_text(encoding="utf-8").splitlines()]


# records


def prompt(number: int, split: Any = "train") -> Prompt:
    words = " ".join(["salt", "fox", "kettle", "Paris"][: 1 + number % 4])
    return Prompt(id=f"p{number}", messages=(Message(role="user", content=words),), user="u", split=split)


def answer(*tokens: int) -> Answer:
    return Answer(text="sampled", model="learn.start", tokens=tokens)


def demonstration(number: int, split: Any, reply: Answer) -> Demonstration:
    return Demonstration(
        id=f"d{number}",
        prompt=prompt(number, split),
        answer=reply,
        labeler="l1",
        simulated=True,
        guideline="g1",
    )


def comparison(
    number: int, split: Any, answers: Sequence[Answer], ranks: Sequence[int], labeler: str = "l1"
) -> Comparison:
    return Comparison(
        id=f"c{number}-{labeler}",
        prompt=prompt(number, split),
        answers=tuple(answers),
        ranks=tuple(ranks),
        labeler=labeler,
        panel="training",
        simulated=True,
        guideline="g1",
    )


def text(number: int, split: Any = "train") -> Text:
    """Other words for each number, from the first token on."""
    words = ["salt", "fox", "kettle", "Paris", "fruits", "price", "dog"]
    chosen = [words[(number + k * (number + 2)) % 7] for k in range(3 + number % 5)]
    return Text(id=f"t{number}", text=" ".join(chosen), split=split)


def write(folder: Path, name: str, rows: Iterable[Record], summary: dict[str, Any] | None = None) -> Path:
    """A stage's folder with one file of records and a summary."""
    folder.mkdir(parents=True, exist_ok=True)
    jsonl.write(folder / name, rows)
    (folder / "summary.json").write_text(json.dumps(summary or {}))
    return folder


def pieces(texts: Iterable[Sequence[int]], size: int) -> list[list[int]]:
    """Texts in pieces; each piece after a text's first begins with the last token of the one before."""
    parts = []
    for text in texts:
        rest = list(text)
        while len(rest) > 1:
            parts.append(rest[:size])
            rest = rest[size - 1 :]
    return parts


# models


def load(folder: Path) -> Any:
    """A policy or scorer folder's network as transformers loads it."""
    from transformers import AutoModelForCausalLM

    where = folder / "model"
    return AutoModelForCausalLM.from_pretrained(
        where, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def branch(network: Any) -> list[nn.Parameter]:
    """The parameters above the cut, the only ones that train: later blocks and the final norm. The head is
    tied to the embeddings."""
    network.requires_grad_(False)
    for module in (*network.model.layers[TRUNK:], network.model.norm):
        module.requires_grad_(True)
    return [p for p in network.parameters() if p.requires_grad]


def encode(folder: Path, row: Prompt) -> list[int]:
    """A prompt's ids by transformers' own tokenizer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    messages = [{"role": m.role, "content": m.content} for m in row.messages]
    out = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
    return list(out["input_ids"])


def logps(network: Any, prompt_tokens: Sequence[int], tokens: Sequence[int]) -> torch.Tensor:
    """(T,) log-probability of each token given all before it; without a prompt of all but the first."""
    ids = torch.tensor([[*prompt_tokens, *tokens]])
    table = network(ids).logits[0].log_softmax(-1)  # (P + T, V)
    start = len(prompt_tokens) or 1
    return torch.stack([table[t - 1, ids[0, t]] for t in range(start, ids.shape[1])])


class PlainScorer(NamedTuple):
    """A scorer folder: network and scalar head."""

    network: Any
    weight: torch.Tensor
    bias: torch.Tensor

    def states(self, tokens: Sequence[int]) -> torch.Tensor:
        """(T,) the head's number at every position."""
        hidden = self.network.model(torch.tensor([list(tokens)])).last_hidden_state[0]
        return hidden @ self.weight + self.bias

    def score(self, prompt_tokens: Sequence[int], tokens: Sequence[int]) -> torch.Tensor:
        return self.states([*prompt_tokens, *tokens])[-1]


def load_scorer(folder: Path) -> PlainScorer:
    """Scorer folders hold the bare decoder: their network is put under a language model's name."""
    from transformers import AutoModel

    network = AutoModel.from_pretrained(
        folder / "model", dtype=torch.float32, attn_implementation="eager"
    ).eval()
    wrapper = nn.Module()
    wrapper.model = network
    head = load_file(folder / "model" / "head.safetensors")
    return PlainScorer(wrapper, head["weight"], head["bias"])


class Adam:
    """AdamW in the order of its paper (Loshchilov and Hutter 2019, algorithm 2), with the gradient clipped
    before."""

    def __init__(self, parameters: Sequence[torch.Tensor], decay: float = 0.0, eps: float = 1e-5) -> None:
        self.parameters, self.decay, self.eps, self.t = list(parameters), decay, eps, 0
        self.m = [torch.zeros_like(p) for p in self.parameters]
        self.v = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, rate: float, clip_norm: float) -> float:
        """One step; returns the gradient's norm before clipping."""
        self.t += 1
        norm = math.sqrt(sum(float((p.grad**2).sum()) for p in self.parameters if p.grad is not None))
        for p, m, v in zip(self.parameters, self.m, self.v, strict=True):
            assert p.grad is not None
            gradient = p.grad * min(1.0, clip_norm / norm)
            m.mul_(0.9).add_(0.1 * gradient)
            v.mul_(0.95).add_(0.05 * gradient**2)
            p.mul_(1 - rate * self.decay)
            p.sub_(rate * (m / (1 - 0.9**self.t)) / ((v / (1 - 0.95**self.t)).sqrt() + self.eps))
            p.grad = None
        return norm


def cosine(step: int, steps: int, peak: float) -> float:
    """From the peak to a tenth of it."""
    return peak * (0.1 + 0.9 * (1 + math.cos(math.pi * step / steps)) / 2)


def same_weights(saved: Any, expected: Any, tolerance: float = 2e-6) -> None:
    """Every tensor of two networks, by name."""
    ours, theirs = saved.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        apart = (ours[name] - theirs[name]).abs().max().item()
        assert apart <= tolerance, f"{name}: {apart:.3g} apart"


def only_the_branch_changed(saved: Any, start: Any) -> None:
    """Below the cut the same bytes, above it other numbers."""
    after, before = saved.state_dict(), start.state_dict()
    for name in before.keys() & after.keys():
        above = any(f"layers.{i}." in name for i in range(TRUNK, 2)) or name.endswith("model.norm.weight")
        above = above or name == "norm.weight"
        assert torch.equal(after[name], before[name]) != above, name
