"""Text likelihood: as transformers has it, the same with a shared trunk, and going on after a break."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from biddable.measure import text
from biddable.model import checkpoints, random_model
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Text

PIECES = (
    "The river ran past the old mill.",
    "A stone.",
    "Bread, salt and a long letter from the coast.",
    "Six words are not a lot.",
    "It rained.",
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "corpus").mkdir()
    rows = [Text(id=str(i), text=words, source="test", split="valid") for i, words in enumerate(PIECES)]
    jsonl.write(tmp_path / "corpus" / "text.jsonl", rows)
    return tmp_path / "corpus"


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two policies on one trunk of two blocks, the second with other weights above it."""
    root = tmp_path_factory.mktemp("policies")
    random_model.save_random_model(root / "source")
    checkpoints.import_model(str(root / "source"), root / "one" / "model", 2, None)
    other = checkpoints.load_policy(root / "one")
    with torch.no_grad():
        for weight in other.branch.parameters():
            weight.mul_(0.7)
    checkpoints.save_policy(other, root / "two" / "model", root / "one")
    return [root / "one", root / "two"]


def measured(folder: Path, policies: list[Path], corpus: Path) -> dict[str, float]:
    folder.mkdir(exist_ok=True)
    context = StageContext(folder, "measure.text", 3, lambda *_: None)
    text.run(
        text.Config(policies=tuple(policies), relative_to=policies[0], text=corpus, pieces=5, tokens=8),
        context,
    )
    return context.summary


@pytest.mark.usefixtures("fp32")
def test_it_is_what_transformers_says(tmp_path: Path, policies: list[Path], corpus: Path) -> None:
    from transformers import AutoModelForCausalLM

    found = measured(tmp_path / "a", policies, corpus)
    words = checkpoints.tokenizer(policies[0])
    ids = [words.encode(piece, add_special_tokens=False)[:8] for piece in PIECES]
    for name, folder in zip(("one", "two"), policies, strict=True):
        whole = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
        with torch.no_grad():
            losses = [
                float(whole(torch.tensor([one]), labels=torch.tensor([one])).loss) * (len(one) - 1)
                for one in ids
            ]
        assert found[f"nll_{name}"] == pytest.approx(sum(losses) / sum(len(one) - 1 for one in ids), abs=1e-5)
    assert found["nll_change_one"] == 0 and found["nll_change_one_low"] == 0
    assert found["nll_change_two"] == pytest.approx(100 * (found["nll_two"] / found["nll_one"] - 1))
    assert abs(found["nll_change_two"]) > 0.01
    assert found["tokens"] == sum(len(one) - 1 for one in ids)


@pytest.mark.usefixtures("fp32")
def test_broken_off_it_goes_on_to_the_same_bytes(
    tmp_path: Path, policies: list[Path], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measured(tmp_path / "whole", policies, corpus)
    load, loaded = checkpoints.load_policy, []

    def dies(folder: Path, **more: object) -> object:
        loaded.append(folder)
        if len(loaded) == 2:
            raise KeyboardInterrupt
        return load(folder, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoints, "load_policy", dies)
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path / "broken", policies, corpus)
    assert measured(tmp_path / "broken", policies, corpus) == whole
    assert loaded == [policies[0], policies[1], policies[1]]  # the first policy did not run twice
    assert (tmp_path / "broken/pieces.jsonl").read_bytes() == (tmp_path / "whole/pieces.jsonl").read_bytes()
    assert (
        len([json.loads(line) for line in (tmp_path / "whole/pieces.jsonl").read_text().splitlines()]) == 10
    )


def test_policies_of_two_runs_with_one_name_are_refused(
    tmp_path: Path, policies: list[Path], corpus: Path
) -> None:
    twin = tmp_path / "other" / "one"
    twin.parent.mkdir()
    twin.symlink_to(policies[0])
    with pytest.raises(UserError, match="two are called one"):
        measured(tmp_path / "out", [policies[0], twin], corpus)


def test_one_piece_is_refused(tmp_path: Path, policies: list[Path], corpus: Path) -> None:
    lines = (corpus / "text.jsonl").read_text().splitlines()
    (corpus / "text.jsonl").write_text(lines[0] + "\n")
    with pytest.raises(UserError, match="1 pieces of the split valid; at least 2"):
        measured(tmp_path / "a", policies, corpus)


@pytest.mark.usefixtures("fp32")
def test_intervals_are_those_of_resampled_pieces(tmp_path: Path, policies: list[Path], corpus: Path) -> None:
    """Pieces drawn one by one in the test, the same for every policy: quantiles of nats per token, and of the
    paired change in percent."""
    found = measured(tmp_path / "a", policies, corpus)
    rows = [json.loads(line) for line in (tmp_path / "a" / "pieces.jsonl").read_text().splitlines()]
    pieces = {name: [row for row in rows if row["model"] == name] for name in ("one", "two")}
    draws = np.random.default_rng(3).integers(
        0, 5, size=(2000, 5)
    )  # the stage's seed and number of resamples

    def total(name: str, draw: np.ndarray, key: str) -> float:
        return sum(pieces[name][i][key] for i in draw)

    rates = [total("two", draw, "nll") / total("two", draw, "tokens") for draw in draws]
    changes = [100 * (total("two", draw, "nll") / total("one", draw, "nll") - 1) for draw in draws]
    for end, quantile in (("low", 0.025), ("high", 0.975)):
        assert found[f"nll_two_{end}"] == pytest.approx(np.quantile(rates, quantile))
        assert found[f"nll_change_two_{end}"] == pytest.approx(np.quantile(changes, quantile), abs=1e-6)


@pytest.mark.usefixtures("fp32")
def test_only_the_split_valid_is_measured(tmp_path: Path, policies: list[Path], corpus: Path) -> None:
    whole = measured(tmp_path / "a", policies, corpus)
    rows = [Text(id=f"t{i}", text="Training text.", source="test", split="train") for i in range(3)]
    lines = "".join(row.model_dump_json() + "\n" for row in rows)
    path = corpus / "text.jsonl"
    path.write_text(lines + path.read_text())
    assert measured(tmp_path / "b", policies, corpus) == whole
