"""Keys: shown once, kept as a hash, closed within seconds; buckets that fill evenly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from biddable.cli import keys
from biddable.run.config import UserError
from biddable.serve.rate_limit import RateLimiter
from biddable.serve.recorder import TurnRecorder
from biddable.store import api_keys as module
from biddable.store.api_keys import Keys
from biddable.store.consents import Consents
from biddable.store.store import open_store


def test_a_key_is_found_until_it_is_closed_and_kept_as_a_hash_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.0)
    with open_store(tmp_path / "store.db") as store:
        keys = Keys(store)
        token = keys.add("ada")
        found = keys.find(token)
        assert found is not None and found.name == "ada" and "ada" not in found.pseudonym
        assert keys.find(token[:-1]) is None and keys.find("") is None and keys.find("\ud800") is None
        with pytest.raises(UserError, match="ada has a key already"):
            keys.add("ada")
        keys.close("ada")
        assert keys.find(token) is None
        with pytest.raises(UserError, match="no open key"):
            keys.close("ada")
        assert keys.find(keys.add("ada")) is not None
        for wrong in ("", "a\nb", "x" * 81):
            with pytest.raises(UserError, match="visible characters"):
                keys.add(wrong)
    assert token.encode() not in (tmp_path / "store.db").read_bytes()


def test_the_store_is_read_every_few_seconds_however_many_knock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(tmp_path / "store.db") as store:
        keys = Keys(store)
        reads: list[int] = []
        whole = keys.all
        monkeypatch.setattr(keys, "all", lambda: reads.append(1) or whole())
        assert all(keys.find(f"guess {n}") is None for n in range(1000))
        assert len(reads) == 1


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text(f'runs = "{tmp_path}"\n[serve.api]\npolicies = ["{tmp_path}"]\naccess = "key"\n')

    store = tmp_path / "my" / "store.db"
    assert keys.command(store, []) == "no keys yet"
    command = [sys.executable, "-m", "biddable.cli", "serve.keys", str(file), "add", "ada"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    assert made.stdout.startswith("bid-") and "only time" in made.stdout
    assert keys.command(store, []).startswith("ada ") and "open" in keys.command(store, [])
    assert "closed the key" in keys.command(store, ["close", "ada"])
    with pytest.raises(UserError, match="Usage"):
        keys.command(store, ["drop", "ada"])


def test_a_bucket_fills_evenly() -> None:
    """6 a minute: six at once, then one every 10 seconds; after 25 seconds two and a half are back."""
    rates = RateLimiter(6)
    assert [rates.take("a", 0.0) for _ in range(6)] == [0] * 6
    assert rates.take("a", 0.0) == pytest.approx(10)
    assert rates.take("b", 0.0) == 0
    assert [rates.take("a", 25.0) for _ in range(3)] == pytest.approx([0, 0, 5])


def test_buckets_of_strangers_do_not_pile_up() -> None:
    rates = RateLimiter(6, max_callers=10)
    for n in range(1000):
        rates.take(str(n), 0.0)
    assert len(rates._buckets) == 10


def test_handles_are_their_users_alone(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db") as store:
        keeper = TurnRecorder(tmp_path, b"secret", Consents(store, "May we?"), Consents(store, "Told."))
    handle = keeper.handle("turn-1", "ada")
    assert keeper.turn_of(handle, "ada") == "turn-1"
    assert keeper.turn_of(handle, "bob") is None and keeper.turn_of("turn-2" + handle[6:], "ada") is None
    assert keeper.turn_of("", "ada") is None and keeper.turn_of("\ud800.x", "ada") is None
    assert keeper.pseudonym("a", "bc") != keeper.pseudonym("ab", "c")
