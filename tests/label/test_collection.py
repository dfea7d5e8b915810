"""Collecting labels: task sets keep their names, enough is enough, gold stays gold, and nobody learns which
model answered."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from biddable.label import (
    collection,
    comparisons,
    demonstrations,
    probes,
    prompts,
    queue,
    ratings,
    rulechecks,
)
from biddable.run import catalog, jsonl
from biddable.run.config import Settings, UserError, Waiting
from biddable.run.context import StageContext
from biddable.run.plan import load_plan
from biddable.run.records import Answer, Comparison, Demonstration, Message, Probe, Prompt, Replies
from biddable.store import gold, guidelines
from biddable.store.store import Store, open_store
from biddable.store.types import Person, Task

TASKS = [Task("a-p0", '{"prompt":"x"}', 2), Task("b-p1", '{"prompt":"ä"}', 1)]
FROZEN = [
    (comparisons.Config(), "comparisons/3088ee4de270"),
    (
        comparisons.Config(
            labelers="simulated",
            panel="held_out",
            people=3,
            splits=("valid", "test"),
            limit=7,
            overlap=2,
            double_share=0.00001,
        ),
        "comparisons.judges/859fd5470b49",
    ),
    (demonstrations.Config(), "demonstrations/62e7bafa1326"),
    (
        demonstrations.Config(labelers="simulated", people=4, splits=("train",), limit=2),
        "demonstrations/615f50dbbe1d",
    ),
    (ratings.Config(), "ratings/475abef57fbb"),
    (
        ratings.Config(labelers="simulated", people=3, panel="training", overlap=2, enough=0.5, priority=3),
        "ratings/30d2a415855b",
    ),
    (rulechecks.Config(), "rulechecks/235d809330af"),
    (
        rulechecks.Config(
            rules=Path("rules.toml"), rules_each=2, panel="held_out", overlap=2, splits=("valid",), limit=9
        ),
        "rulechecks/9b45abfbd4f4",
    ),
    (prompts.Config(), "prompts/ae5809087b66"),
    (
        prompts.Config(plain=1, few_shot=2, pairs=3, use_cases=Path("cases.jsonl"), each=4),
        "prompts/399bdc2d2d13",
    ),
    (probes.Config(), "probes/e664dac5aec0"),
    (
        probes.Config(
            endpoint="http://10.0.0.1/v1",
            model="µ",
            rules=Path("r.toml"),
            dialogues=2,
            turns=3,
            panel="held_out",
        ),
        "probes/179e3bfde31c",
    ),
]
"""Names as the first version of November 2026 wrote them into stores."""


@pytest.mark.parametrize(("cfg", "name"), FROZEN, ids=lambda value: value if isinstance(value, str) else "")
def test_a_task_set_keeps_its_name(cfg: Settings, name: str) -> None:
    key = f"label.{name.split('/')[0]}"
    context = StageContext(Path("/tmp/run") / key, key, 3, lambda step, steps, numbers: None)
    assert collection.task_set_name(context, cfg, TASKS) == f"run/label.{name}"


FIXTURE = Path(__file__).parents[1] / "fixtures" / "run_of_november_2026.tar.xz"


def test_a_store_of_november_2026_gives_its_labels_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every label stage of an old run finds its set in the old store: no set is added, and the records come
    out byte for byte."""
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    with open_store(tmp_path / "runs" / "old" / "store.db") as store:
        names = sorted(task_set.name for task_set in store.task_sets())
    keys = [
        name.split("/")[1]
        for name in names
        if name.split("/")[1].startswith("label.") and name.count("/") == 2
    ]
    assert len(keys) == 5
    for key in keys:
        plan = load_plan(Path("old.toml"), only=key)
        stage, file = plan.stage(key), plan.folder / key / f"{key.split('.')[1]}.jsonl"
        before = file.read_bytes()
        file.unlink()
        context = StageContext(plan.folder / key, key, plan.seed, lambda step, steps, numbers: None)
        catalog.import_stage(stage.name).run(stage.config, context)
        assert file.read_bytes() == before, key
    with open_store(tmp_path / "runs" / "old" / "store.db") as store:
        assert sorted(task_set.name for task_set in store.task_sets()) == names


PERSON = Person("ada", "ada-1", "training", False)


def write_replies(folder: Path, prompts: int, answers: int = 3) -> Path:
    """Answers `ANSWER of PROMPT`, each by a model of its own."""
    rows = [
        Replies(
            prompt=Prompt(id=f"p{n}", messages=(Message(role="user", content=f"question {n}"),), user="u"),
            answers=tuple(Answer(text=f"{k} of {n}", model=f"secret-{k}") for k in range(answers)),
        )
        for n in range(prompts)
    ]
    jsonl.write(folder / "replies.jsonl", rows)
    return folder / "replies.jsonl"


def context_in(folder: Path, key: str = "label.comparisons") -> StageContext:
    (folder / key).mkdir(parents=True, exist_ok=True)
    return StageContext(folder / key, key, 3, lambda step, steps, numbers: None)


def rank_by_number(store: Store, person: str, count: int) -> list[queue.AssignedTask]:
    """A person ranks so many tasks of the run's set: the answer with the smallest number first."""
    (name,) = [task_set.name for task_set in store.task_sets() if not task_set.name.endswith("/gold")]
    guideline = store.add_guideline("training", "be helpful")
    answered = []
    while len(answered) < count and (task := queue.next_task(store, name, person)) is not None:
        ranks = tuple(number + 1 for number in task.shown)
        queue.submit(store, task, person, comparisons.RankingAnswer(ranks=ranks), guideline, 1.0)
        answered.append(task)
    return answered


@pytest.mark.parametrize(("enough", "needed"), [(1.0, 10), (0.5, 5), (0.41, 5), (0.4, 4)])
def test_enough_is_rounded_up(enough: float, needed: int, tmp_path: Path) -> None:
    """10 prompts: 0.41 of them are 4.1 labels, so 5 are waited for."""
    context = context_in(tmp_path)
    cfg = comparisons.Config(replies=write_replies(tmp_path, 10), double_share=0.0, enough=enough)
    with pytest.raises(
        Waiting, match=f"^{needed} of {needed} comparisons to go: people of the panel training"
    ):
        comparisons.run(cfg, context)
    with open_store(tmp_path / "store.db") as store:
        store.add_people([PERSON])
        rank_by_number(store, "ada", needed - 1)
    with pytest.raises(Waiting, match=f"^1 of {needed} comparisons to go"):
        comparisons.run(cfg, context)
    with open_store(tmp_path / "store.db") as store:
        rank_by_number(store, "ada", 1)
    comparisons.run(cfg, context)
    rows = jsonl.read(context.path("comparisons.jsonl"), Comparison)
    assert len(rows) == needed and all(row.ranks == (1, 2, 3) for row in rows)
    assert all(answer.model == f"secret-{k}" for row in rows for k, answer in enumerate(row.answers))


def test_gold_is_mixed_in_and_never_becomes_a_record(tmp_path: Path) -> None:
    trusted = {"labeler": "trusted", "panel": "training", "simulated": False, "guideline": "g"}
    rows = [
        Comparison(
            id=f"g{n}",
            prompt=Prompt(id=f"g{n}", messages=(Message(role="user", content=f"gold {n}"),), user="u"),
            answers=tuple(Answer(text=f"{k} of gold {n}", model="secret") for k in range(3)),
            ranks=(1, 5, 5),
            **trusted,  # type: ignore[arg-type]
        )
        for n in range(4)
    ]
    jsonl.write(tmp_path / "gold.jsonl", rows)
    replies, context = write_replies(tmp_path, 8), context_in(tmp_path)
    cfg = comparisons.Config(replies=replies, double_share=0.0, gold=tmp_path / "gold.jsonl", gold_share=0.3)
    with pytest.raises(Waiting, match=r"^8 of 8"):  # gold is not counted
        comparisons.run(cfg, context)
    with open_store(tmp_path / "store.db") as store:
        store.add_people([PERSON])
        tasks = rank_by_number(store, "ada", 100)
        golden = [task for task in tasks if "gold" in task.question]
        assert len(tasks) - len(golden) == 8 and 1 <= len(golden) <= 4
        name = next(task_set.gold for task_set in store.task_sets() if task_set.gold)
        expected = gold.gold_answers(store, name)
        assert {json.loads(answer)["ranks"] == [1, 2, 2] for answer in expected.values()} == {True}
        labels = queue.collected_labels(store, name)
        # 1 2 3 orders both pairs of 1 2 2 alike
        kind = comparisons.KIND
        assert {kind.gold_score(row, kind.expected(expected[row.task])) for row in labels} == {1.0}
    comparisons.run(cfg, context)
    records = jsonl.read(context.path("comparisons.jsonl"), Comparison)
    assert {row.prompt.id for row in records} == {f"p{n}" for n in range(8)}


def test_a_gold_item_is_neither_ordinary_work_nor_there_twice() -> None:
    rows = [
        Replies(
            prompt=Prompt(id=name, messages=(Message(role="user", content="?"),), user="u"),
            answers=(Answer(text="a", model="m"), Answer(text="b", model="m")),
        )
        for name in ("a", "b", "b", "c")
    ]
    answer = comparisons.RankingAnswer(ranks=(1, 2))
    ordinary = [Task(collection.task_id(rows[3]), "{}")]
    with pytest.raises(UserError) as caught:
        collection.gold_tasks(Path("g.jsonl"), [(row, answer) for row in rows], ordinary)
    assert [line.split(" ")[0:3] for line in caught.value.lines] == [
        ["g.jsonl:3:", "prompt", "b"],
        ["g.jsonl:4:", "prompt", "c"],
    ]


def test_what_somebody_is_shown_says_nothing_of_models(tmp_path: Path) -> None:
    """No model's name, no token, no score; the order differs between people and between tasks."""
    context = context_in(tmp_path)
    cfg = comparisons.Config(replies=write_replies(tmp_path, 12, answers=4), overlap=2, double_share=0.0)
    with pytest.raises(Waiting):
        comparisons.run(cfg, context)
    with open_store(tmp_path / "store.db") as store:
        store.add_people([PERSON, Person("bob", "bob-1", "training", False)])
        orders = {}
        for person in ("ada", "bob"):
            for task in rank_by_number(store, person, 12):
                question = comparisons.KIND.question(task)
                number = task.question.split('"content":"question ')[1].split('"')[0]
                texts = [f"{k} of {number}" for k in task.shown]
                assert [answer.text for answer in question.answers] == texts
                assert "secret" not in question.model_dump_json()
                orders[person, number] = task.shown
    assert len(orders) == 24 and len(set(orders.values())) > 6
    assert sum(orders["ada", str(n)] != orders["bob", str(n)] for n in range(12)) > 6


def test_the_same_seed_gives_the_same_simulated_labels_and_another_one_others(tmp_path: Path) -> None:
    replies = write_replies(tmp_path, 20)

    def run(folder: str, seed: int) -> bytes:
        context = context_in(tmp_path / folder)
        context.seed = seed
        comparisons.run(comparisons.Config(replies=replies, labelers="simulated", people=4), context)
        return context.path("comparisons.jsonl").read_bytes()

    first = run("a", 1)
    assert run("b", 1) == first != run("c", 2)


def test_labels_that_an_admin_decided_against_make_no_record() -> None:
    question = Replies(
        prompt=Prompt(id="p", messages=(Message(role="user", content="?"),), user="u"),
        answers=(Answer(text="a", model="m"), Answer(text="b", model="m")),
    ).model_dump_json()
    labels = [
        queue.CollectedLabel(
            f"s#t{n}", "label.comparisons", question, '{"ranks": [1, 2]}', (0, 1), PERSON, "g", stands=n != 1
        )
        for n in (2, 1, 0)
    ]
    rows = collection.records_of(comparisons.KIND, labels, Comparison)
    assert [row.id for row in rows] == ["t0-ada-1", "t2-ada-1"]


def test_what_a_summary_says(tmp_path: Path) -> None:
    """Three records of two people on two prompts, one of them simulated, under two guidelines."""
    rows = [
        Demonstration(
            id=str(number),
            prompt=Prompt(id=name, messages=(Message(role="user", content="?"),), user="u"),
            answer=Answer(text="x", model="people"),
            labeler=labeler,
            simulated=labeler == "sim-1",
            guideline=version,
        )
        for number, (name, labeler, version) in enumerate(
            [("p", "ada-1", "g2"), ("q", "ada-1", "g1"), ("p", "sim-1", "g1")]
        )
    ]
    expected = {"prompts": 2, "labelers": 2, "simulated": True, "guideline": "g1, g2"}
    context = context_in(tmp_path, "label.demonstrations.extra")
    cfg = demonstrations.Config()
    summary = collection.summarise(rows, cfg, context)
    assert summary == {"demonstrations": 3, "panel": "training", **expected}
    summary = collection.summarise(rows, comparisons.Config(replies=tmp_path, panel="held_out"), context)
    assert summary == {"demonstrations": 3, "panel": "held_out", **expected}
    probe = Probe(
        id="x",
        messages=(Message(role="user", content="a"), Message(role="assistant", content="b")),
        model="m",
        rule="r",
        rule_text="t",
        level="unsure",
        labeler="ada-1",
        simulated=False,
        guideline="g1",
    )
    summary = collection.summarise([probe], probes.Config(), context_in(tmp_path, "label.probes"))
    assert summary == {
        "probes": 1,
        "labelers": 1,
        "simulated": False,
        "panel": "training",
        "guideline": "g1",
    }


def test_a_guideline_that_an_admin_wrote_stays_in_force(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db") as store:
        collection.publish_default_guideline(store, "held_out")
        first = guidelines.current_guideline(store, "evaluation")
        assert first is not None and "guideline" in first[1].casefold()
        guidelines.publish_guideline(store, "evaluation", "Ours.")
        collection.publish_default_guideline(store, "held_out")
        current = guidelines.current_guideline(store, "evaluation")
        assert current is not None and current[1] == "Ours."
        assert guidelines.current_guideline(store, "training") is None


def test_an_own_guideline_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "evaluation.md").write_text("Be exact.", encoding="utf-8")
    assert collection.guideline("held_out", tmp_path) == ("evaluation", "Be exact.")
    with pytest.raises(UserError, match=r"training.md: expected the guideline of the panel training"):
        collection.guideline("training", tmp_path)


def test_progress_is_told_every_twenty_simulated_answers(tmp_path: Path) -> None:
    """45 rankings by simulated people: 20, 40 while they work, and where it stands at the end; each of the
    three people gave 15."""
    reports: list[tuple[int, int]] = []
    context = StageContext(
        tmp_path, "label.comparisons", 3, lambda step, steps, numbers: reports.append((step, steps))
    )
    cfg = comparisons.Config(
        replies=write_replies(tmp_path, 45), double_share=0.0, labelers="simulated", people=3
    )
    comparisons.run(cfg, context)
    assert reports == [(20, 45), (40, 45), (45, 45)]
    rows = jsonl.read(context.path("comparisons.jsonl"), Comparison)
    assert (
        sorted(sum(row.labeler == name for row in rows) for name in {row.labeler for row in rows}) == [15] * 3
    )
    with pytest.raises(UserError, match="people = 1: some tasks go to 3 people each; must be at least 3"):
        comparisons.run(
            comparisons.Config(
                replies=tmp_path / "replies.jsonl",
                overlap=3,
                double_share=0.0,
                labelers="simulated",
                people=1,
            ),
            context,
        )


def test_ratings_of_some_prompts_only(tmp_path: Path) -> None:
    """`limit` counts prompts: all steps of a chosen one are rated."""
    rows = [
        Replies(
            prompt=Prompt(id=f"p{n}", messages=(Message(role="user", content="?"),), user="u"),
            answers=(Answer(text=f"{n} {step}", model="m", step=step),),
        )
        for n in range(3)
        for step in (0, 10)
    ]
    jsonl.write(tmp_path / "replies.jsonl", rows)
    (tmp_path / "label.ratings").mkdir()
    context = StageContext(tmp_path / "label.ratings", "label.ratings", 3, lambda step, steps, numbers: None)
    with pytest.raises(Waiting, match=r"^4 of 4 ratings to go"):
        ratings.run(ratings.Config(replies=tmp_path / "replies.jsonl", limit=2), context)
