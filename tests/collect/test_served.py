"""What was served comes back: prompts once, the newest word of each user, nothing without consent, other
people's words don't count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biddable.collect import served as stage
from biddable.curate import comparisons as joined
from biddable.run import jsonl, turn_log
from biddable.run.config import UserError, Waiting
from biddable.run.context import StageContext
from biddable.run.records import Answer, Comparison, Feedback, Message, Policy, Prompt, Sampling, Turn


def context(folder: Path, key: str = "collect.served") -> StageContext:
    folder.mkdir(exist_ok=True, parents=True)
    return StageContext(folder, key, 1, lambda *_: None)


def turn(
    name: str, text: str = "Name a fruit.", answer: str = "An apple.", user: str = "jade-newt", **more: Any
) -> Turn:
    return Turn(
        id=name,
        conversation="k",
        user=user,
        time="2026-11-21T10:15:00Z",
        messages=(Message(role="user", content=text),),
        answer=Answer(text=answer, model="learn.ppo", tokens=(1, 2)),
        policy=Policy(folder="runs/demo/learn.ppo", content="9f86"),
        sampling=Sampling(max_tokens=8),
        consent=more.pop("consent", "consent-1"),
        **more,
    )


def said(name: str, of: str, minute: int = 0, user: str = "jade-newt", **more: Any) -> Feedback:
    return Feedback(id=name, turn=of, user=user, time=f"2026-11-21T11:{minute:02d}:00Z", **more)


def collected(folder: Path, *rows: Turn | Feedback, **settings: Any) -> StageContext:
    turn_log.append(folder / "turns", *rows)
    out = context(folder / "out")
    stage.run(stage.Config(turns=folder / "turns", **settings), out)
    return out


def test_two_answers_to_one_question_are_one_prompt_and_one_comparison(tmp_path: Path) -> None:
    out = collected(
        tmp_path,
        turn("a"),
        turn("b", answer="Pears."),
        turn("c", text="Else?"),
        said("f", "b", preferred_over=("a",)),
    )
    prompts = jsonl.read(out.path("prompts.jsonl"), Prompt)
    assert [one.messages[0].content for one in prompts] == ["Name a fruit.", "Else?"]
    assert {one.consent for one in prompts} == {"consent-1"} and {one.source for one in prompts} == {"served"}
    (ranking,) = jsonl.read(out.path("comparisons.jsonl"), Comparison)
    assert [one.text for one in ranking.answers] == ["An apple.", "Pears."] and ranking.ranks == (2, 1)
    assert ranking.labeler == "jade-newt" and ranking.prompt == prompts[0] and not ranking.simulated
    assert out.summary["turns"] == 3 and out.summary["comparisons"] == 1


def test_the_newest_word_counts_and_ties_are_ties(tmp_path: Path) -> None:
    words = (
        said("f", "a", 1, preferred_over=("b",)),
        said("g", "b", 9, preferred_over=("a",)),
        said("h", "a", 5, same_as=("b",)),
    )
    out = collected(tmp_path, turn("a"), turn("b", answer="B"), *words)
    assert [row.ranks for row in jsonl.read(out.path("comparisons.jsonl"), Comparison)] == [(2, 1)]
    out = collected(tmp_path, said("i", "b", 10, same_as=("a",)))
    assert [row.ranks for row in jsonl.read(out.path("comparisons.jsonl"), Comparison)] == [(1, 1)]


def test_words_that_do_not_count(tmp_path: Path) -> None:
    """Of another user, about another question, about oneself, about a turn that is not there."""
    rows = (turn("a"), turn("b", answer="B"), turn("c", text="Else?"), turn("d", user="red-fox"))
    words = (
        said("f", "a", user="red-fox", preferred_over=("b",)),
        said("g", "a", preferred_over=("c", "a", "d", "nowhere")),
        said("h", "nowhere", preferred_over=("a",)),
    )
    out = collected(tmp_path, *rows, *words)
    assert out.path("comparisons.jsonl").read_text() == ""


def test_only_what_was_agreed_to(tmp_path: Path) -> None:
    rows = (turn("a"), turn("b", answer="B", consent="consent-2"), said("f", "a", preferred_over=("b",)))
    out = collected(tmp_path, *rows, consents=("consent-2",))
    assert (
        out.summary["turns"] == 1 and out.summary["without_consent"] == 1 and out.summary["comparisons"] == 0
    )
    with pytest.raises(UserError, match="there are consent-1, consent-2"):
        collected(tmp_path, consents=("consent-9",))


def test_reports_are_listed_and_thumbs_counted(tmp_path: Path) -> None:
    words = (said("f", "a", 1, thumbs="up"), said("g", "a", 2, thumbs="down", report="It is rude."))
    out = collected(tmp_path, turn("a"), *words)
    assert json.loads(out.path("reports.jsonl").read_text())["report"] == "It is rude."
    assert (out.summary["thumbs_up"], out.summary["thumbs_down"], out.summary["reports"]) == (0, 1, 1)


def test_without_turns_it_waits(tmp_path: Path) -> None:
    with pytest.raises(Waiting, match="no turns yet"):
        stage.run(stage.Config(), context(tmp_path / "out"))


def test_an_id_with_two_contents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there twice"):
        collected(tmp_path, turn("a"), turn("a", answer="Another."))


def test_comparisons_get_the_curated_prompt_and_lose_personal_data(tmp_path: Path) -> None:
    asked = "Mail a@b.org and ask c@d.org."
    rows = (
        turn("a", text=asked, answer="I mailed c@d.org."),
        turn("b", text=asked, answer="No."),
        turn("c", text="Gone?"),
    )
    extra = (
        turn("d", text="Gone?", answer="x"),
        said("f", "a", preferred_over=("b",)),
        said("g", "c", preferred_over=("d",)),
    )
    out = collected(tmp_path, *rows, *extra)
    kept = jsonl.read(out.path("prompts.jsonl"), Prompt)[0]
    clean = kept.model_copy(
        update={
            "messages": (Message(role="user", content="Mail [email-1] and ask [email-2]."),),
            "split": "train",
        }
    )
    (tmp_path / "curated").mkdir()
    jsonl.write(tmp_path / "curated" / "prompts.jsonl", [clean])
    done = context(tmp_path / "joined", "curate.comparisons")
    joined.run(joined.Config(prompts=tmp_path / "curated", served=(out.folder,)), done)
    (ranking,) = jsonl.read(done.path("comparisons.jsonl"), Comparison)
    assert ranking.prompt == clean
    assert [one.text for one in ranking.answers] == ["I mailed [email-2].", "No."]
    assert [one.tokens for one in ranking.answers] == [None, (1, 2)], "masked text has other tokens"
    assert done.summary["dropped_prompts"] == 1 and done.summary["masked_answers"] == 1
    joined.run(
        joined.Config(prompts=tmp_path / "curated", served=(), labelled=(done.folder, done.folder)),
        context(tmp_path / "twice"),
    )
    assert [row.id for row in jsonl.read(tmp_path / "twice" / "comparisons.jsonl", Comparison)] == [
        "served-a-b",
        "served-a-b@1",
    ]


def test_no_ranking_at_all_is_refused(tmp_path: Path) -> None:
    out = collected(tmp_path, turn("a"))
    with pytest.raises(UserError, match="no ranking on a prompt that was kept"):
        joined.run(joined.Config(prompts=out.folder, served=(out.folder,)), context(tmp_path / "joined"))
