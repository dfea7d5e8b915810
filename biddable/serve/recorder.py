"""What is kept of what people ask: nothing without their consent; with it each answer is a turn in the run's folder of turns, on the disk before
the client hears that it is kept."""

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
    "The program that sent this request set `store` to true: its user agreed that the request, the answer and the settings "
    "are kept and may be used to train and measure models."
)


@dataclass(frozen=True)
class Requester:
    """Somebody who asked, by the pseudonym that records carry, and what they agreed to: the version of a text, or nothing."""

    user: str
    consent: str | None
    via: Literal["chat", "api"]


@dataclass(frozen=True)
class TurnRecorder:
    """Writes turns and feedback. `secret` makes pseudonyms that nobody can work out from what a program calls its users."""

    folder: Path
    secret: bytes

    def pseudonym(self, *words: str) -> str:
        """The same words, the same pseudonym."""
        return f"user-{self._mark('user', *words)[:16]}"

    def _mark(self, *words: str) -> str:
        return hmac.new(
            self.secret, "\x1f".join(words).encode("utf-8", "surrogatepass"), hashlib.sha256
        ).hexdigest()

    def handle(self, turn: str, user: str) -> str:
        """What a browser is given for one of its turns: nobody else can make one, so nobody can speak about another's turn."""
        return f"{turn}.{self._mark('turn', turn, user)[:32]}"

    def turn_of(self, handle: str, user: str) -> str | None:
        """The turn of a handle; None when it is not this user's."""
        turn = handle.rpartition(".")[0]
        given, right = (one.encode("utf-8", "surrogatepass") for one in (handle, self.handle(turn, user)))
        return turn if hmac.compare_digest(given, right) else None

    async def turn(
        self,
        asker: Requester,
        turn: str,
        conversation: str,
        messages: Sequence[Message],
        answer: Answer,
        policy: Policy,
        sampling: Sampling,
    ) -> bool:
        """Keep a turn if its user agreed and it is one (a dialogue that ends with the user's words). True: it is on the disk."""
        if asker.consent is None or not messages or messages[-1].role != "user":
            return False
        row = Turn(
            id=turn,
            conversation=conversation,
            user=asker.user,
            time=timestamp(),
            messages=tuple(messages),
            answer=answer,
            policy=policy,
            sampling=sampling,
            consent=asker.consent,
            via=asker.via,
        )
        await run_in_threadpool(turn_log.append, self.folder, row)
        return True

    async def feedback(self, *rows: Feedback) -> None:
        """Keep what a user said about kept turns; on the disk when this returns."""
        await run_in_threadpool(turn_log.append, self.folder, *rows)

    async def forget(self, user: str) -> tuple[int, int]:
        """Take out everything of a user: how many turns and how much feedback there was."""
        return await run_in_threadpool(turn_log.forget, self.folder, user)


def timestamp() -> str:
    """The moment, as records write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def new_id(kind: str) -> str:
    """An id that nobody can guess."""
    return f"{kind}-{secrets.token_hex(12)}"


def consent_version(text: str) -> str:
    """How a consent text is named in records: by its hash."""
    return f"consent-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
