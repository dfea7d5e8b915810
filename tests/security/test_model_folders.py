"""Model folders and checkpoints that somebody broke, on purpose or not: one line each, no code of theirs runs,
nothing is written, and none goes on for ever."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from biddable.learn import training
from biddable.model import checkpoints, encoding, sources
from biddable.run import memory, stage_folder
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Message

HELLO = [Message(role="user", content="Hello")]


def change(folder: Path, name: str, **values: Any) -> None:
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps(content | values), encoding="utf-8")


def weights(folder: Path) -> Path:
    return folder / "model.safetensors"


def config(**values: Any) -> Callable[[Path], None]:
    return lambda folder: change(folder, "config.json", **values)


def text(name: str, content: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


def raw(change: Callable[[bytes], bytes]) -> Callable[[Path], Any]:
    return lambda folder: weights(folder).write_bytes(change(weights(folder).read_bytes()))


class Evil:
    """A pickle that writes a file when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return open, (str(self.target), "w")


def a_pickle(folder: Path) -> None:
    weights(folder).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"x": Evil(folder / "ran")}, protocol=2))


def a_saved_pickle(folder: Path) -> None:
    weights(folder).unlink()
    torch.save({"x": Evil(folder / "ran")}, folder / "pytorch_model.bin")


def own_code(folder: Path) -> None:
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass C: pass\n", encoding="utf-8")
    change(folder, "config.json", model_type="own", auto_map={"AutoConfig": "own.C"})


def own_tokenizer_code(folder: Path) -> None:
    own_code(folder)
    change(folder, "config.json", model_type="llama", auto_map={})
    change(
        folder, "tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.C", "own.C"]}
    )


def less_weights(folder: Path) -> None:
    tensors = load_file(weights(folder))
    del tensors[sorted(tensors)[3]]
    save_file(tensors, weights(folder), metadata={"format": "pt"})


def a_loop(folder: Path) -> None:
    weights(folder).unlink()
    weights(folder).symlink_to(weights(folder).name)


def a_pipe(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")


def a_gguf(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "a.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60))


def no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


LOOPS = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"
BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut off": (raw(lambda b: b[:-1000]), "not fully covered"),
    "cut off early": (raw(lambda b: b[:200]), "header"),
    "empty weights": (raw(lambda b: b""), "header too small"),
    "a huge header": (raw(lambda b: struct.pack("<Q", 2**60) + b[8:]), "header too large"),
    "a wrong header": (raw(lambda b: b[:8] + b"x" * 100 + b[108:]), "invalid JSON in header"),
    "no weights": (lambda folder: weights(folder).unlink(), "no file named model.safetensors"),
    "less weights": (less_weights, "1 of its weights are missing, the first is "),
    "a link to itself": (a_loop, "no file named model.safetensors"),
    "an index that is a list": (
        lambda folder: (weights(folder).unlink(), text("model.safetensors.index.json", "[]")(folder)),
        "list indices",
    ),
    "a pickle": (a_pickle, "could run code"),
    "a saved pickle": (a_saved_pickle, "could run code"),
    "no JSON": (text("config.json", "{no"), "not a valid"),
    "a deep config": (text("config.json", "[" * 100_000), "nested too deeply"),
    "a pipe": (a_pipe, "no model there"),
    "code of its own": (own_code, "it brings code of its own, which is never run"),
    "a tokenizer's own code": (own_tokenizer_code, "it brings code of its own, which is never run"),
    "an unknown family": (config(model_type="own"), "model type `own`"),
    "an encoder": (config(model_type="t5"), "encoder"),
    "another family": (config(model_type="bert"), "weights are missing"),
    "a size that is no number": (config(hidden_size=float("nan")), "'hidden_size' expected int"),
    "a size that is a text": (config(hidden_size="64"), "'hidden_size' expected int"),
    "a negative size": (config(hidden_size=-64), "negative"),
    "another size": (config(hidden_size=128), "other shapes than its config.json says"),
    "no heads": (config(num_attention_heads=0), "zero"),
    "no blocks": (config(num_hidden_layers=None), "'num_hidden_layers' expected int"),
    "millions of blocks": (config(num_hidden_layers=10**7), "10,000,000 blocks; expected 1 to 1000"),
    "a made-up dtype": (config(dtype="float1024"), "float1024"),
    "a made-up quantisation": (config(quantization_config=5), "does not load"),
    "a wrong RoPE": (config(rope_parameters="x"), "'rope_parameters'"),
    "no tokenizer": (no_tokenizer, "its tokenizer does not load"),
    "a tokenizer of another form": (text("tokenizer.json", "{}"), "its tokenizer does not load"),
    "a deep tokenizer": (text("tokenizer.json", "[" * 100_000), "its tokenizer does not load: nested too"),
    "tokenizer settings that are a list": (
        text("tokenizer_config.json", "[]"),
        "its tokenizer does not load",
    ),
    "generation settings that are a list": (text("generation_config.json", "[]"), "does not load"),
    "a broken GGUF": (a_gguf, "does not load"),
    "a broken template": (text("chat_template.jinja", "{% for x in %}"), "template refuses"),
    "a curious template": (text("chat_template.jinja", "{{ ''.__class__.__mro__ }}"), "unsafe"),
    "a template without end": (text("chat_template.jinja", LOOPS), "more than 1,000,000 steps"),
    "a template that calls itself": (
        text("chat_template.jinja", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
        "calls itself for ever",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_is_one_line(name: str, tiny_folder: Path, tmp_path: Path) -> None:
    breaks, reason = BROKEN[name]
    folder, target = tmp_path / "model", tmp_path / "out"
    shutil.copytree(tiny_folder, folder)
    breaks(folder)
    with pytest.raises(UserError) as error:
        checkpoints.import_model(str(folder), target, trunk=2)
    (line,) = error.value.lines
    assert reason in line and len(line) < 400 and line.isprintable()
    assert not (folder / "ran").exists(), "code of the folder has run"
    assert not list(tmp_path.glob("out*")), "something was written"


@pytest.fixture
def policy(tiny_folder: Path, tmp_path: Path) -> Path:
    """A policy folder of ours, without the comparison that `learn.start` makes."""
    folder = tmp_path / "policy"
    shutil.copytree(tiny_folder, folder)
    facts = {"kind": "policy", "trunk": 0, "fingerprint": "x"}
    (folder / "biddable.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


OURS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no JSON": (text("biddable.json", "{"), "biddable.json: not JSON"),
    "a list": (text("biddable.json", "[]"), "must be a JSON object"),
    "deep": (text("biddable.json", "[" * 100_000), "nested too deeply"),
    "no kind": (text("biddable.json", '{"trunk": 0}'), "expected a kind and a trunk"),
    "a trunk that is a text": (text("biddable.json", '{"kind": "policy", "trunk": "x"}'), "expected a kind"),
    "cut-off weights": (raw(lambda b: b[:-1000]), "does not load"),
    "an end that is a text": (text("generation_config.json", '{"eos_token_id": "x"}'), "expected token ids"),
    "settings that are a list": (text("generation_config.json", "[]"), "must be a JSON object"),
}


@pytest.mark.parametrize("name", OURS)
def test_a_broken_folder_of_ours_is_one_line(name: str, policy: Path) -> None:
    breaks, reason = OURS[name]
    breaks(policy)
    with pytest.raises(UserError, match=reason) as error:
        checkpoints.eos_ids(policy, checkpoints.tokenizer(policy))
        checkpoints.load_policy(policy)
    assert len(error.value.lines) == 1


@pytest.mark.parametrize("head", [b"", b"x" * 100, {"weight": torch.ones(3), "bias": torch.ones(1)}, {}])
def test_a_broken_head_is_one_line(head: Any, tiny_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = tmp_path / "scorer"
    shutil.copytree(tiny_folder, folder)
    AutoModelForCausalLM.from_pretrained(tiny_folder).base_model.save_pretrained(folder)
    (folder / "biddable.json").write_text('{"kind": "scorer", "trunk": 0}', encoding="utf-8")
    if isinstance(head, bytes):
        (folder / "head.safetensors").write_bytes(head)
    else:
        save_file(head, folder / "head.safetensors")
    with pytest.raises(UserError, match="its head does not load") as error:
        checkpoints.load_scorer(folder)
    assert len(error.value.lines) == 1


class Part:
    def state(self) -> dict[str, Any]:
        return {"x": torch.ones(2)}

    def restore(self, state: Any) -> None:
        state["x"] + torch.ones(2)


@pytest.mark.parametrize("kind", ["cut off", "a pickle", "another program's", "empty", "sizes"])
def test_a_broken_checkpoint_is_one_line(kind: str, tmp_path: Path) -> None:
    context = StageContext(tmp_path, "learn.sft", 1, lambda step, steps, numbers: None)
    training.save_checkpoint(context, 3, {"part": Part()})
    assert training.resume(context, {"part": Part()}) == 3
    (checkpoint,) = stage_folder.list_checkpoints(tmp_path)
    state = checkpoint / "state.pt"
    if kind == "cut off":
        state.write_bytes(state.read_bytes()[:-100])
    elif kind == "empty":
        state.write_bytes(b"")
    elif kind == "a pickle":
        torch.save({"part": Evil(tmp_path / "ran")}, state)
    elif kind == "another program's":
        torch.save({"weights": torch.ones(3)}, state)
    else:
        (checkpoint / "sizes.json").write_text('{"sizes": 5}', encoding="utf-8")
    with pytest.raises(UserError) as error:
        training.resume(context, {"part": Part()})
    assert len(error.value.lines) == 1 and "checkpoint" in error.value.lines[0]
    assert not (tmp_path / "ran").exists()


def test_the_plan_reads_a_broken_folder_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(UserError, match="nested too deeply"):
        memory.read_object(path)


def test_no_code_of_a_folder_is_asked_for_anywhere() -> None:
    """transformers opens folders in one file only, and there without their code."""
    package = Path(sources.__file__).parents[1]
    users = [path.name for path in package.rglob("*.py") if "from_pretrained(" in path.read_text("utf-8")]
    assert users == ["sources.py"]
    assert sources.LOCAL == {"trust_remote_code": False, "local_files_only": True}


class Templated:
    """A tokenizer with a template, as transformers renders one."""

    def __init__(self, template: str) -> None:
        from transformers.utils import chat_template_utils

        self.template, self.render = template, chat_template_utils.render_jinja_template

    def apply_chat_template(self, messages: Any, **_: Any) -> Any:
        (text,), _ = self.render([messages], chat_template=self.template, add_generation_prompt=True)
        return text


def test_a_usual_template_is_far_from_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand messages take a twentieth of the steps, and a debugger's own trace function stays."""
    import sys

    monkeypatch.setattr(encoding, "MAX_STEPS", 50_000)
    template = (
        "{% for m in messages %}<{{ m.role }}>{% if m.content %}{{ m.content | trim }}{% endif %}{% endfor %}"
    )
    tokenizer = Templated(template)
    before = sys.gettrace()
    assert encoding.chat_text(tokenizer, HELLO * 1000, answered=False) == "<user>Hello" * 1000
    assert sys.gettrace() is before
    with pytest.raises(UserError, match="more than 50,000 steps"):
        encoding.chat_text(Templated(LOOPS), HELLO, answered=False)
    assert sys.gettrace() is before
