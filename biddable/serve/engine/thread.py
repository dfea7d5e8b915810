"""The engine: answers for many clients at once from one inference thread, in which everything happens that
touches tensors. Clients hand in `Job`s and get `Piece`s through a callback; the batches, one for each policy,
take turns.
"""

from __future__ import annotations

import threading

import torch

from biddable.serve.engine.batch import ContinuousBatch
from biddable.serve.engine.requests import EngineClosed, Job, QueueFull


class Engine:
    """Batches by their policy's name, and the thread that works on them. At most `max_waiting` prompts may
    wait; more are refused with `QueueFull`, except that a request of many prompts is let into an empty
    queue."""

    def __init__(self, batches: dict[str, ContinuousBatch], max_waiting: int = 64) -> None:
        self.batches, self.max_waiting = batches, max_waiting
        self.failed: BaseException | None = None
        self._lock = threading.Condition()
        self._submitted: list[tuple[str, Job]] = []
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    def submit(self, policy: str, job: Job) -> None:
        """Queue a job. Raises QueueFull or EngineClosed."""
        with self._lock:
            if self._closing or self.failed:
                raise EngineClosed("the engine has stopped")
            waiting = self.waiting()
            if waiting and waiting + len(job.requests) > self.max_waiting:
                batch = self.batches[policy]
                seconds = batch.seconds_per_answer * waiting / batch.sampler.slots
                raise QueueFull(min(60.0, max(1.0, seconds)))
            self._submitted.append((policy, job))
            self._lock.notify()

    def waiting(self) -> int:
        """Prompts that wait for a row."""
        submitted = sum(len(job.requests) for _, job in self._submitted)
        return submitted + sum(batch.waiting for batch in self.batches.values())

    def running(self) -> int:
        """Answers that have a row."""
        return sum(batch.running for batch in self.batches.values())

    def tokens(self) -> int:
        """Tokens drawn since the start."""
        return sum(batch.tokens for batch in self.batches.values())

    def close(self) -> None:
        """Stop the thread after the step it is in; whoever still waits for an answer gets `EngineClosed`."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        self._thread.join()

    def _work(self) -> None:
        try:
            with torch.no_grad():
                while self._take_submitted():
                    for batch in self.batches.values():
                        if batch.busy:
                            batch.step()
            self._send_to_all(EngineClosed("the server is shutting down"))
        except BaseException as error:
            self.failed = error
            self._send_to_all(EngineClosed("the engine has failed"))
            raise

    def _take_submitted(self) -> bool:
        """Put what was submitted into the batches; wait for it when there is nothing else to do. False when
        it is time to stop."""
        with self._lock:
            while (
                not self._submitted and not self._closing and not any(b.busy for b in self.batches.values())
            ):
                self._lock.wait()
            for policy, job in self._submitted:
                offset = 0
                for request in job.requests:
                    self.batches[policy].add(job, request, offset)
                    offset += request.n
            self._submitted = []
            return not self._closing

    def _send_to_all(self, error: Exception) -> None:
        """Tell every client who still expects something that nothing more comes."""
        jobs = {id(job): job for _, job in self._submitted}
        jobs |= {id(job): job for batch in self.batches.values() for job in batch.jobs}
        for job in jobs.values():
            if not job.cancelled and job.unfinished:
                job.listener(error)
