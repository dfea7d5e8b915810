"""Keeping what people ask: nothing without their consent. With it each answer becomes a turn in the run's
folder `turns`, and is on disk before the client hears that it is kept.

Consent is looked at where the line is written, within the log's lock; who takes it back, or deletes, holds the
same lock. So nothing is kept that was asked before, however long its answer takes.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from starlette.concurrency import run_in_threadpool

from biddable.run import turn_log
from biddable.run.records import Answer, Feedback, Message, Policy, Sampling, Turn
from biddable.serve.openai.bodies import APIError
from biddable.store.consents import Consents

API_CONSENT = (
    "The program that sent this request set `store` to true: its user agreed that the request, the answer "
    "and the settings "
    "are kept and may be used to train and measure models."
)
Via = Literal["chat", "api"]


@dataclass(frozen=True)
class Requester:
    """Whose request it is: the pseudonym that records carry, and the answer by which they agreed to have it
    kept, if they did."""

    user: str
    agreement: str | None
    via: Via


@dataclass(frozen=True)
class TurnRecorder:
    """Writes turns and feedback into `folder`, for users who agreed on the chat page (`chat`) or through a
    program (`api`). Without `secret` nobody can work out a pseudonym from what a program calls its users, or
    make a handle for another's turn."""

    folder: Path
    secret: bytes
    chat: Consents
    api: Consents

    def consents(self, via: Via) -> Consents:
        """The answers to the question that is asked there."""
        return self.chat if via == "chat" else self.api

    def pseudonym(self, *words: str) -> str:
        """A name for whoever these words stand for: always the same for the same words."""
        return f"user-{self._sign('user', *words)[:16]}"

    def _sign(self, *words: str) -> str:
        text = "\x1f".join(words)  # a separator that no word holds: ("ab", "c") and ("a", "bc") differ
        return hmac.new(self.secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def handle(self, turn: str, user: str) -> str:
        """What a browser gets to refer to one of its turns. Nobody else can make one, so nobody can rate
        another user's turn."""
        return f"{turn}.{self._sign('turn', turn, user)[:32]}"

    def turn_of(self, handle: str, user: str) -> str | None:
        """The turn of a handle; None when it is not this user's."""
        turn = handle.rpartition(".")[0]
        expected = self.handle(turn, user).encode("utf-8", "surrogatepass")
        return turn if hmac.compare_digest(handle.encode("utf-8", "surrogatepass"), expected) else None

    async def record_turn(
        self,
        requester: Requester,
        turn: str,
        conversation: str,
        messages: Sequence[Message],
        answer: Answer,
        policy: Policy,
        sampling: Sampling,
    ) -> bool:
        """Keep an answer if its user agreed and has not taken that back since, and if it answers a user: the
        dialogue ends with a user's message. True: it is on disk."""
        if requester.agreement is None or not messages or messages[-1].role != "user":
            return False
        consents = self.consents(requester.via)
        row = Turn(
            id=turn,
            conversation=conversation,
            user=requester.user,
            time=timestamp(),
            messages=tuple(messages),
            answer=answer,
            policy=policy,
            sampling=sampling,
            consent=consents.version,
            via=requester.via,
        )

        def write() -> bool:
            with turn_log.locked(self.folder) as log:
                if consents.agreement(requester.user) != requester.agreement:
                    return False
                log.append(row)
            return True

        return await run_in_threadpool(write)

    async def record_feedback(self, feedback: Feedback) -> None:
        """Keep what a user of the chat thinks of kept turns; on disk when this returns. Raises APIError when
        they have taken their consent back (409), and when a turn was deleted (404)."""

        def write() -> None:
            with turn_log.locked(self.folder) as log:
                if self.chat.agreement(feedback.user) is None:
                    raise APIError(
                        "you have not agreed that what you write is kept, so this was not kept either",
                        409,
                        code="not_agreed",
                    )
                if not log.holds([feedback.turn, *feedback.preferred_over, *feedback.same_as]):
                    raise APIError(
                        "this answer was deleted, so nothing more about it is kept", 404, param="turn"
                    )
                log.append(feedback)

        await run_in_threadpool(write)

    async def agree(self, user: str, via: Via) -> str:
        """From now on a user's answers are kept. Returns the answer by which they agreed."""
        consents = self.consents(via)
        return await run_in_threadpool(lambda: consents.agreement(user) or consents.add(user, True))

    async def withdraw(self, user: str, via: Via) -> None:
        """From now on nothing of a user is kept, nor answers that are under way."""
        await run_in_threadpool(self._withdraw, user, via)

    def _withdraw(self, user: str, via: Via) -> None:
        with turn_log.locked(self.folder):
            # a program may name users of whom nothing was ever kept: they leave no row
            if via == "chat" or self.chat.agreement(user) or self.api.agreement(user):
                self.consents(via).add(user, False)

    async def forget(self, user: str, via: Via) -> tuple[int, int]:
        """Delete everything of a user, and keep nothing of what they asked before. Returns how many turns and
        how many rows of feedback there were."""

        def delete() -> tuple[int, int]:
            self._withdraw(user, via)
            return turn_log.forget(self.folder, user)

        return await run_in_threadpool(delete)


def timestamp() -> str:
    """The present time as records write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def new_id(kind: str) -> str:
    """An id that nobody can guess."""
    return f"{kind}-{secrets.token_hex(12)}"
