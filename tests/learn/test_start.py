"""The start model: what comes in is what is written, cut where it can be cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from biddable.learn import start
from biddable.model import checkpoints, random_model
from biddable.run.config import UserError
from tests.learn import plain

pytestmark = pytest.mark.usefixtures("fp32")


def test_the_weights_come_through_unchanged(tmp_path: Path) -> None:
    source = random_model.save_random_model(tmp_path / "source", seed=7, layers=2)
    context = plain.make_context(tmp_path / "learn.start", "learn.start")
    start.run(start.Config(model=str(source), trunk=1), context)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "model").symlink_to(source)
    plain.same_weights(plain.load(tmp_path / "learn.start"), plain.load(tmp_path / "plain"), 0)
    summary = context.summary
    assert (summary["kind"], summary["trunk"], summary["blocks"], summary["hidden"]) == ("policy", 1, 2, 64)
    assert summary["tied"] and summary["vocabulary"] == len(checkpoints.tokenizer(context.folder))
    assert summary["parameters"] == sum(p.numel() for p in plain.load(tmp_path / "learn.start").parameters())
    assert json.loads((context.folder / "model/biddable.json").read_text())["trunk"] == 1


def test_tiny_is_a_random_model_of_the_runs_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        start.run(start.Config(model="tiny"), plain.make_context(tmp_path / name, "learn.start", seed))
    weights = [(tmp_path / name / "model/model.safetensors").read_bytes() for name in "abc"]
    assert weights[0] == weights[1] != weights[2]


def test_a_chat_template_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "chat.jinja").write_text("{{ messages[0]['content'] }}!")
    context = plain.make_context(tmp_path / "learn.start", "learn.start")
    start.run(start.Config(model="tiny", chat_template=tmp_path / "chat.jinja"), context)
    tokenizer = checkpoints.tokenizer(context.folder)
    assert tokenizer.decode(plain.encode(context.folder, plain.prompt(0))) == "salt!"


@pytest.mark.parametrize(
    "settings, line",
    [
        ({"model": "tiny", "trunk": 4}, "trunk = 4: this model has 4 blocks; choose 0 to 3"),
        ({"model": "nowhere"}, "nowhere: no model there"),
        ({"model": "package:no_such_model"}, "this package is not installed"),
        (
            {"model": "tiny", "chat_template": Path("no.jinja")},
            r"\[learn.start\] chat_template = 'no.jinja': no such file",
        ),
    ],
)
def test_refusals(tmp_path: Path, settings: dict[str, object], line: str) -> None:
    context = plain.make_context(tmp_path / "learn.start", "learn.start")
    with pytest.raises(UserError, match=line):
        start.run(start.Config(**settings), context)  # type: ignore[arg-type]
    assert not context.path("model").exists()


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    source = random_model.save_random_model(tmp_path / "source", layers=2)
    for path in source.glob("chat_template*"):
        path.unlink()
    context = plain.make_context(tmp_path / "learn.start", "learn.start")
    with pytest.raises(UserError, match="its tokenizer has no chat template"):
        start.run(start.Config(model=str(source)), context)
