"""Our own engine as a source of answers: dialogues become token ids, seeds and orders. Two policies from one start model share their trunk, and the
reward model stands on it too."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool

from biddable.model import checkpoints
from biddable.model.trunk import Trunk
from biddable.run.config import UserError
from biddable.run.records import Message
from biddable.run.records import Policy as Answerer
from biddable.serve.engine.backend import GenerationRequest, Stream
from biddable.serve.engine.batch import ContinuousBatch
from biddable.serve.engine.requests import Job, Piece, PromptRequest
from biddable.serve.engine.thread import Engine
from biddable.serve.openai.protocol import APIError

SHORT = 4000
"""Prompts of fewer characters are tokenised at once; longer ones beside the event loop, which they would hold up."""


class _Answers:
    """What one job of our engine gives, brought from the inference thread into the event loop."""

    def __init__(self, orders: list[PromptRequest], seed: int | None, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[list[Piece] | Exception] = asyncio.Queue()

        def tell(told: list[Piece] | Exception) -> None:
            loop.call_soon_threadsafe(self._told.put_nowait, told)

        self.job = Job(orders, tell, seconds)
        self.prompt_tokens = sum(len(order.prompt) for order in orders)
        self.answers = sum(order.wanted for order in orders)
        self.max_tokens = max(order.max_tokens for order in orders)
        self.seed = seed
        self.completion_tokens: int | None = None

    async def __aiter__(self) -> AsyncIterator[Piece]:
        left = self.answers
        while left:
            told = await self._told.get()
            if isinstance(told, Exception):
                raise told
            for piece in told:
                left -= piece.finish is not None
                yield piece

    def close(self) -> None:
        self.job.cancel()


@dataclass(frozen=True)
class LocalModel:
    """A policy on our own engine."""

    name: str
    answerer: Answerer
    engine: Engine
    tokenizer: Any
    context: int  # tokens of prompt and answer together
    most_tokens: int  # of an answer
    seconds: float  # that an answer may take

    async def open(self, request: GenerationRequest) -> Stream:
        """Queue the orders. Raises APIError for prompts that cannot be answered, QueueFull and EngineClosed."""
        wanted = request.max_tokens or self.most_tokens
        seed = secrets.randbits(62) if request.seed is None else request.seed
        orders = []
        long = (
            sum(len(message.content) for message in request.messages)
            + sum(len(prompt) for prompt in request.prompts)
            > SHORT
        )
        prompts = await run_in_threadpool(self._prompts, request) if long else self._prompts(request)
        for number, prompt in enumerate(prompts):
            room = self.context - len(prompt)
            if room < 1:
                raise APIError(
                    f"the prompt has {len(prompt)} tokens; this server's context holds {self.context}",
                    param="messages" if request.messages else "prompt",
                    code="context_length_exceeded",
                )
            seeds = tuple(_seed(seed, number, k) for k in range(request.best_of))
            tokens = min(wanted, room, self.most_tokens)
            shape = (tokens, request.temperature, request.top_p, request.stop, request.top_logprobs)
            orders.append(PromptRequest(prompt, seeds, request.n, *shape))
        stream = _Answers(orders, seed, self.seconds)
        self.engine.submit(self.name, stream.job)
        return stream

    def _prompts(self, request: GenerationRequest) -> list[tuple[int, ...]]:
        if request.messages:
            return [self._rendered(request.messages)]
        found = []
        for prompt in request.prompts:
            if isinstance(prompt, str):
                ids = tuple(self.tokenizer(prompt).input_ids)
            else:
                ids = prompt
                if any(token >= len(self.tokenizer) for token in ids):
                    raise APIError(f"prompt: token ids go up to {len(self.tokenizer) - 1}", param="prompt")
            if not ids:
                raise APIError("the prompt is empty", param="prompt")
            found.append(ids)
        return found

    def _rendered(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        from jinja2 import TemplateError

        for number, message in enumerate(messages):
            self._clean(message.content, f"messages.{number}.content")
        try:
            return checkpoints.encode_chat(self.tokenizer, messages)
        except TemplateError as error:
            raise APIError(
                f"this model's chat template refuses the dialogue: {error}", param="messages"
            ) from error

    def _clean(self, text: str, where: str) -> None:
        """A control token written out in a message would be read as one: somebody could speak in another's name."""
        for token in self.tokenizer.added_tokens_decoder.values():
            if token.special and (word := str(token)) in text:
                raise APIError(
                    f"{where}: holds {word}, which this model takes for a control token; leave it out",
                    param=where,
                )

    @property
    def scores(self) -> bool:
        return self.engine.batches[self.name].scorer is not None

    async def alive(self) -> bool:
        return self.engine.failed is None

    def load(self) -> tuple[int, int]:
        batch = self.engine.batches[self.name]
        return len(batch.live), len(batch.waiting)

    def spell(self, token: int) -> str:
        return str(self.tokenizer.decode([token], clean_up_tokenization_spaces=False))


def _seed(seed: int, prompt: int, answer: int) -> int:
    """A seed for each answer of a request, from the request's."""
    return int.from_bytes(
        hashlib.blake2b(f"{seed} {prompt} {answer}".encode(), digest_size=8).digest(), "big"
    )


@dataclass(frozen=True)
class Limits:
    """How much at once, how long, how much may wait."""

    slots: int
    queue: int
    context: int
    max_tokens: int
    seconds: float


def load(
    policies: Mapping[str, Path], answerers: Sequence[Answerer], reward: Path | None, limits: Limits
) -> tuple[dict[str, LocalModel], Engine]:
    """Each policy on a batch of one engine. Raises UserError for folders that hold none, and for a reward model on another trunk."""
    shared: Trunk | None = None
    batches, contexts = {}, {}
    for name, folder in policies.items():
        mark = str(checkpoints.model_info(folder).get("fingerprint"))
        policy = checkpoints.load_policy(
            folder, shared=shared if shared is not None and mark == shared.fingerprint else None
        )
        shared = shared or policy.trunk
        tokenizer = checkpoints.tokenizer(folder)
        scorer = None
        if reward is not None:
            if checkpoints.model_info(reward).get("fingerprint") != policy.trunk.fingerprint:
                raise UserError(
                    f"{reward}: stands on another trunk than {folder}; both must come from one [learn.start]"
                )
            scorer = checkpoints.load_scorer(reward, shared=policy.trunk).freeze()
        batches[name] = ContinuousBatch(
            policy.freeze(), tokenizer, checkpoints.eos_ids(folder, tokenizer), limits.slots, scorer
        )
        contexts[name] = min(limits.context, checkpoints.context_length(folder))
    engine = Engine(batches, limits.queue)
    found = {}
    for (name, batch), answerer in zip(batches.items(), answerers, strict=True):
        words = (batch.tokenizer, contexts[name], limits.max_tokens, limits.seconds)
        found[name] = LocalModel(name, answerer, engine, *words)
    return found, engine
