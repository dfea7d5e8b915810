"""The labeling site under load, through its web server: `web` and `web-kill` of label_load.py.

The server is what a user starts: `biddable label.site my.toml`. People are asyncio clients in this process:
logged in before the clock starts, each takes a page, reads for a while (`--think`, exponential), lets its
draft be kept as the page's script does, answers, and gets the next page. They share the machine's cores with
the server. Times are the client's own: from the request's first byte to the answer's last.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import random
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from label_load import SET, database, shown
from label_people import prepared

from biddable.store.store import Store, open_store

COMMENT = "z" * 500
"""Something in every answer that a torn write would spoil."""


class Load(NamedTuple):
    """How the people work."""

    think: float  # mean seconds from page to answer
    drafts: int  # kept meanwhile
    until: float  # of time.monotonic()


class Told(NamedTuple):
    """What the clients have seen."""

    times: dict[str, list[float]]  # by kind of request, seconds
    given: dict[tuple[str, str], dict[str, Any]]  # (task, person): an acknowledged answer
    sent: dict[tuple[str, str], dict[str, Any]]  # the same, of every answer that was sent
    wrong: collections.Counter[str]


class Site:
    """`biddable label.site` in a process group of its own."""

    def __init__(self, folder: Path, where: str, processes: int, lease_minutes: float) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = int(one.getsockname()[1])
        values = {"store": where, "port": self.port, "processes": processes, "lease_minutes": lease_minutes}
        self.toml, self.log = folder / "site.toml", folder / "site.log"
        lines = [
            f'runs = "{folder}"',
            "[label.site]",
            *(f"{key} = {json.dumps(value)}" for key, value in values.items()),
        ]
        self.toml.write_text("\n".join(lines), encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start, and wait until it answers; returns the seconds."""
        began = time.monotonic()
        command = [sys.executable, "-m", "biddable.cli", "label.site", str(self.toml)]
        self.process = subprocess.Popen(
            command, stdout=self.log.open("a"), stderr=subprocess.STDOUT, start_new_session=True
        )
        while time.monotonic() < began + 60:
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as one:
                one.settimeout(20)
                one.sendall(b"GET /login HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
                if one.recv(100).startswith(b"HTTP/1.1 200"):
                    return time.monotonic() - began
            time.sleep(0.02)
        raise AssertionError("the site does not answer")

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Stop the server with all its processes."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, how)
            self.process.wait(60)
            self.process = None

    def seconds_used(self) -> float:
        """Processor time of all its processes."""
        assert self.process is not None
        used = 0.0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text().rsplit(")", 1)[1].split()
                if int(fields[2]) == self.process.pid:  # the process group
                    used += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return used


class Browser:
    """One person's browser: a connection kept while the server keeps it, and a cookie."""

    def __init__(self, port: int, cookie: str) -> None:
        self.port, self.cookie = port, cookie
        self.to: asyncio.StreamWriter | None = None

    async def ask(
        self, method: str, path: str, fields: dict[str, str] | None = None, accept: str = "text/html"
    ) -> tuple[int, str, str]:
        """(status, location, body) of a request. A kept connection that has ended meanwhile is opened again,
        as browsers do."""
        body = urlencode(fields).encode() if fields is not None else b""
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\ncookie: "
            f"biddable={self.cookie}\r\naccept: {accept}\r\n"
        )
        if fields is not None:
            head += f"content-type: application/x-www-form-urlencoded\r\ncontent-length: {len(body)}\r\n"
        for attempt in range(2):
            kept = self.to is not None
            try:
                if self.to is None:
                    self.of, self.to = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
                self.to.write(head.encode() + b"\r\n" + body)
                return await self._answer()
            except (OSError, asyncio.IncompleteReadError):
                self.close()
                if attempt or not kept:
                    raise
        raise AssertionError("not reached")

    async def _answer(self) -> tuple[int, str, str]:
        assert self.to is not None
        head = (await self.of.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = {
            name.lower(): value
            for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:])
        }
        text = (await self.of.readexactly(int(headers.get("content-length", 0)))).decode()
        if headers.get("connection") == "close":
            self.close()
        return int(head.split(" ", 2)[1]), headers.get("location", ""), text

    def close(self) -> None:
        if self.to is not None:
            self.to.close()
            self.to = None


async def slept(seconds: float, until: float) -> bool:
    """Wait, but not beyond the end of the measurement, where some would think for minutes still; whether
    there is time left."""
    await asyncio.sleep(max(0.0, min(seconds, until - time.monotonic())))
    return time.monotonic() < until


async def labour(browser: Browser, person: str, load: Load, told: Told) -> None:
    """One person: take a page, think, keep drafts, answer; the next page is where the answer sends the
    browser. Ends without a task."""
    chance = random.Random(f"{person} {load.until}")

    async def timed(kind: str, *request: Any) -> tuple[int, str, str]:
        began = time.perf_counter()
        found = await browser.ask(*request)
        told.times[kind].append(time.perf_counter() - began)
        return found

    _, _, text = await browser.ask("GET", "/")
    token = re.search(r'name="form-token" content="(\w+)"', text)
    assert token, "not logged in"
    _, where, _ = await timed("next", "POST", "/next", {"token": token[1], "set": SET})
    while time.monotonic() < load.until and where.startswith("/task"):
        status, _, text = await timed("page", "GET", where)
        found = [re.search(rf'name="{name}" value="([^"]*)"', text) for name in ("id", "guideline")]
        if status != 200 or not all(found):
            told.wrong[f"a page with status {status}"] += 1
            return
        task, version = (one[1] for one in found if one)
        ranks = [chance.randint(1, 4) for _ in range(4)]
        fields = {"token": token[1], "id": task, "guideline": version, "seconds": "5", "comment": COMMENT}
        fields |= {f"rank-{i}": str(rank) for i, rank in enumerate(ranks)} | {
            f"overall-{i}": str(8 - rank) for i, rank in enumerate(ranks)
        }
        pause = chance.expovariate(1 / load.think) / (load.drafts + 1)
        for _ in range(load.drafts):
            if not await slept(pause, load.until):
                return
            status, _, _ = await timed("draft", "POST", "/draft", fields, "application/json")
            told.wrong[f"a draft with status {status}"] += status != 200
        if not await slept(pause, load.until):
            return
        order = sorted(set(ranks))
        said = {
            "ranks": [order.index(rank) + 1 for rank in ranks],
            "overall": [8 - rank for rank in ranks],
            "comment": COMMENT,
        }
        told.sent[task, person] = said
        status, where, _ = await timed("answer", "POST", "/answer", fields | {"action": "send"})
        if status == 303:
            told.given[task, person] = said
        else:
            told.wrong[f"an answer with status {status}"] += 1
            return


def fresh() -> Told:
    return Told(collections.defaultdict(list), {}, {}, collections.Counter())


def wrong_in(store: Store, told: Told, overlap: int) -> list[str]:
    """What is not as it should be in the store: acknowledged answers that are missing or differ, answers that
    nobody sent, doubled or too many."""
    kept = store.labels(SET)
    by_pair = {(label.task, label.person.id): json.loads(label.answer)["answer"] for label in kept}
    by_task = collections.Counter(label.task for label in kept)
    found = [f"{n} times {what}" for what, n in told.wrong.items() if n]
    counts = {
        "lost": sum(pair not in by_pair for pair in told.given),
        "not as sent": sum(
            any(said.get(key) != value for key, value in told.sent.get(pair, {"sent": True}).items())
            for pair, said in by_pair.items()
        ),
        "doubled": len(kept) - len(by_pair),
        "over-assigned": sum(n > overlap for n in by_task.values()),
        "seats without their answer": abs(store.counts(SET).done - len(kept)),
    }
    return found + [f"{n} {what}" for what, n in counts.items() if n]


def many_files() -> None:
    """Let this process hold a connection for each person."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


async def crowd_of(port: int, cookies: tuple[str, ...], load: Load, told: Told) -> None:
    browsers = [Browser(port, cookie) for cookie in cookies]

    async def one(number: int) -> None:
        await asyncio.sleep(load.think * number / len(browsers))  # people do not come all in the same second
        await labour(browsers[number], f"p{number}", load, told)

    await asyncio.gather(*(one(number) for number in range(len(browsers))))
    for browser in browsers:
        browser.close()


def web(options: argparse.Namespace) -> int:
    """Many people at once."""
    many_files()
    told = fresh()
    with database(options.postgres) as where, tempfile.TemporaryDirectory() as folder:
        tasks = int(options.people * options.seconds / options.think / options.overlap * 1.2) + options.people
        cookies = prepared(where, options.people, tasks, options.overlap)
        site = Site(Path(folder), where, options.processes, 30.0)
        took = site.start()
        try:
            own, used = time.process_time(), site.seconds_used()
            asyncio.run(
                crowd_of(
                    site.port,
                    cookies,
                    Load(options.think, options.drafts, time.monotonic() + options.seconds),
                    told,
                )
            )
            own, used = time.process_time() - own, site.seconds_used() - used
        finally:
            site.stop()
        with open_store(where) as store:
            wrong = wrong_in(store, told, options.overlap)
    requests = sum(map(len, told.times.values()))
    print(
        f"web, {named(options)}, {options.people} people, {options.processes} web processes, "
        f"{options.seconds:.0f} s, thinking {options.think} s and "
        f"{options.drafts} drafts a task: {len(told.given)} answers, {requests / options.seconds:.0f} "
        f"requests a second; ready after {took:.2f} s"
    )
    for kind, times in told.times.items():
        print(f"  {kind:7} {len(times):6}  {shown(times)}")
    print(f"  {'all':7} {requests:6}  {shown([one for times in told.times.values() for one in times])}")
    print(
        f"  processor time: server {used:.0f} s ({1000 * used / requests:.1f} ms a request), clients "
        f"{own:.0f} s"
    )
    print(
        "  "
        f"{', '.join(wrong) or 'every acknowledged answer was stored as sent; none lost, doubled or over-assigned'}"
    )
    return len(wrong)


def named(options: argparse.Namespace) -> str:
    return "PostgreSQL" if options.postgres else "SQLite"


async def until_killed(site: Site, cookies: tuple[str, ...], wait: float, think: float, told: Told) -> None:
    """People at work until the server is killed, `wait` seconds after the first acknowledged answer."""

    async def one(number: int) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            browser = Browser(site.port, cookies[number])
            try:
                await labour(browser, f"p{number}", Load(think, 1, float("inf")), told)
            finally:
                browser.close()

    before = len(told.given)
    collection = [asyncio.create_task(one(number)) for number in range(len(cookies))]
    while len(told.given) == before and not all(one.done() for one in collection):
        await asyncio.sleep(0.005)
    await asyncio.sleep(wait)
    site.stop(signal.SIGKILL)
    await asyncio.gather(*collection)


def web_kill(options: argparse.Namespace) -> int:
    """The server killed with -9 again and again while people work."""
    chance, told, starts = random.Random(options.kills), fresh(), []
    count, overlap, lease_minutes = min(options.people, 20), 2, 0.05
    with database(options.postgres) as where, tempfile.TemporaryDirectory() as folder:
        cookies = prepared(where, count, 150 * options.kills + 100, overlap)
        site = Site(Path(folder), where, options.processes, lease_minutes)
        try:
            for _ in range(options.kills):
                starts.append(site.start())
                asyncio.run(until_killed(site, cookies, chance.uniform(0.0, 1.0), 0.2, told))
            time.sleep(60 * lease_minutes + 0.1)
            with open_store(where) as store:
                stuck = store.counts(SET).waiting
                wrong = wrong_in(store, told, overlap)
                kept = len(store.labels(SET))
            site.start()
            again = asyncio.run(served_again(site.port, cookies))
        finally:
            site.stop()
    print(
        f"web-kill, {named(options)}, {count} people, {options.processes} web processes: killed with -9 "
        f"{options.kills} times under load, up again after "
        f"{statistics.median(starts):.2f} s (median): {len(told.given)} acknowledged answers, {kept} in the "
        "store (more: killed before it could say so)"
    )
    print(
        "  "
        f"{', '.join(wrong) or 'every acknowledged answer was stored as sent; none half, doubled or over-assigned'}"
    )
    print(
        f"  {stuck} leases of the killed still run after their time; {again} of {count} people get a task "
        "again, still logged in"
    )
    return len(wrong) + stuck + (again < count)


async def served_again(port: int, cookies: tuple[str, ...]) -> int:
    """How many of the people get a task's page."""
    found = 0
    for cookie in cookies:
        browser = Browser(port, cookie)
        _, _, text = await browser.ask("GET", "/")
        token = re.search(r'name="form-token" content="(\w+)"', text)
        _, where, _ = await browser.ask("POST", "/next", {"token": token[1] if token else "", "set": SET})
        status, _, text = await browser.ask("GET", where or "/task?id=" + quote("none"))
        found += status == 200 and 'name="id"' in text
        browser.close()
    return found
