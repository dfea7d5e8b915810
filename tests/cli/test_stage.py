"""One stage by name: its help, and settings on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from biddable.cli import stage
from biddable.run.errors import UserError

from .conftest import biddable, main


def test_values_are_toml_and_everything_else_is_text() -> None:
    words = ["a=1", "b=0.5", "c=true", 'd=["x", "y"]', "e=none", "f=runs/x", "g=", 'h="1"', "i=a=b"]
    assert stage.parse_settings("k", words) == {
        "a": 1,
        "b": 0.5,
        "c": True,
        "d": ["x", "y"],
        "e": "none",
        "f": "runs/x",
        "g": "",
        "h": "1",
        "i": "a=b",
    }
    with pytest.raises(UserError, match=r"biddable learn\.ppo: kl_coef: expected SETTING=VALUE"):
        stage.parse_settings("learn.ppo", ["kl_coef"])


def test_help_says_what_none_switches_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(monkeypatch, "learn.reward", "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert '  demonstrations = "label.demonstrations" (or "none")' in lines
    assert '  held_out = "none"' in lines
    assert '  comparisons = "label.comparisons"' in lines


@pytest.mark.parametrize("argument", ["text=none", 'text="none"', "text="])
def test_none_on_the_command_line(tmp_path: Path, argument: str) -> None:
    """What comes after the settings is what is wrong: the inputs that are not there; an empty text is no way
    to say none."""
    (tmp_path / "my.toml").write_text("[learn.ppo]\nptx_coef = 0\n", encoding="utf-8")
    code, _, err = biddable(tmp_path, "learn.ppo", "my.toml", argument)
    assert code == 2
    assert ("[learn.ppo] text" in err) == (argument == "text=")
    if argument == "text=":
        assert '"none" switches an optional setting off' in err
