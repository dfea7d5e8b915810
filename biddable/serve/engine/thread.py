"""The engine: answers for many clients at once from one inference thread, in which everything happens that touches tensors. Clients hand in `Order`s
and get `Piece`s through a callback; the decks, one a policy, take turns.
"""

from __future__ import annotations

import threading

import torch

from biddable.serve.engine.batch import Deck
from biddable.serve.engine.requests import Closed, Full, Job


class Engine:
    """Decks and the thread that works on them. `most` orders may wait; more are refused with `Full`."""

    def __init__(self, decks: dict[str, Deck], most: int = 64) -> None:
        self.decks, self.most = decks, most
        self.failed: BaseException | None = None
        self._lock = threading.Condition()
        self._new: list[tuple[str, Job]] = []
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    def submit(self, deck: str, job: Job) -> None:
        """Queue a job. Raises Full or Closed."""
        with self._lock:
            if self._closing or self.failed:
                raise Closed("the engine has stopped")
            if self.waiting() and self.waiting() + len(job.orders) > self.most:
                held = self.decks[deck]
                raise Full(min(60.0, max(1.0, held.pace * self.waiting() / held.seats)))
            self._new.append((deck, job))
            self._lock.notify()

    def waiting(self) -> int:
        """Orders without a seat."""
        return sum(len(deck.waiting) for deck in list(self.decks.values())) + sum(
            len(j.orders) for _, j in self._new
        )

    def busy(self) -> int:
        """Seats taken."""
        return sum(len(deck.live) for deck in self.decks.values())

    def tokens(self) -> int:
        """Tokens drawn since the start."""
        return sum(deck.tokens for deck in self.decks.values())

    def close(self) -> None:
        """Stop the thread after the step it is in; whoever is still here is told `Closed`."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        self._thread.join()

    def _work(self) -> None:
        try:
            with torch.no_grad():
                while self._next():
                    for deck in self.decks.values():
                        if deck.busy:
                            deck.round()
            self._drop(Closed("the server is shutting down"))
        except BaseException as error:
            self.failed = error
            self._drop(Closed("the engine has failed"))
            raise

    def _next(self) -> bool:
        """Take in what was submitted; wait for it when there is nothing else to do. False when it is time to stop."""
        with self._lock:
            while not self._new and not self._closing and not any(deck.busy for deck in self.decks.values()):
                self._lock.wait()
            for name, job in self._new:
                offset = 0
                for order in job.orders:
                    self.decks[name].add(job, order, offset)
                    offset += order.wanted
            self._new = []
            return not self._closing

    def _drop(self, why: Exception) -> None:
        jobs = {id(job): job for _, job in self._new}
        for deck in self.decks.values():
            groups = [*deck.waiting, *(one.group for one in deck.live)]
            jobs |= {id(group.job): group.job for group in groups}
        for job in jobs.values():
            if not job.cancelled and job.left:
                job.tell(why)
