"""Languages: many texts together get what each gets alone."""

from __future__ import annotations

import pytest

from biddable.curate.prompts import language

pytest.importorskip("py3langid")
TEXTS = [
    "Why is the sea salt, and why are rivers not?",
    "Warum ist das Meer salzig, und warum sind es die Flüsse nicht?",
    "Pourquoi la mer est-elle salée, et pourquoi les rivières ne le sont-elles pas ?",
    "なぜ海は塩辛いのですか。",
    "Зашто је море слано?",
    "Zašto je more slano, a reke nisu?",
    "WHY IS THE SEA SALT?",
    "",
    "?",
    "12345",
    "\udcff broken",
    "a" * 1000,
    "word " * 300,
]


def test_together_as_alone() -> None:
    assert language._tables() is not None
    alone = [language.identify(text) for text in TEXTS]
    for times in (1, 40):  # more than are looked at together
        together = list(language.identify_all(TEXTS * times))
        assert [code for code, _ in together] == [code for code, _ in alone] * times
        assert [sure for _, sure in together] == pytest.approx([sure for _, sure in alone] * times, abs=2e-3)
    assert list(language.identify_all([])) == []


def test_another_version_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "_tables", lambda: None)
    assert list(language.identify_all(TEXTS[:2])) == [language.identify(text) for text in TEXTS[:2]]
