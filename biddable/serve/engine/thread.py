"""The engine: answers for many clients at once from one inference thread, in which everything happens that touches tensors. Clients hand in `PromptRequest`s
and get `Piece`s through a callback; the batches, one a policy, take turns.
"""

from __future__ import annotations

import threading

import torch

from biddable.serve.engine.batch import ContinuousBatch
from biddable.serve.engine.requests import EngineClosed, Job, QueueFull


class Engine:
    """Batches and the thread that works on them. `most` orders may wait; more are refused with `QueueFull`."""

    def __init__(self, batches: dict[str, ContinuousBatch], most: int = 64) -> None:
        self.batches, self.most = batches, most
        self.failed: BaseException | None = None
        self._lock = threading.Condition()
        self._new: list[tuple[str, Job]] = []
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    def submit(self, batch: str, job: Job) -> None:
        """Queue a job. Raises QueueFull or EngineClosed."""
        with self._lock:
            if self._closing or self.failed:
                raise EngineClosed("the engine has stopped")
            if self.waiting() and self.waiting() + len(job.orders) > self.most:
                held = self.batches[batch]
                raise QueueFull(min(60.0, max(1.0, held.pace * self.waiting() / held.seats)))
            self._new.append((batch, job))
            self._lock.notify()

    def waiting(self) -> int:
        """Orders without a seat."""
        return sum(len(batch.waiting) for batch in list(self.batches.values())) + sum(
            len(j.orders) for _, j in self._new
        )

    def busy(self) -> int:
        """Seats taken."""
        return sum(len(batch.live) for batch in self.batches.values())

    def tokens(self) -> int:
        """Tokens drawn since the start."""
        return sum(batch.tokens for batch in self.batches.values())

    def close(self) -> None:
        """Stop the thread after the step it is in; whoever is still here is told `EngineClosed`."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        self._thread.join()

    def _work(self) -> None:
        try:
            with torch.no_grad():
                while self._next():
                    for batch in self.batches.values():
                        if batch.busy:
                            batch.round()
            self._drop(EngineClosed("the server is shutting down"))
        except BaseException as error:
            self.failed = error
            self._drop(EngineClosed("the engine has failed"))
            raise

    def _next(self) -> bool:
        """Take in what was submitted; wait for it when there is nothing else to do. False when it is time to stop."""
        with self._lock:
            while (
                not self._new and not self._closing and not any(batch.busy for batch in self.batches.values())
            ):
                self._lock.wait()
            for name, job in self._new:
                offset = 0
                for order in job.orders:
                    self.batches[name].add(job, order, offset)
                    offset += order.wanted
            self._new = []
            return not self._closing

    def _drop(self, why: Exception) -> None:
        jobs = {id(job): job for _, job in self._new}
        for batch in self.batches.values():
            groups = [*batch.waiting, *(one.group for one in batch.live)]
            jobs |= {id(group.job): group.job for group in groups}
        for job in jobs.values():
            if not job.cancelled and job.left:
                job.tell(why)
