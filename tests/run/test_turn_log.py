"""A folder of turns: nothing acknowledged is lost, half lines go, a forgotten user is gone."""

from __future__ import annotations

import fcntl
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from biddable.run import turn_log
from biddable.run.config import UserError
from biddable.run.records import Answer, Feedback, Message, Policy, Sampling, Turn


def turn(name: str, user: str = "jade-newt") -> Turn:
    return Turn(
        id=name,
        conversation="k",
        user=user,
        time="2026-11-21T10:15:00Z",
        messages=(Message(role="user", content="Name a fruit.\u2028"),),
        answer=Answer(text="An apple.", model="learn.ppo"),
        policy=Policy(folder="runs/demo/learn.ppo", content="9f86"),
        sampling=Sampling(max_tokens=8),
        consent="consent-1",
    )


def said(name: str, of: str, user: str = "jade-newt") -> Feedback:
    return Feedback(id=name, turn=of, user=user, time="2026-11-21T10:16:00Z", thumbs="up")


def test_what_is_appended_is_read_in_order(tmp_path: Path) -> None:
    turn_log.append(tmp_path / "turns", turn("a"), said("f", "a"), turn("b"))
    turn_log.append(tmp_path / "turns", turn("c"))
    assert turn_log.read(tmp_path / "turns") == ([turn("a"), turn("b"), turn("c")], [said("f", "a")])
    assert turn_log.read(tmp_path / "none") == ([], [])


def test_half_a_line_of_a_killed_writer_goes(tmp_path: Path) -> None:
    turn_log.append(tmp_path, turn("a"))
    with (tmp_path / turn_log.TURNS).open("ab") as file:
        file.write(b'{"id":"b","conv' * 10_000)
    turn_log.append(tmp_path, turn("c"))
    assert [row.id for row in turn_log.read(tmp_path)[0]] == ["a", "c"]
    (tmp_path / turn_log.TURNS).write_bytes(b"no newline at all")
    assert turn_log.read(tmp_path) == ([], [])


def test_a_forgotten_user_is_gone_and_others_stay(tmp_path: Path) -> None:
    turn_log.append(tmp_path, turn("a"), turn("b", "red-fox"), said("f", "a"), said("g", "b", "red-fox"))
    assert turn_log.forget(tmp_path, "jade-newt") == (1, 1)
    assert turn_log.read(tmp_path) == ([turn("b", "red-fox")], [said("g", "b", "red-fox")])
    assert turn_log.forget(tmp_path, "jade-newt") == (0, 0)
    assert b"jade-newt" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def _writer(folder: Path, name: int) -> None:
    for number in range(50):
        turn_log.append(folder, turn(f"{name}-{number}", f"user-{name}"))


def test_several_processes_append_while_one_forgets(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_writer, args=(tmp_path, name)) for name in range(3)]
    for one in writers:
        one.start()
    turn_log.forget(tmp_path, "nobody")
    gone = 0
    while any(one.is_alive() for one in writers):
        gone += turn_log.forget(tmp_path, "user-0")[0]
    for one in writers:
        one.join()
    rows = turn_log.read(tmp_path)[0]
    for name in (1, 2):
        assert [row.id for row in rows if row.user == f"user-{name}"] == [
            f"{name}-{number}" for number in range(50)
        ]
    assert gone + sum(row.user == "user-0" for row in rows) == 50


def test_lines_that_are_no_turns_are_refused(tmp_path: Path) -> None:
    turn_log.append(tmp_path, turn("a"))
    with (tmp_path / turn_log.TURNS).open("a") as file:
        file.write('{"id":"x"}\n')
    with pytest.raises(UserError, match=r"turns\.jsonl:2"):
        turn_log.read(tmp_path)


def _is_free(folder: Path) -> bool:
    """Whether somebody else could append now."""
    with (folder / ".turns.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_others_append_while_a_deletion_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is held only for what was appended meanwhile, and that is not lost."""
    turn_log.append(tmp_path, *(turn(f"a{n}", "jade-newt" if n % 2 else "red-fox") for n in range(100)))
    copy, free = turn_log._copy_others, []

    def watched(path: Path, begin: int, end: int, *rest: Any) -> int:
        free.append(_is_free(tmp_path))
        removed = copy(path, begin, end, *rest)
        if free[-1]:
            with path.open("ab") as file:
                file.write(b'{"id":"half a line of a killed writer')
            turn_log.append(tmp_path, turn("late", "red-fox"), turn("late and theirs"))
        return removed

    monkeypatch.setattr(turn_log, "_copy_others", watched)
    assert turn_log.forget(tmp_path, "jade-newt") == (51, 0)
    assert free == [True, False]
    rows = turn_log.read(tmp_path)[0]
    assert [row.id for row in rows] == [f"a{n}" for n in range(0, 100, 2)] + ["late"]
    assert sorted(path.name for path in tmp_path.glob("*")) == [".forget.lock", ".turns.lock", "turns.jsonl"]


def test_a_turn_is_known_by_its_id_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also across the blocks in which the file is searched, and never because of what somebody wrote."""
    hostile = turn("x").model_copy(update={"messages": (Message(role="user", content='{"id":"y",'),)})
    turn_log.append(tmp_path, hostile, *(turn(f"t{n}") for n in range(500)))
    size = (tmp_path / turn_log.TURNS).stat().st_size
    for block in (64, 1000, size - 1, size, size + 1):
        monkeypatch.setattr(turn_log, "BLOCK", block)
        with turn_log.locked(tmp_path) as log:
            assert all(log.holds([f"t{n}"]) for n in (0, 1, 250, 499))
            assert log.holds(["x", "t7"]) and log.holds([])
            assert not log.holds(["y"]) and not log.holds(["x", "t500"]) and not log.holds([""])
    with turn_log.locked(tmp_path / "empty") as log:
        assert not log.holds(["x"])
