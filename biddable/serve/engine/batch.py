"""Continuous batching for clients: one policy's sampler, and what only a server adds to it: clients that go
away, deadlines, stop strings, text in pieces, and the best of n answers chosen by a reward model.

Legend: P prompt tokens, T answer tokens, d hidden size.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from biddable.model.detokenizer import Detokenizer
from biddable.model.rerank import RuleJudge
from biddable.model.sampler import Draw, Generation, Request, SampledAnswer, Sampler
from biddable.model.token_bytes import Vocabulary, show_token
from biddable.model.trunk import Policy, Scorer
from biddable.run.records import Finish
from biddable.serve.engine import best_of_n
from biddable.serve.engine.requests import Alternative, DeadlineExceeded, Job, Piece, PromptRequest, Token

SMOOTHING = 0.1
"""Weight of the newest answer in the average time that an answer takes."""


@dataclass(eq=False)
class _Prompt:
    """One prompt under way, with those of its answers that are complete: best of n waits for all of them."""

    job: Job
    request: PromptRequest
    offset: int  # its first answer's number in the job
    complete: dict[int, tuple[SampledAnswer, list[Piece]]] = field(default_factory=dict)


@dataclass(eq=False)
class _Answer:
    """One answer to a prompt: what the sampler makes of it, and its text so far."""

    prompt: _Prompt
    number: int
    generation: Generation
    detokenizer: Detokenizer
    pending: list[Token] = field(default_factory=list)  # drawn, but their text is still held back
    characters: int = 0  # of its text, as far as it was handed out
    pieces: list[Piece] = field(default_factory=list)  # held back until the best of n are chosen
    started: float | None = None  # when it got a row, by the monotonic clock


class ContinuousBatch:
    """One policy and the answers it has under way. Used by the inference thread alone."""

    def __init__(
        self,
        policy: Policy,
        tokenizer: Any,
        eos: frozenset[int],
        slots: int,
        scorer: Scorer | None = None,
        rule_judge: RuleJudge | None = None,
    ) -> None:
        self.policy, self.tokenizer, self.scorer, self.rule_judge = policy, tokenizer, scorer, rule_judge
        self.vocabulary = Vocabulary(tokenizer)
        self.sampler = Sampler(policy, eos, slots)
        self.tokens = 0
        """Tokens drawn since the start."""
        self.seconds_per_answer = 1.0
        """How long an answer took lately, a running average."""
        self.running = 0
        """Answers that have a row of the cache. This number and the next are for other threads to read."""
        self.waiting = 0
        """Prompts of which an answer waits for a row."""
        self._answers: dict[Generation, _Answer] = {}

    def add(self, job: Job, request: PromptRequest, offset: int) -> None:
        """Queue all answers to one prompt; they are numbered in the job from `offset`."""
        prompt = _Prompt(job, request, offset)
        for number, seed in enumerate(request.seeds):
            generation = self.sampler.add(
                Request(
                    request.prompt,
                    seed,
                    request.max_tokens,
                    request.temperature,
                    request.top_p,
                    top_k=request.top_k,
                ),
                keep_trunk=request.scored,
                top_logprobs=request.top_logprobs or 0,
            )
            # Behind a word of the prompt, a SentencePiece token has its blank; behind a control token none.
            at_start = not (request.continues_text and self.vocabulary.spell(request.prompt[-1]).later)
            detokenizer = Detokenizer(self.vocabulary, request.stop, at_start)
            self._answers[generation] = _Answer(prompt, number, generation, detokenizer)
        self._count()

    @property
    def busy(self) -> bool:
        return self.sampler.busy

    @property
    def jobs(self) -> list[Job]:
        """Whose answers these are, each job once."""
        return list({id(answer.prompt.job): answer.prompt.job for answer in self._answers.values()}.values())

    def step(self) -> None:
        """Let in who waits while rows are free, then draw one token for everybody."""
        self._drop_cancelled_and_late()
        self._advance(self.sampler.admit())
        self._advance(self.sampler.step())

    def _count(self) -> None:
        self.waiting = len({self._answers[generation].prompt for generation in self.sampler.waiting})
        self.running = len(self.sampler.live)

    def _drop_cancelled_and_late(self) -> None:
        """Free the rows of clients that have gone, end the answers whose time is over, and refuse those
        prompts that are still waiting then."""
        now = time.monotonic()
        for answer in self._answers.values():
            job = answer.prompt.job
            if answer.generation.row is None and job.deadline < now and not job.cancelled:
                job.cancel()
                job.listener(DeadlineExceeded("no place became free in time"))
        for answer in list(self._answers.values()):
            job, generation = answer.prompt.job, answer.generation
            if job.cancelled:
                self.sampler.cancel(generation)
                del self._answers[generation]
            elif job.deadline < now and generation.finish is None:
                self.sampler.finish(generation, "length")
                self._hand_out(answer, answer.detokenizer.end(), "length")
        self._settle()

    def _advance(self, draws: Sequence[Draw]) -> None:
        """Turn drawn tokens into text, and end the answers that a stop string ends."""
        self.tokens += len(draws)
        self._count()  # before clients hear of it: who has its last piece sees its row free
        for draw in draws:
            generation = draw.generation
            answer = self._answers[generation]
            answer.started = answer.started or time.monotonic()
            finish, text = generation.finish, self._add(answer, draw)
            if answer.detokenizer.stopped:
                if finish is None:
                    self.sampler.finish(generation, "stop")
                finish = "stop"  # also where the stop string came with the last token allowed
            if finish is not None:
                text += answer.detokenizer.end()
            self._hand_out(answer, text, finish)
        self._settle()

    def _add(self, answer: _Answer, draw: Draw) -> str:
        """Take a drawn token into its answer; the text that it makes certain."""
        detokenizer = answer.detokenizer
        at_start, text = detokenizer.at_start, ""
        if draw.token in self.sampler.eos:
            detokenizer.skip()
        else:
            text = detokenizer.add(draw.token)
        token = Token(draw.token, draw.logp, offset=detokenizer.offset)
        if answer.prompt.request.top_logprobs is not None:
            top = tuple(Alternative(id, logp, *self._show(id, at_start)) for id, logp in draw.top)
            name, data = self._show(draw.token, at_start)
            token = token._replace(text=name, utf8=data, top=top)
        answer.pending.append(token)
        return text

    def _show(self, token: int, at_start: bool) -> tuple[str, bytes | None]:
        """A token's text as the protocol writes it, and its bytes; none for one that adds nothing to a
        text."""
        data = self.vocabulary.spell(token)
        if not data.later or token in self.sampler.eos:
            return self.vocabulary.name(token), None
        chosen = data.first if at_start else data.later
        return show_token(chosen), chosen

    def _hand_out(self, answer: _Answer, text: str, finish: Finish | None) -> None:
        """Send what is new of an answer, or hold it back until the best are chosen."""
        if not text and finish is None:
            return
        prompt = answer.prompt
        answer.characters += len(text)
        if finish is None:  # a token comes with the first character of its text
            tokens = [token for token in answer.pending if token.offset < answer.characters]
        else:
            tokens = _mark_cut(answer)
        answer.pending = answer.pending[len(tokens) :]
        piece = Piece(prompt.offset + answer.number, text, tuple(tokens), finish)
        if prompt.request.scored:
            answer.pieces.append(piece)
        else:
            prompt.job.send([piece])

    def _settle(self) -> None:
        """Take complete answers out; the last one of a prompt that is to be scored brings the choice."""
        for generation in self.sampler.take_completed():
            answer = self._answers.pop(generation)
            seconds = time.monotonic() - (answer.started or time.monotonic())
            self.seconds_per_answer += SMOOTHING * (seconds - self.seconds_per_answer)
            prompt = answer.prompt
            if prompt.request.scored and not prompt.job.cancelled:
                prompt.complete[answer.number] = (generation.answer(), answer.pieces)
                if len(prompt.complete) == len(prompt.request.seeds):
                    self._send_best(prompt)

    def _send_best(self, prompt: _Prompt) -> None:
        """Score all answers to a prompt in one forward, from the trunk outputs kept while sampling; send the
        best."""
        assert self.scorer is not None
        answers, pieces = zip(*(prompt.complete[number] for number in sorted(prompt.complete)), strict=True)
        length = len(prompt.request.prompt)
        hidden = None
        if answers[0].hidden is not None:
            hidden = (answers[0].hidden[:length], *(answer.hidden[length:] for answer in answers))
        tokens = [answer.tokens for answer in answers]
        scores = ranking = best_of_n.scores(self.scorer, prompt.request.prompt, tokens, hidden)
        near: list[tuple[best_of_n.NearRule, ...]] | None = None
        if self.rule_judge is not None:
            totals, p_break = self.rule_judge.rank(prompt.request.prompt, tokens, torch.tensor(scores))
            ranking, near = totals.tolist(), best_of_n.near_rules(p_break, self.rule_judge.rules)
        for place, index in enumerate(best_of_n.best(ranking, prompt.request.n)):
            numbered = [piece._replace(answer=prompt.offset + place) for piece in pieces[index]]
            numbered[-1] = numbered[-1]._replace(
                score=scores[index], near_rules=near[index] if near is not None else None
            )
            prompt.job.send(numbered)


def _mark_cut(answer: _Answer) -> list[Token]:
    """The last tokens of an answer. Those that begin behind the text's end are the stop string's."""
    if not answer.detokenizer.stopped:
        return answer.pending
    return [token._replace(cut=token.offset >= answer.characters) for token in answer.pending]
