"""The stage: order of the steps, reasons, splits, refusals, and real prompts when they are at hand."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from biddable.curate import comparisons
from biddable.curate import prompts as stage
from biddable.curate.personal_data import masking, phones
from biddable.curate.prompts import page, parallel
from biddable.curate.prompts.dedup import Dropped
from biddable.run import jsonl
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.records import Message, Prompt

WORDS = (
    *(
        "Quickly",
        "Today",
        "Monday",
        "Ever",
        "Never",
        "Gladly",
        "Soon",
        "Later",
        "Perhaps",
        "Always",
        "Sadly",
        "Maybe",
    ),
    *(
        "Indeed",
        "Kindly",
        "Often",
        "Rarely",
        "Twice",
        "Again",
        "Abroad",
        "Downtown",
        "Upstairs",
        "Outside",
        "Early",
        "Finally",
    ),
)


def context(folder: Path) -> StageContext:
    folder.mkdir(exist_ok=True, parents=True)
    return StageContext(folder, "curate.prompts", 1, lambda step, steps, numbers: None)


def prompt(number: int, user: str, text: str = "") -> Prompt:
    return Prompt(
        id=f"p{number}", messages=(Message(role="user", content=text or f"Question {number}?"),), user=user
    )


def put(folder: Path, rows: list[Prompt]) -> Path:
    folder.mkdir(exist_ok=True)
    jsonl.write(folder / "prompts.jsonl", rows)
    return folder


def many(users: int = 60, each: int = 3) -> list[Prompt]:
    return [prompt(user * each + number, f"user-{user}") for user in range(users) for number in range(each)]


def test_splits_are_by_user_and_counted(tmp_path: Path) -> None:
    cfg = stage.Config(prompts=put(tmp_path / "in", many()))
    out = context(tmp_path / "out")
    stage.run(cfg, out)
    placed = jsonl.read(out.path("prompts.jsonl"), Prompt)
    assert [one.id for one in placed] == [one.id for one in many()]
    splits: dict[str, set[str]] = {}
    for one in placed:
        splits.setdefault(one.user, set()).add(str(one.split))
    assert all(len(found) == 1 for found in splits.values())
    for split in ("train", "valid", "test"):
        assert out.summary[f"prompts_{split}"] == sum(one.split == split for one in placed) > 0
        assert out.summary[f"users_{split}"] == sum(found == {split} for found in splits.values())
    assert out.path("dropped.jsonl").read_text() == ""


def test_a_file_of_labels_only_needs_no_split_to_measure_on(tmp_path: Path) -> None:
    folder, out = (
        put(tmp_path / "in", [prompt(1, "ann"), prompt(2, "ann", "Another question?")]),
        context(tmp_path / "a"),
    )
    with pytest.raises(UserError) as error:
        stage.run(stage.Config(prompts=folder), context(tmp_path / "b"))
    assert len(error.value.lines) == 2
    assert all(line.endswith("_share = 0 if nothing will be measured on them") for line in error.value.lines)
    stage.run(stage.Config(prompts=folder, valid_share=0, test_share=0), out)
    assert [row.split for row in jsonl.read(out.path("prompts.jsonl"), Prompt)] == ["train", "train"]


def test_nobody_moves_when_users_come(tmp_path: Path) -> None:
    before, after = context(tmp_path / "a"), context(tmp_path / "b")
    stage.run(stage.Config(prompts=put(tmp_path / "in", many(60))), before)
    stage.run(stage.Config(prompts=put(tmp_path / "in", list(reversed(many(200))))), after)
    then = {one.user: one.split for one in jsonl.read(before.path("prompts.jsonl"), Prompt)}
    now = {one.user: one.split for one in jsonl.read(after.path("prompts.jsonl"), Prompt)}
    assert len(now) == 200 and all(now[user] == split for user, split in then.items())


def test_the_run_s_seed_does_not_move_anybody(tmp_path: Path) -> None:
    folder = put(tmp_path / "in", many())
    one, other = context(tmp_path / "a"), context(tmp_path / "b")
    other.seed = 99
    for out in (one, other):
        stage.run(stage.Config(prompts=folder), out)
    assert one.path("prompts.jsonl").read_bytes() == other.path("prompts.jsonl").read_bytes()


def test_duplicates_go_before_the_cap(tmp_path: Path) -> None:
    """A user with two prompts, one of them twice, and a cap of two loses the duplicate only."""
    mine = [
        prompt(900, "busy", "One?"),
        prompt(901, "busy", "ONE?"),
        prompt(902, "busy", "Two?"),
        prompt(903, "busy", "Three?"),
    ]
    cfg = stage.Config(prompts=put(tmp_path / "in", many() + mine), user_cap=2, prefix_characters=3)
    out = context(tmp_path / "out")
    with pytest.raises(
        UserError
    ):  # "question 1..." prefixes are all alike at three characters: one prompt is left of them
        stage.run(cfg, out)
    cfg = cfg.model_copy(update={"prefix_characters": 100, "user_cap": 3})
    stage.run(cfg, out)
    dropped = jsonl.read(out.path("dropped.jsonl"), Dropped)
    assert [(one.id, one.reason, one.like) for one in dropped] == [("p901", "same_text", "p900")]
    stage.run(cfg.model_copy(update={"user_cap": 2}), out)
    dropped = jsonl.read(out.path("dropped.jsonl"), Dropped)
    assert {one.id for one in dropped if one.user == "busy"} == {"p901", "p903"}
    assert out.summary["dropped_user_cap"] == 61 and out.summary["dropped_same_text"] == 1


def test_an_empty_split_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    folder = put(tmp_path / "in", [prompt(1, "only-one")])
    out = context(tmp_path / "out")
    with pytest.raises(UserError) as refusal:
        stage.run(stage.Config(prompts=folder), out)
    assert len(refusal.value.lines) == 2
    assert all(
        "add prompts of more users, or change the shares or the seed" in line for line in refusal.value.lines
    )
    assert not [p for p in out.folder.iterdir() if p.name != "progress.json"]


def test_shares_that_leave_nothing_to_train_are_refused(tmp_path: Path) -> None:
    cfg = stage.Config(prompts=put(tmp_path / "in", many()), valid_share=0.5, test_share=0.5)
    with pytest.raises(UserError, match=r"valid_share \+ test_share = 1: must be less than 1"):
        stage.run(cfg, context(tmp_path / "out"))


PERSONAL = "Please write to ann.lee@example.org or call (212) 555-0187 about it."


def written(out: StageContext) -> dict[str, str]:
    return {p.id: p.messages[0].content for p in jsonl.read(out.path("prompts.jsonl"), Prompt)}


def test_personal_data_is_masked_in_every_split_and_kept_apart(tmp_path: Path) -> None:
    mine = [prompt(1000 + n, f"user-{n}", f"{word} {PERSONAL}") for n, word in enumerate(WORDS)]
    cfg = stage.Config(prompts=put(tmp_path / "in", many() + mine), near_duplicate_similarity=0)
    out = context(tmp_path / "run" / "curate.prompts")
    stage.run(cfg, out)
    texts = written(out)
    assert all(texts[one.id].endswith("write to [email-1] or call [phone-1] about it.") for one in mine)
    assert not any("example.org" in path.read_text() for path in out.folder.iterdir())
    vault = tmp_path / "run" / "personal" / "curate.prompts.jsonl"
    assert vault.stat().st_mode & 0o077 == 0 and vault.parent.stat().st_mode & 0o077 == 0
    kept = {one.id: one.values for one in jsonl.read(vault, masking.Original)}
    found = {p.id: p for p in jsonl.read(out.path("prompts.jsonl"), Prompt)}
    assert all(masking.unmask_prompt(found[one.id], kept[one.id]).messages == one.messages for one in mine)
    assert out.summary["masked_email"] == len(mine) and out.summary["prompts"] == 180 + len(mine)


def test_the_paper_s_filter_drops_in_the_training_split_only(tmp_path: Path) -> None:
    mine = [prompt(1000 + n, f"user-{n}", f"{word} {PERSONAL}") for n, word in enumerate(WORDS)]
    cfg = stage.Config(
        prompts=put(tmp_path / "in", many() + mine),
        near_duplicate_similarity=0,
        personal_data="drop",
        personal_data_splits=("train",),
    )
    out = context(tmp_path / "out")
    stage.run(cfg, out)
    split = {one.user: one.split for one in jsonl.read(out.path("prompts.jsonl"), Prompt)}
    texts = written(out)
    for one in mine:
        assert (one.id in texts) == (split[one.user] != "train")
        assert texts.get(one.id, one.messages[0].content) == one.messages[0].content
    dropped = [one for one in jsonl.read(out.path("dropped.jsonl"), Dropped) if one.reason == "personal_data"]
    assert dropped and {one.found for one in dropped} == {"email, phone"}
    assert out.summary["prompts"] == len(texts) == 180 + len(mine) - len(dropped)


def test_empty_long_and_foreign_prompts_say_why(tmp_path: Path) -> None:
    german = "Schreibe bitte einen freundlichen Brief an meine Nachbarin, die morgen ihren Geburtstag feiert."
    mine = [
        prompt(900, "u", "?"),
        prompt(901, "u", "why " * 60),
        prompt(902, "u", german),
        prompt(903, "u", "Ja?"),
    ]
    cfg = stage.Config(
        prompts=put(tmp_path / "in", many() + mine), min_characters=2, max_characters=200, languages=("en",)
    )
    out = context(tmp_path / "out")
    stage.run(cfg, out)
    dropped = [(one.id, one.reason, one.found) for one in jsonl.read(out.path("dropped.jsonl"), Dropped)]
    wanted = [
        ("p900", "empty", "1 characters"),
        ("p901", "too_long", "240 characters"),
        ("p902", "language", "de"),
    ]
    assert dropped == wanted and "p903" in written(out), "short ones are in doubt and stay"


def test_an_unknown_language_or_model_is_refused(tmp_path: Path) -> None:
    folder = put(tmp_path / "in", many())
    with pytest.raises(UserError, match="languages: 'english': not among"):
        stage.run(stage.Config(prompts=folder, languages=("english",)), context(tmp_path / "out"))


def test_processes_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "CHUNK_BYTES", 9000)
    monkeypatch.setattr(stage, "BATCH_ROWS", 100)
    folder = put(
        tmp_path / "in",
        many(80) + [prompt(1000 + n, f"user-{n}", f"{w} {PERSONAL}") for n, w in enumerate(WORDS)],
    )
    assert len(parallel.chunks(folder / "prompts.jsonl")) > 2
    made = []
    for processes in (1, 2):
        out = context(tmp_path / str(processes) / "curate.prompts")
        stage.run(stage.Config(prompts=folder, processes=processes), out)
        made.append(
            {path.name: path.read_bytes() for path in out.folder.iterdir() if path.suffix == ".jsonl"}
        )
    assert made[0] == made[1] and len(made[0]) == 3


def test_wrong_lines_are_told_with_their_numbers_wherever_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "CHUNK_BYTES", 500)
    folder = put(tmp_path / "in", many(20))
    lines = (folder / "prompts.jsonl").read_text().splitlines()
    lines[41] = "{"
    lines[57] = '{"id": "x"}'
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError) as refusal:
        stage.run(stage.Config(prompts=folder, processes=1), context(tmp_path / "out"))
    assert [line.split(": ")[0].rsplit(":", 1)[1] for line in refusal.value.lines] == ["42", "58", "58"]
    again = put(tmp_path / "again", many(2))
    with pytest.raises(UserError, match="'p0': appears twice"):
        stage.run(stage.Config(prompts=again, more_prompts=(again,), processes=1), context(tmp_path / "out"))


def test_more_folders_come_after_and_the_first_stays(tmp_path: Path) -> None:
    served = put(
        tmp_path / "served", [prompt(5000, "user-1", "QUESTION 7?"), prompt(5001, "user-1", "Something new?")]
    )
    out = context(tmp_path / "out")
    stage.run(stage.Config(prompts=put(tmp_path / "in", many()), more_prompts=(served,)), out)
    assert "p5001" in written(out) and "p5000" not in written(out)
    assert jsonl.read(out.path("dropped.jsonl"), Dropped)[0].like == "p7"


def test_the_page_shows_numbers_and_no_prompt(tmp_path: Path) -> None:
    hostile = prompt(900, "<script>alert(1)</script>", "A <b>secret</b> question?").model_copy(
        update={"use_case": "<img src=x>"}
    )
    out = context(tmp_path / "out")
    stage.run(
        stage.Config(prompts=put(tmp_path / "in", [*many(), hostile, prompt(901, "u", "question 3?")])), out
    )
    page = out.path("report.html").read_text(encoding="utf-8")
    assert "181 of 182 prompts are kept." in page and "the same text" in page
    assert (
        "<script" not in page
        and "<img" not in page
        and "secret" not in page
        and "http" not in page.replace("http-equiv", "")
    )
    assert page.count("<svg ") >= 4


def test_real_prompts_of_real_users(tmp_path: Path) -> None:
    data = os.environ.get("BIDDABLE_DATA")
    if not data:
        pytest.skip("set BIDDABLE_DATA to the folder with prompts_with_users.jsonl.gz")
    with gzip.open(Path(data) / "prompts_with_users.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    turns = [(Message(role="user", content=row["prompt"]),) for row in rows]
    found = [
        Prompt(id=row["id"], messages=turn, user=row["user_id"])
        for row, turn in zip(rows, turns, strict=True)
    ]
    out = context(tmp_path / "out")
    stage.run(stage.Config(prompts=put(tmp_path / "in", found), user_cap=50), out)
    dropped = jsonl.read(out.path("dropped.jsonl"), Dropped)
    kept = jsonl.read(out.path("prompts.jsonl"), Prompt)
    assert len(dropped) + len(kept) == len(found)
    assert {one.id for one in dropped if one.reason == "same_text"} >= {
        "prompts-343",
        "prompts-1374",
    }  # twice in the source
    assert out.summary["dropped_user_cap"] > 20  # one user wrote 82


def test_languages_are_counted_with_the_prompts_they_belong_to() -> None:
    scanned = parallel.Scanned(
        ids=["a", "b", "c"], users=["u", "u", "v"], use_cases=[None] * 3, characters=[5] * 3,
        languages=[None, "de", "en"],
    )  # fmt: skip
    plots = page.draw_plots(scanned, Counter(), {0: "train", 2: "test"}, {})
    _, svg, _ = next(plot for plot in plots if plot and plot[0] == "Languages")
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" height="13"', str(svg))]
    full = page.WIDTH - page.LEFT - page.RIGHT
    assert widths == [full, 0, full, full]  # de: one prompt, dropped; en: one, which stays


@pytest.mark.parametrize("names", [("personal", "personal_kinds"), ("personal_data", "personal_data_kinds")])
def test_what_an_earlier_version_masked_is_read_from_its_folder(
    names: tuple[str, str], tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"settings": {names[0]: "mask", names[1]: ["email", "ip"]}}))
    assert comparisons.masking_settings(tmp_path) == (("email", "ip"), phones.REGIONS)
    manifest.write_text(json.dumps({"settings": {names[0]: "keep", names[1]: ["email"]}}))
    assert comparisons.masking_settings(tmp_path) == ((), ())
