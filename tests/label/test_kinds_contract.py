"""Every kind of label by hand: what a page sends, what is stored, what record comes of it, how far two people
are apart, what gold says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from biddable.label import (
    comparisons,
    demonstrations,
    kinds,
    probes,
    prompts,
    queue,
    ratings,
    rulechecks,
    turns,
)
from biddable.label.form import Fields
from biddable.label.kinds import AnyKind, Score, TaskView
from biddable.label.screening import questions
from biddable.run import catalog
from biddable.run.config import UserError
from biddable.run.records import (
    Answer,
    Comparison,
    Demonstration,
    Message,
    Probe,
    Prompt,
    Rating,
    Record,
    Replies,
    RuleCheck,
)
from biddable.run.rules import Rule
from biddable.store.types import Person

ADA = Person("id-1", "ada-1", "held_out", False)
PROMPT = Prompt(id="p", messages=(Message(role="user", content="Name a fruit."),), user="u")
THREE = tuple(
    Answer(text=text, model=f"secret-{text}", tokens=(i,)) for i, text in enumerate(("zero", "one", "two"))
)
REPLIES = Replies(prompt=PROMPT, answers=THREE)
SINGLE = Replies(prompt=PROMPT, answers=THREE[:1])
RULE = Rule(id="kind", text="Be kind.", question="Is it unkind?")
TALK = (Message(role="user", content="hello"), Message(role="assistant", content="go away"))
SHOWN = (2, 0, 1)
"""At place 0 answer 2 is shown, at place 1 answer 0, at place 2 answer 1."""
COMMON: dict[str, Any] = {"labeler": "ada-1", "simulated": False, "guideline": "g"}


class Case(NamedTuple):
    """A form and all that follows from it."""

    name: str
    task: Record
    shown: tuple[int, ...]
    fields: Fields
    stored: dict[str, Any]  # the answer's JSON without what is null
    records: list[Record]
    incomplete: Fields  # a form that is sent back
    view: TaskView


CASES = [
    Case(
        "label.comparisons",
        REPLIES,
        SHOWN,
        {
            "rank-0": ["4"],
            "rank-1": ["1"],
            "rank-2": ["4"],
            "overall-1": ["6"],
            "better": ["a pear"],
            "comment": ["hm"],
        },
        {
            "ranks": [2, 1, 2],
            "overall": [None, 6, None],
            "better": "a pear",
            "comment": "hm",
        },
        [
            # ranks 2 1 2 and scores - 6 - in the order shown 2 0 1: answer 0 has rank 1 and score 6
            Comparison(
                id="t-ada-1",
                prompt=PROMPT,
                answers=THREE,
                ranks=(1, 2, 2),
                overall=(6, None, None),
                comment="hm",
                panel="held_out",
                **COMMON,
            ),
            Demonstration(
                id="t-ada-1", prompt=PROMPT, answer=Answer(text="a pear", model="people"), **COMMON
            ),
        ],
        {"rank-0": ["1"], "rank-2": ["2"]},
        TaskView([("user", "Name a fruit.")], ["zero", "one", "two"]),
    ),
    Case(
        "label.ratings",
        SINGLE,
        (0,),
        {"overall-0": ["6"], "yes-0": ["violent_content"], "hallucination-0": ["no"]},
        {"overall": 6},
        [Rating(id="t-ada-1", prompt=PROMPT, answer=THREE[0], overall=6, panel="held_out", **COMMON)],
        {"yes-0": ["violent_content"]},
        TaskView([("user", "Name a fruit.")], ["zero"]),
    ),
    Case(
        "label.demonstrations",
        demonstrations.DemonstrationQuestion(prompt=PROMPT, answers=THREE),
        SHOWN,
        {"text": [" "], "best": ["1"]},
        {"best": 1},
        [Demonstration(id="t", prompt=PROMPT, answer=THREE[0], **COMMON)],
        {"text": [""]},
        TaskView([("user", "Name a fruit.")], ["zero", "one", "two"]),
    ),
    Case(
        "label.rulechecks",
        rulechecks.RuleCheckTask(prompt=PROMPT, answers=THREE[:1], rule=RULE),
        (0,),
        {"level": ["probably_breaks"], "turn": ["0"]},
        {"level": "probably_breaks", "turn": 0},
        [
            RuleCheck(
                id="t-ada-1",
                prompt=PROMPT,
                answer=THREE[0],
                rule="kind",
                rule_text="Be kind.",
                level="probably_breaks",
                turn=0,
                panel="held_out",
                **COMMON,
            )
        ],
        {"turn": ["0"]},
        TaskView([("user", "Name a fruit.")], ["zero"]),
    ),
    Case(
        "label.prompts",
        prompts.PromptQuestion(form="few_shot", pairs=2),
        (),
        {"text": ["Add."], "query": ["1+1", "", "2+2"], "answer": ["2", "", "4"]},
        {"text": "Add.", "pairs": [{"query": "1+1", "answer": "2"}, {"query": "2+2", "answer": "4"}]},
        [
            record
            for number, content, text in (
                (1, "Add.\n\nQuery: 2+2\nAnswer: 4\n\nQuery: 1+1\nAnswer:", "2"),
                (2, "Add.\n\nQuery: 1+1\nAnswer: 2\n\nQuery: 2+2\nAnswer:", "4"),
            )
            for prompt in [
                Prompt(
                    id=f"t-ada-1-{number}",
                    messages=(Message(role="user", content=content),),
                    user="ada-1",
                    source="labeler, few_shot",
                )
            ]
            for record in (
                prompt,
                Demonstration(
                    id=prompt.id, prompt=prompt, answer=Answer(text=text, model="people"), **COMMON
                ),
            )
        ],
        {"text": ["Add."], "query": ["1+1"], "answer": ["2"]},
        TaskView([("asked for", "a few-shot prompt")]),
    ),
    Case(
        "label.probes",
        probes.ProbeTask(rule=RULE, endpoint="http://secret/v1", model="secret", turns=2),
        (),
        {"said": ["hello", "go away"], "level": ["definitely_breaks"], "turn": ["1"]},
        {
            "messages": [turn.model_dump() for turn in TALK],
            "level": "definitely_breaks",
            "turn": 1,
        },
        [
            Probe(
                id="t",
                messages=TALK,
                model="secret",
                rule="kind",
                rule_text="Be kind.",
                level="definitely_breaks",
                turn=1,
                **COMMON,
            )
        ],
        {"level": ["unsure"]},
        TaskView([("asked for", "Be kind.")]),
    ),
    Case(
        "label.turns",
        turns.TurnsTask(turns=2, user="labeler", answers_each=2, endpoint="http://secret/v1", model="secret"),
        (),
        {
            "past": [
                '{"message": "hello", "answers": ["go", "stay"], "choice": 1}',
                '{"message": "why?", "answers": ["hm", "ha"]}',
            ],
            "choice": ["0"],
            "all_bad": ["on"],
        },
        {
            "turns": [
                {"message": "hello", "answers": ["go", "stay"], "choice": 1, "all_bad": None},
                {"message": "why?", "answers": ["hm", "ha"], "choice": 0, "all_bad": True},
            ]
        },
        [
            Comparison(
                id=f"t-{number}-ada-1",
                prompt=Prompt(
                    id=f"t-{number}", messages=messages, user="ada-1", source="turns", split="train"
                ),
                answers=tuple(Answer(text=text, model="secret") for text in texts),
                ranks=ranks,
                all_bad=all_bad,
                panel="held_out",
                **COMMON,
            )
            for number, messages, texts, ranks, all_bad in (
                (1, (Message(role="user", content="hello"),), ("go", "stay"), (2, 1), None),
                (
                    2,
                    (
                        Message(role="user", content="hello"),
                        Message(role="assistant", content="stay"),
                        Message(role="user", content="why?"),
                    ),
                    ("hm", "ha"),
                    (1, 2),
                    True,
                ),
            )
        ],
        {"choice": ["0"]},
        TaskView([("asked for", "a dialogue of at most 2 turns")]),
    ),
    Case(
        "label.screening",
        questions.ScreeningQuestion(prompt=PROMPT, part="sensitive"),
        (),
        {"sensitive": ["no"]},
        {"sensitive": False},
        [],
        {},
        TaskView([("user", "Name a fruit.")]),
    ),
]


def kind_of(name: str) -> AnyKind:
    kind = kinds.find(name)
    assert kind is not None
    return kind


def label_of(name: str, task: Record, answer: dict[str, Any], shown: tuple[int, ...]) -> queue.CollectedLabel:
    text = task.model_dump_json(exclude_none=True)
    return queue.CollectedLabel("run/x/1#t", name, text, json.dumps(answer), shown, ADA, "g")


def without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in value.items() if item is not None and name != "metadata"}


def unmarked(records: Sequence[Record]) -> list[Record]:
    """Records without the eleven yes/no questions, which have a test of their own."""
    return [
        record.model_copy(update={"metadata": None}) if isinstance(record, Comparison | Rating) else record
        for record in records
    ]


def test_every_kind_of_the_room_is_among_the_cases() -> None:
    found = {name for name in catalog.stage_names() if kinds.find(name) is not None}
    assert found == {case.name for case in CASES} and len(found) == 8
    for name in (
        "label.site",
        "label.exports",
        "learn.ppo",
        "label.nothing",
        "label",
        "label.views.tasks",
        "",
    ):
        assert kinds.find(name) is None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_from_the_form_to_the_record(case: Case) -> None:
    kind = kind_of(case.name)
    text = case.task.model_dump_json(exclude_none=True)
    question = kind.question(queue.AssignedTask("run/x/1#t", case.name, text, case.shown))
    assert "secret" not in question.model_dump_json() and '"tokens":[' not in question.model_dump_json()
    answers = getattr(question, "answers", ())
    assert [answer.text for answer in answers] == [THREE[i].text for i in case.shown if answers]
    with pytest.raises(UserError):
        kind.form(question, case.incomplete)
    answer = kind.form(question, case.fields)
    kind.check(question, answer)
    stored = json.loads(answer.model_dump_json())
    assert without_nulls(stored) == case.stored
    label = label_of(case.name, case.task, stored, case.shown)
    assert kind.answer(label) == answer
    assert unmarked(kind.records(label)) == unmarked(case.records)
    view = kind.view(kind.task(text))
    assert (list(view.turns), list(view.answers)) == (list(case.view.turns), list(case.view.answers))


def test_the_yes_no_questions_reach_their_answer() -> None:
    """Place 1 shows answer 0. It alone was scored: its unticked boxes are a no, its open questions are open;
    the others were not asked."""
    case = CASES[0]
    question = comparisons.KIND.question(
        queue.AssignedTask("run/x/1#t", case.name, REPLIES.model_dump_json(), SHOWN)
    )
    fields = {
        **case.fields,
        "yes-1": ["violent_content"],
        "yes-0": ["sexual_content"],
        "hallucination-1": ["no"],
    }
    answer = comparisons.KIND.form(question, fields)
    (row, _) = comparisons.KIND.records(label_of(case.name, REPLIES, answer.model_dump(mode="json"), SHOWN))
    assert isinstance(row, Comparison) and row.metadata is not None and row.metadata[1:] == (None, None)
    marks = row.metadata[0]
    assert marks is not None and marks["violent_content"] is True and marks["sexual_content"] is False
    assert marks["hallucination"] is False and marks["satisfies_constraint"] is None and len(marks) == 11


def ranking(*ranks: int, shown: tuple[int, ...] = (0, 1, 2), **more: Any) -> queue.CollectedLabel:
    return label_of("label.comparisons", REPLIES, {"ranks": list(ranks) or None, **more}, shown)


def test_rankings_are_compared_in_the_order_stored() -> None:
    kind = comparisons.KIND
    assert kind.ranks(ranking(1, 2, 3, shown=SHOWN)) == (2, 3, 1)
    assert kind.ranks(ranking()) is None and kind.ranks_or_ties(ranking()) == (1, 1, 1)
    assert kind.distance(ranking(1, 2, 3), ranking(2, 3, 1)) == pytest.approx(
        2 / 3
    )  # 1 pair alike, 2 not: τ = -1/3
    assert kind.distance(ranking(2, 3, 1), ranking(1, 2, 3, shown=SHOWN)) == 0
    assert kind.distance(ranking(1, 2, 3), ranking(3, 2, 1)) == 1
    assert kind.distance(ranking(1, 2, 3), ranking(1, 1, 1)) is None
    assert kind.distance(ranking(), ranking(1, 2, 3)) is None
    expected = comparisons.RankingAnswer(ranks=(1, 2, 2))
    # the expected order has two pairs, (0,1) and (0,2)
    assert kind.gold_score(ranking(1, 2, 3), expected) == 1
    assert kind.gold_score(ranking(2, 1, 3), expected) == 0.5
    assert kind.gold_score(ranking(1, 1, 2), expected) == 0.75  # a tie counts half
    assert kind.gold_score(ranking(3, 1, 2, shown=SHOWN), expected) == 1  # answers 0 1 2 have 1 2 3
    assert kind.gold_score(ranking(), expected) == 0.5
    assert kind.gold_score(ranking(1, 2, 3), comparisons.RankingAnswer(ranks=(1, 1, 1))) is None


def test_scores_beside_a_ranking() -> None:
    label = ranking(
        1, 2, 3, shown=SHOWN, overall=[7, None, None], metadata=[None, {"fails_task": True}, None]
    )
    assert comparisons.KIND.scores(label) == [
        Score("run/x/1#t/2", 7, {}),
        Score("run/x/1#t/0", None, {"fails_task": True}),
    ]
    assert comparisons.KIND.scores(ranking(1, 2, 3)) == []


def test_ratings_are_compared_by_steps() -> None:
    one, three, seven = (
        label_of("label.ratings", SINGLE, {"overall": n, "metadata": {"fails_task": n == 1}}, (0,))
        for n in (1, 3, 7)
    )
    kind = ratings.KIND
    assert kind.scores(one) == [Score("run/x/1#t", 1, {"fails_task": True})]
    assert (kind.distance(one, seven), kind.distance(three, one), kind.distance(one, one)) == (1, 2 / 6, 0)
    expected = [ratings.RatingAnswer(overall=n) for n in (1, 2, 4, 5)]
    assert [kind.gold_score(three, answer) for answer in expected] == [0, 1, 1, 0]


def test_hints_point_at_contradictions_only() -> None:
    def hints(ranks: tuple[int, ...], overall: tuple[int | None, ...] | None) -> list[str]:
        return comparisons.KIND.hints(comparisons.RankingAnswer(ranks=ranks, overall=overall))

    assert hints((2, 1, 2), (6, 5, 4)) == ["B is ranked above A but has the lower score (5 and 6)"]
    assert hints((1, 2, 3), (5, 5, None)) == hints((1, 1, 2), (2, 5, 2)) == hints((2, 1, 3), None) == []
    assert ratings.KIND.hints(ratings.RatingAnswer(overall=1)) == []


def test_screening_flags_score_as_trusted_people_do() -> None:
    task = questions.ScreeningQuestion(prompt=PROMPT, part="sensitive")
    label = label_of("label.screening", task, {"sensitive": True}, ())
    scores = [
        questions.KIND.gold_score(label, questions.ScreeningAnswer(sensitive=flag)) for flag in (True, False)
    ]
    assert scores == [1, 0]
    assert questions.KIND.gold_score(label, questions.ScreeningAnswer(groups={"old": 5})) is None


def test_what_a_set_is_called() -> None:
    assert ratings.KIND.subtitle("demo/label.ratings.second/abc") == "demo, second"
    assert ratings.KIND.subtitle("demo/label.ratings/abc") == "demo"
    assert questions.KIND.subtitle("demo/label.screening/groups/abc") == "Which groups do you know?"
    assert questions.KIND.subtitle("demo/label.screening/sensitive/abc") == "Which texts are sensitive?"


def test_answers_that_do_not_fit_are_refused() -> None:
    question = rulechecks.RuleCheckTask(prompt=PROMPT, answers=THREE[:1], rule=RULE)
    rulechecks.KIND.check(question, rulechecks.RuleCheckAnswer(level="unsure", turn=0))
    with pytest.raises(UserError, match="turn 1: the dialogue has 1 messages"):
        rulechecks.KIND.check(question, rulechecks.RuleCheckAnswer(level="unsure", turn=1))
    probe = probes.ProbeQuestion(rule=RULE, turns=1)
    probes.KIND.check(probe, probes.ProbeAnswer(messages=TALK, level="unsure"))
    with pytest.raises(UserError, match="2 turns; must be at most 1"):
        probes.KIND.check(probe, probes.ProbeAnswer(messages=TALK * 2, level="unsure"))


def test_only_some_kinds_are_decided_by_an_admin_or_measured() -> None:
    names = {case.name.removeprefix("label."): kind_of(case.name) for case in CASES}
    assert {name for name, kind in names.items() if not kind.adjudicable} == {"probes", "screening", "turns"}
    assert {name for name, kind in names.items() if kind.has_agreement} == {"comparisons", "ratings"}
    assert {name for name, kind in names.items() if kind.site_fields} == {"probes", "turns"}


def test_an_admins_decision_is_no_independent_ranking() -> None:
    """Two people order both answers alike in all pairs; an admin's reversed ranking changes nothing about
    their agreement."""
    people = [Person(f"id-{n}", f"p{n}", "training", False) for n in range(3)]
    first, second, admin = (
        ranking(*ranks)._replace(person=person)
        for person, ranks in zip(people, ((1, 2, 3), (1, 2, 3), (3, 2, 1)), strict=True)
    )
    figures = comparisons.agreement_of([first, second, admin._replace(decided=True)], seed=1)
    assert (figures["agreement"], figures["agreement_pairs"]) == (1.0, 3)
    assert comparisons.agreement_of([first, second, admin], seed=1)["agreement"] == pytest.approx(3 / 9)
    assert comparisons.agreement_of([first], seed=1) == {}
