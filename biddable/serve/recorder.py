"""Keeping what people ask: nothing without their consent. With it each answer becomes a turn in the run's
folder `turns`, and is on disk before the client hears that it is kept."""

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

API_CONSENT = (
    "The program that sent this request set `store` to true: its user agreed that the request, the answer "
    "and the settings "
    "are kept and may be used to train and measure models."
)


@dataclass(frozen=True)
class Requester:
    """Whose request it is: the pseudonym that records carry, and the version of the consent text that they
    agreed to, if they did."""

    user: str
    consent: str | None
    via: Literal["chat", "api"]


@dataclass(frozen=True)
class TurnRecorder:
    """Writes turns and feedback into `folder`. Without `secret` nobody can work out a pseudonym from what a
    program calls its users, or make a handle for another's turn."""

    folder: Path
    secret: bytes

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
        """Keep an answer if its user agreed, and if it answers a user: the dialogue ends with a user's
        message. True: it is on disk."""
        if requester.consent is None or not messages or messages[-1].role != "user":
            return False
        row = Turn(
            id=turn,
            conversation=conversation,
            user=requester.user,
            time=timestamp(),
            messages=tuple(messages),
            answer=answer,
            policy=policy,
            sampling=sampling,
            consent=requester.consent,
            via=requester.via,
        )
        await run_in_threadpool(turn_log.append, self.folder, row)
        return True

    async def record_feedback(self, *rows: Feedback) -> None:
        """Keep what a user thinks of kept turns; on disk when this returns."""
        await run_in_threadpool(turn_log.append, self.folder, *rows)

    async def forget(self, user: str) -> tuple[int, int]:
        """Delete everything of a user. Returns how many turns and how many rows of feedback there were."""
        return await run_in_threadpool(turn_log.forget, self.folder, user)


def timestamp() -> str:
    """The present time as records write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def new_id(kind: str) -> str:
    """An id that nobody can guess."""
    return f"{kind}-{secrets.token_hex(12)}"


def consent_version(text: str) -> str:
    """The name of a consent text in records: its hash."""
    return f"consent-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
