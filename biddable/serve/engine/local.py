"""Models on our own engine: dialogues become token ids and requests of one prompt each. Two policies from one
start model share their trunk, and the reward model stands on it too."""

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
from biddable.model.encoding import encode_chat
from biddable.model.rerank import RuleJudge, RuleReduction
from biddable.model.trunk import Scorer, Trunk
from biddable.run.config import UserError
from biddable.run.records import Message
from biddable.run.records import Policy as Answerer
from biddable.run.rules import Rule
from biddable.serve.engine.backend import GenerationRequest, Stream
from biddable.serve.engine.batch import ContinuousBatch
from biddable.serve.engine.requests import Job, Piece, PromptRequest
from biddable.serve.engine.thread import Engine
from biddable.serve.openai.bodies import APIError

MIN_JUDGED_TOKENS = 32
"""A rule's question must leave so many tokens of the rule model's context for the end of the dialogue."""
MAX_INLINE_CHARACTERS = 4000
"""Longer prompts are tokenised in a thread beside the event loop, which they would hold up."""


class _JobStream:
    """The pieces of one job, brought from the inference thread into the event loop."""

    def __init__(self, requests: list[PromptRequest], seed: int | None, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[list[Piece] | Exception] = asyncio.Queue()

        def listener(pieces: list[Piece] | Exception) -> None:
            loop.call_soon_threadsafe(self._queue.put_nowait, pieces)

        self.job = Job(requests, listener, seconds)
        self.prompt_tokens = sum(len(request.prompt) for request in requests)
        self.answers = sum(request.n for request in requests)
        self.max_tokens = max(request.max_tokens for request in requests)
        self.seed = seed
        self.completion_tokens: int | None = None

    async def __aiter__(self) -> AsyncIterator[Piece]:
        unfinished = self.answers
        while unfinished:
            pieces = await self._queue.get()
            if isinstance(pieces, Exception):
                raise pieces
            for piece in pieces:
                unfinished -= piece.finish is not None
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
    max_tokens: int  # of an answer
    seconds: float  # that an answer may take

    async def open(self, request: GenerationRequest) -> Stream:
        """Queue the request. Raises APIError for prompts that cannot be answered, QueueFull and
        EngineClosed."""
        seed = secrets.randbits(62) if request.seed is None else request.seed
        characters = sum(len(message.content) for message in request.messages) + sum(
            map(len, request.prompts)
        )
        if characters > MAX_INLINE_CHARACTERS:
            prompts = await run_in_threadpool(self._tokenize, request)
        else:
            prompts = self._tokenize(request)
        requests = [self._prompt_request(request, prompt, seed, k) for k, prompt in enumerate(prompts)]
        stream = _JobStream(requests, seed, self.seconds)
        self.engine.submit(self.name, stream.job)
        return stream

    def _prompt_request(
        self, request: GenerationRequest, prompt: tuple[int, ...], seed: int, number: int
    ) -> PromptRequest:
        """The `number`-th prompt of the request, with a seed for each of its answers."""
        room = self.context - len(prompt)
        if room < 1:
            raise APIError(
                f"the prompt has {len(prompt)} tokens; this server's context holds {self.context}",
                param="messages" if request.messages else "prompt",
                code="context_length_exceeded",
            )
        return PromptRequest(
            prompt,
            seeds=tuple(_answer_seed(seed, number, k) for k in range(request.best_of)),
            n=request.n,
            max_tokens=min(request.max_tokens or self.max_tokens, room, self.max_tokens),
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            stop=request.stop,
            top_logprobs=request.top_logprobs,
            continues_text=not request.messages,
        )

    def _tokenize(self, request: GenerationRequest) -> list[tuple[int, ...]]:
        if request.messages:
            return [self._encode_chat(request.messages)]
        prompts = []
        for prompt in request.prompts:
            if isinstance(prompt, str):
                ids = tuple(self.tokenizer(prompt).input_ids)
            else:
                ids = prompt
                if any(token >= len(self.tokenizer) for token in ids):
                    raise APIError(f"prompt: token ids go up to {len(self.tokenizer) - 1}", param="prompt")
            if not ids:
                raise APIError("the prompt is empty", param="prompt")
            prompts.append(ids)
        return prompts

    def _encode_chat(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        for number, message in enumerate(messages):
            self._refuse_control_tokens(message.content, f"messages.{number}.content")
        try:
            return encode_chat(self.tokenizer, messages)
        except UserError as error:
            raise APIError(str(error), param="messages") from error

    def _refuse_control_tokens(self, text: str, where: str) -> None:
        """A control token spelled out in a message would be read as one, and could pass text off as another
        speaker's."""
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
        return batch.running, batch.waiting


def _answer_seed(seed: int, prompt: int, answer: int) -> int:
    """A seed for each answer of a request, from the request's."""
    return int.from_bytes(
        hashlib.blake2b(f"{seed} {prompt} {answer}".encode(), digest_size=8).digest(), "big"
    )


@dataclass(frozen=True)
class Limits:
    """How much at once, how much may wait, how long. `slots`: answers at once for each policy; `queue`:
    prompts that wait; `context` and `max_tokens`: tokens of prompt and answer together, and of an answer;
    `seconds`: of a request."""

    slots: int
    queue: int
    context: int
    max_tokens: int
    seconds: float


@dataclass(frozen=True)
class RuleChoice:
    """That rules have a say in which answer is sent: the rule model's folder, the rules, and how their
    probabilities become one factor."""

    folder: Path
    rules: tuple[Rule, ...]
    reduction: RuleReduction


def load(
    policies: Mapping[str, Path],
    answerers: Sequence[Answerer],
    reward: Path | None,
    limits: Limits,
    rule_choice: RuleChoice | None = None,
) -> tuple[dict[str, LocalModel], Engine]:
    """One engine with a batch for each policy. Raises UserError for folders that hold none, and for a reward
    model on another trunk."""
    shared: Trunk | None = None
    batches, contexts = {}, {}
    for name, folder in policies.items():
        fingerprint = str(checkpoints.model_info(folder).get("fingerprint"))
        same_trunk = shared is not None and fingerprint == shared.fingerprint
        policy = checkpoints.load_policy(folder, shared=shared if same_trunk else None)
        shared = shared or policy.trunk
        tokenizer = checkpoints.tokenizer(folder)
        eos = checkpoints.eos_ids(folder, tokenizer)
        scorer = None if reward is None else _load_scorer(reward, folder, policy.trunk)
        judge = None if rule_choice is None else _load_judge(rule_choice, policy.trunk)
        batches[name] = ContinuousBatch(policy.freeze(), tokenizer, eos, limits.slots, scorer, judge)
        contexts[name] = min(limits.context, checkpoints.context_length(folder))
    engine = Engine(batches, limits.queue)
    models = {
        name: LocalModel(
            name, answerer, engine, batch.tokenizer, contexts[name], limits.max_tokens, limits.seconds
        )
        for (name, batch), answerer in zip(batches.items(), answerers, strict=True)
    }
    return models, engine


def _load_judge(choice: RuleChoice, trunk: Trunk) -> RuleJudge:
    """The rule model on the policy's trunk. Raises UserError for one on another trunk, and for a rule whose
    question does not fit its context."""
    model = checkpoints.load_rule_model(choice.folder, trunk).freeze()
    longest = max(choice.rules, key=lambda rule: len(model.question_ids(rule)))
    # Of a dialogue that is too long its end is judged: nobody is refused an answer for a rule's sake.
    room = model.context_length - len(model.question_ids(longest))
    if room < MIN_JUDGED_TOKENS:
        raise UserError(
            f"[serve.api] rules: {longest.id} leaves {room} tokens of the context for a dialogue; must be at least "
            f"{MIN_JUDGED_TOKENS}; shorten its text and question"
        )
    model.max_tokens = min(model.max_tokens or room, room)
    return RuleJudge(model, choice.rules, choice.reduction)


def _load_scorer(reward: Path, folder: Path, trunk: Trunk) -> Scorer:
    """The reward model, on the trunk of the policy in `folder`."""
    if checkpoints.model_info(reward).get("fingerprint") != trunk.fingerprint:
        raise UserError(
            f"{reward}: stands on another trunk than {folder}; both must come from one [learn.start]"
        )
    return checkpoints.load_scorer(reward, shared=trunk).freeze()
