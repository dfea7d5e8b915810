"""Settings: every mistake of a file at once, one line each with what would be right; the order of stages
follows from the arrows."""

from __future__ import annotations

from pathlib import Path

import pytest

from biddable.run.config import UserError
from biddable.run.plan import Plan, load_plan

PROMPTS = '{"id":"a","messages":[{"role":"user","content":"Why?"}],"user":"u"}\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.jsonl").write_text(PROMPTS, encoding="utf-8")
    return tmp_path


def plan(text: str) -> Plan:
    file = Path("my.toml")
    file.write_text(text, encoding="utf-8")
    return load_plan(file)


def mistakes(text: str) -> list[str]:
    with pytest.raises(UserError) as refusal:
        plan(text)
    return refusal.value.lines


FILES = '[collect.files]\nfiles = ["prompts.jsonl"]\n'


def test_a_plain_table_is_enough(folder: Path) -> None:
    found = plan("[curate.prompts]\n" + FILES)
    assert [stage.key for stage in found.stages] == [
        "collect.files",
        "curate.prompts",
    ]  # by arrows, not by place
    assert (found.name, found.seed, found.folder) == ("my", 1, Path("runs/my"))
    curate = found.stage("curate.prompts")
    assert curate.config.prompts == Path("runs/my/collect.files")
    assert curate.settings["prompts"] == "collect.files"  # the name is kept, the path is resolved
    assert curate.inputs == {
        "prompts": [("collect.files", Path("runs/my/collect.files"))],
        "more_prompts": [],
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("nmae = 'x'\n", "my.toml: nmae = \"x\": unknown key; did you mean 'name'?"),
        ("seed = -1\n", "my.toml: seed = -1: must be a whole number from 0 to 2147483647"),
        (
            "name = '../x'\n",
            "my.toml: name = '../x': must be a folder name of letters, digits, '.', '_' and '-'",
        ),
        ("learn = 3\n", "my.toml: learn = 3: must be tables such as [learn.NAME]"),
        ("curate.prompts = 3\n", "my.toml: curate.prompts = 3: must be a table [curate.prompts]"),
        (
            "[curate.prompt]\n",
            "my.toml: [curate.prompt]: there is no such stage; did you mean 'curate.prompts'?",
        ),
        (
            FILES + "[curate.prompts]\nvalid_shar = 0.1\n",
            "my.toml: [curate.prompts] valid_shar = 0.1: unknown key; did you mean 'valid_share'?",
        ),
        (
            FILES + "[curate.prompts]\nvalid_share = 'a lot'\n",
            'my.toml: [curate.prompts] valid_share = "a lot": Input should be a valid number',
        ),
        (
            FILES + "[curate.prompts]\nvalid_share = 1.5\n",
            "my.toml: [curate.prompts] valid_share = 1.5: Input should be less than",
        ),
        (
            FILES + "[curate.prompts]\nvalid_share = nan\n",
            "my.toml: [curate.prompts] valid_share = NaN: Input should be a finite number",
        ),
        (
            "[collect.files]\nfiles = 'prompts.jsonl'\n",
            'my.toml: [collect.files] files = "prompts.jsonl": Input should be a valid array',
        ),
        (
            "[collect.files]\nfiles = ['prompt.jsonl']\n",
            'my.toml: [collect.files] files = "prompt.jsonl": neither a table of this file nor a folder or '
            "file",
        ),
        (
            "[curate.prompts]\n",
            'my.toml: [curate.prompts] prompts = "collect.files": neither a table of this file nor a folder '
            "or file; "
            "add [collect.files] or name a folder",
        ),
        (
            FILES + "[curate.prompts]\nprompts = 'collect.file'\n",
            "did you mean 'collect.files'?",
        ),
        (
            FILES + "[curate.prompts]\nodd = {x = 1}\n",
            'my.toml: [curate.prompts] odd = {"x": 1}: unknown key',
        ),
        ("name = \n", "my.toml: not a TOML file: Invalid value (at line 1, column 8)"),
    ],
)
def test_a_mistake_is_one_line(folder: Path, text: str, line: str) -> None:
    found = mistakes(text)
    assert len(found) == 1
    assert line in found[0]


def test_all_mistakes_of_a_file_at_once_and_nothing_written(folder: Path) -> None:
    before = sorted(folder.iterdir())
    found = mistakes(
        "seed = 'x'\nowner = 1\n" + FILES + "limt = 3\n[curate.prompts]\nvalid_share = 2\ntest_share = 'x'\n"
        "[learn.pop]\n[label.ratings]\nreplies = 'nowhere'\n"
    )
    joined = "\n".join(found)
    for word in ("seed", "owner", "limt", "valid_share", "test_share", "learn.pop", "nowhere"):
        assert joined.count(f"{word}") == 1, joined
    assert len(found) == 7
    assert sorted(folder.iterdir()) == sorted([*before, folder / "my.toml"])


def test_files_that_cannot_be_read(folder: Path) -> None:
    for path, word in (
        (Path("none.toml"), "no such file; `biddable new none.toml`"),
        (folder, "is a folder"),
    ):
        with pytest.raises(UserError, match=word):
            load_plan(path)
    Path("bytes.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(UserError, match="not a TOML file"):
        load_plan(Path("bytes.toml"))


def test_a_circle_is_refused(folder: Path) -> None:
    text = (
        '[learn.start]\nmodel = "tiny"\n' + FILES + "[curate.prompts]\n"
        "[learn.sft]\ndemonstrations = 'label.demonstrations'\n"
        "[learn.replies]\npolicies = ['learn.sft']\n[label.demonstrations]\nreplies = 'learn.replies'\n"
    )
    found = mistakes(text)
    assert len(found) == 1
    assert "the inputs run in a circle through [" in found[0]
    for key in ("[learn.sft]", "[learn.replies]", "[label.demonstrations]"):
        assert key in found[0]
    assert "[learn.start]" not in found[0]


def test_a_stage_used_twice(folder: Path) -> None:
    (folder / "more.jsonl").write_text(PROMPTS, encoding="utf-8")
    both = plan(
        FILES + "[collect.files.more]\nfiles = ['more.jsonl']\n[curate.prompts]\n[curate.prompts.more]\n"
        "prompts = 'collect.files.more'\n"
    )
    assert [s.key for s in both.stages] == [
        "collect.files",
        "collect.files.more",
        "curate.prompts",  # empty, beside a twin: still a stage
        "curate.prompts.more",
    ]
    assert both.stage("curate.prompts.more").name == "curate.prompts"
    only = plan("[collect.files.more]\nfiles = ['more.jsonl']\n")
    assert [s.key for s in only.stages] == ["collect.files.more"]


def test_exceptions_replace_settings_and_a_name_moves_one_stage(folder: Path) -> None:
    Path("my.toml").write_text(FILES + "[curate.prompts]\nvalid_share = 0.2\n", encoding="utf-8")
    found = load_plan(Path("my.toml"), {"curate.prompts": {"valid_share": 0.3}}, "other", "curate.prompts")
    assert [s.key for s in found.stages] == ["curate.prompts"]
    assert found.folder == Path("runs/other")
    assert found.stages[0].config.valid_share == 0.3
    assert found.stages[0].config.prompts == Path(
        "runs/my/collect.files"
    )  # inputs stay those of the file's own run
    with pytest.raises(UserError, match=r"no table \[curate.prompt\]; did you mean 'curate.prompts'"):
        load_plan(Path("my.toml"), {"curate.prompt": {}})
    with pytest.raises(UserError, match="valid_shar"):
        load_plan(Path("my.toml"), {"curate.prompts": {"valid_shar": 0.3}})
    with pytest.raises(UserError, match=r"name = 'a/b'"):
        load_plan(Path("my.toml"), None, "a/b", "curate.prompts")


def test_a_next_round_names_folders_of_the_last(folder: Path) -> None:
    (folder / "runs/first/collect.files").mkdir(parents=True)
    found = plan('name = "second"\n[curate.prompts]\nprompts = "runs/first/collect.files"\n')
    assert found.stages[0].config.prompts == Path("runs/first/collect.files")


def test_none_switches_an_optional_setting_off(folder: Path) -> None:
    (folder / "d").mkdir()
    text = "[learn.reward]\npolicy = 'd'\ncomparisons = 'd'\n"
    stages = plan(text + "demonstrations = 'none'\n").stages
    assert stages[0].config.demonstrations is None
    assert "demonstrations" not in stages[0].inputs and stages[0].settings["demonstrations"] is None
    found = mistakes(text + "demonstrations = 'label.demonstrations'\n")
    assert len(found) == 1 and 'demonstrations = "label.demonstrations"' in found[0]
    assert plan(text).stages == stages, "it may be left out where there is no such table"
    (folder / "label.demonstrations").mkdir()
    assert plan(text).stages[0].config.demonstrations == Path("label.demonstrations")
    (folder / "label.demonstrations").rmdir()
    found = mistakes(text + "demonstrations = ''\n")
    assert len(found) == 1 and found[0].endswith('; "none" switches an optional setting off')


def test_none_stays_a_text_where_nothing_can_be_switched_off(folder: Path) -> None:
    (folder / "none").mkdir()
    stages = plan(FILES + "[curate.prompts]\nprompts = 'none'\n").stages
    assert stages[1].config.prompts == Path("none")


def test_the_score_of_answers_without_an_end_can_be_none(folder: Path) -> None:
    (folder / "d").mkdir()
    ppo = "[learn.ppo]\npolicy = 'd'\nreward = 'd'\nprompts = 'd'\ntext = 'none'\nptx_coef = 0.0\n"
    config = plan(ppo).stages[0].config
    assert config.text is None and config.missing_eos_score == -1.0
    assert plan(ppo + "missing_eos_score = 'none'\n").stages[0].config.missing_eos_score is None


def test_a_former_name_is_one_line(folder: Path) -> None:
    (folder / "d").mkdir()
    ppo = "[learn.ppo]\npolicy = 'd'\nreward = 'd'\nprompts = 'd'\ntext = 'none'\nptx_coef = 0.0\n"
    assert mistakes(ppo + "smoothing = 0.9\n") == [
        "my.toml: [learn.ppo] smoothing = 0.9: unknown key; it is called gae_lambda now"
    ]


START = '[learn.start]\nmodel = "tiny"\n[curate.prompts]\n' + FILES
PPO = '[learn.ppo.plain]\npolicy = "learn.start"\nptx_coef = 0\ntext = "none"\n'


def test_arrows_in_an_array_of_tables(folder: Path) -> None:
    """They count as inputs of the setting, are resolved where they stand, and order the stages."""
    (folder / "other").mkdir()
    terms = (
        '[[learn.ppo.plain.reward]]\nscorer = "learn.start"\nweight = 0.5\nbudget = "none"\n'
        '[[learn.ppo.plain.reward]]\nensemble = ["other", "learn.start"]\n[[learn.ppo.plain.reward]]\nlength = true\n'
    )
    stage = plan(PPO + terms + START).stage("learn.ppo.plain")
    start, elsewhere = Path("runs/my/learn.start"), Path("other")
    assert stage.inputs["reward"] == [("learn.start", start), ("other", elsewhere), ("learn.start", start)]
    first, second, third = stage.config.reward
    assert (first.scorer, first.weight, first.budget) == (start, 0.5, None)
    assert second.ensemble == (elsewhere, start) and third.length
    assert stage.settings["reward"][0]["scorer"] == "learn.start"  # names are kept, paths are resolved
    assert [s.key for s in plan(PPO + terms + START).stages][-1] == "learn.ppo.plain"


def test_the_short_form_stays_a_text(folder: Path) -> None:
    stage = plan(PPO + 'reward = "learn.start"\n' + START).stage("learn.ppo.plain")
    assert stage.settings["reward"] == "learn.start"
    assert stage.config.reward == Path("runs/my/learn.start")


@pytest.mark.parametrize(
    ("term", "line"),
    [
        ('scorer = "learn.strat"', '[learn.ppo.plain] reward = "learn.strat": neither a table'),
        (
            "length = true\nweigth = 1",
            "[learn.ppo.plain] reward.0.weigth = 1: Extra inputs are not permitted",
        ),
        (
            'length = true\nweight = "much"',
            '[learn.ppo.plain] reward.0.weight = "much": Input should be a valid number',
        ),
        (
            "length = true\nweight = nan",
            "[learn.ppo.plain] reward.0.weight = NaN: Input should be a finite number",
        ),
        ("weight = 1.0", "must name exactly one of scorer, ensemble, rules"),
    ],
)
def test_mistakes_in_an_array_of_tables(folder: Path, term: str, line: str) -> None:
    errors = mistakes(PPO + f"[[learn.ppo.plain.reward]]\n{term}\n" + START)
    assert len(errors) == 1 and line in errors[0], errors
