"""Stages and settings read from source are those that pydantic sees."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest

from biddable.run import catalog
from biddable.run.config import input_fields, is_optional
from biddable.run.errors import MissingPackage

STAGES = sorted(catalog.stage_names())


def test_stages_are_the_files_with_a_config() -> None:
    assert {"learn.ppo", "measure.report", "label.comparisons", "serve.api"} <= set(STAGES)
    assert not {"learn.losses", "label.queue", "measure.statistics"} & set(STAGES)
    assert {name for name in STAGES if catalog.is_site(name)} == {"label.site", "serve.api"}


@pytest.mark.parametrize("name", STAGES)
def test_settings_are_those_of_the_class(name: str) -> None:
    config = catalog.import_stage(name).Config
    settings = catalog.settings(name)
    assert sorted(setting.name for setting in settings) == sorted(config.model_fields)
    for setting in settings:
        field = config.model_fields[setting.name]
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        assert setting.default == json.loads(json.dumps(default, default=str)), setting.name
        assert setting.description.split() == (field.description or "").split()
        assert setting.optional == is_optional(config, setting.name), setting.name
        assert setting.is_input == (setting.name in input_fields(config)), setting.name
    assert catalog.renamed_settings(name) == config.renamed


SOURCE = '''
from biddable.run.config import Settings
from typing import ClassVar
class First(Settings):
    a: int = 1
    """A."""
    both: str | None = "first"
    renamed = {"old_a": "a"}
class Second(Settings):
    b: tuple[int, ...] = (1, 2)
    both: str | None = "second"
    renamed: ClassVar[dict[str, str]] = {"old_b": "b"}
class Config(First, Second):
    c: float = 0.5
    note: ClassVar[int] = 3
    renamed = First.renamed | {**Second.renamed, "old_c": "c"}
'''


def test_two_bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "made_up.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.setattr(catalog, "PACKAGE", tmp_path)
    space: dict[str, object] = {}
    exec(SOURCE, space)
    config = space["Config"]
    settings = catalog.settings("room.made_up")
    assert [setting.name for setting in settings] == ["c", "a", "both", "b"]  # its own, then its bases'
    assert sorted(config.model_fields) == ["a", "b", "both", "c"]  # type: ignore[attr-defined]
    assert config.model_fields["both"].default == "first"  # type: ignore[attr-defined]
    assert {setting.name: setting.default for setting in settings} == {
        "a": 1, "both": "first", "b": [1, 2], "c": 0.5,
    }  # fmt: skip
    names = {"old_a": "a", "old_b": "b", "old_c": "c"}
    assert catalog.renamed_settings("room.made_up") == names == config.renamed  # type: ignore[attr-defined]


def test_a_stage_that_is_gone_has_no_renamed_settings() -> None:
    assert catalog.renamed_settings("learn.gone") == {}


def test_the_extra_that_brings_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = [
        "pydantic>=2.9",
        'torch>=2.6; extra == "learn"',
        'prometheus-client>=0.20; extra == "serve"',
        'psycopg[binary]>=3.1; extra == "postgres"',
        'pytest>=8; extra == "dev"',
    ]
    monkeypatch.setattr(catalog.metadata, "requires", lambda name: requirements)
    extras = {p: catalog.extra_of(p) for p in ("torch", "prometheus_client", "psycopg", "pytest", "spacy")}
    assert extras == {
        "torch": "learn",
        "prometheus_client": "serve",
        "psycopg": "postgres",
        "pytest": "all",
        "spacy": "all",
    }
    error = catalog.missing_package("measure.text", ModuleNotFoundError("no", name="torch.nn"))
    assert isinstance(error, MissingPackage) and error.install == "pip install 'biddable[learn]'"
    ours = ModuleNotFoundError("no", name="biddable.learn.gone")
    assert catalog.missing_package("learn.ppo", ours) is ours

    def unknown(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(catalog.metadata, "requires", unknown)
    assert catalog.extra_of("torch") == "all"
