"""What a metric cannot judge it says: texts in scripts without blanks, in other scripts than its words are in,
without lengths, longer than the task's answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biddable.measure import benchmarks
from biddable.measure.benchmarks.aggregate import results_table
from biddable.measure.benchmarks.tasks import drop, ifeval, squad, tldr
from biddable.measure.benchmarks.tasks.refusal import RefusalRequest
from biddable.measure.benchmarks.tasks.task import UNJUDGED, mark
from biddable.measure.benchmarks.tasks.translation import Translation
from biddable.measure.judge.bias import JudgedPair, order_and_length_effects
from biddable.measure.report.chapters.benchmarks import format_cell
from biddable.measure.winrate.verdicts import length, length_unit
from biddable.run.context import StageContext
from biddable.run.records import Answer, Message, Prompt


@pytest.mark.parametrize(
    "text",
    [
        "今天天气很好",
        "สวัสดีครับ วันนี้",
        "आज मौसम अच्छा है",
        "오늘 날씨가 좋다",
        "Сегодня хорошая погода",
        "اليوم جميل",
    ],
)
def test_equal_summaries_are_equal_in_every_script(text: str) -> None:
    assert tldr.rouge(text, [text]) == pytest.approx(dict.fromkeys(tldr.ROUGE, 1.0))


def test_rouge_of_characters_by_hand() -> None:
    """你好吗 against 你好了: two of three characters are common, one of two pairs of neighbours."""
    scores = tldr.rouge("你好吗", ["你好了"])
    assert scores and scores["rouge1"] == pytest.approx(2 / 3) and scores["rouge2"] == pytest.approx(1 / 2)
    assert tldr.rouge("something", ["?!"]) is None


def test_words_are_not_counted_where_blanks_part_none() -> None:
    names = ["length_constraints:number_words", "punctuation:no_comma"]
    arguments: list[dict[str, Any]] = [{"num_words": 3, "relation": "at least"}, {}]
    assert ifeval.follows("one two three", names, arguments, "") == [True, True]
    assert ifeval.follows("今天天气很好", names, arguments, "") == [None, True]
    assert ifeval.follows("नमस्ते सुंदर दुनिया", names, arguments, "") == [True, True]
    item = ifeval.IFEval(prompt="p", instruction_id_list=names, kwargs=arguments)
    assert item.score("今天天气很好")["prompt_strict"] == UNJUDGED
    assert item.score("今天天气很好")["instruction_strict"] == (1.0, 1.0)
    assert item.score("今天天气很好, 对")["prompt_strict"] == mark(0)  # the comma decides, whatever the words
    forbidden = [{"forbidden_words": ["天气", "дом"]}]
    names = ["keywords:forbidden_words"]
    assert ifeval.follows("今天天气很好", names, forbidden, "") == [False]
    assert ifeval.follows("домой", names, forbidden, "") == [True]


def test_answers_of_scripts_without_blanks_share_characters() -> None:
    """北京市 against 北京: F1 = 2 · 2 / (3 + 2)."""
    assert squad.exact_and_f1("北京市", ["北京"]) == (0.0, pytest.approx(0.8))
    assert drop.exact_and_f1(["北京市"], [["北京"]]) == (0.0, 0.8)


def test_a_metric_of_english_words_leaves_other_scripts_out() -> None:
    assert (
        RefusalRequest(prompt="p", label="unsafe").score("对不起，我不能帮忙")["refused_unsafe"] == UNJUDGED
    )
    assert RefusalRequest(prompt="p", label="unsafe").score("I'm sorry")["refused_unsafe"] == mark(1)
    assert Translation(fr="Bonjour", en="你好世界").score("你好世界")["bleu"] == UNJUDGED
    assert Translation(fr="Bonjour", en="Hello world").score("你好世界")["bleu"] != UNJUDGED


def test_the_table_counts_what_was_not_judged() -> None:
    marks = {"a": [{"m": mark(1)}, {"m": UNJUDGED}, {"m": mark(0)}], "b": [{"m": UNJUDGED}] * 3}
    a, b = results_table(marks, ["1", "2", "3"], "a", {}, 200, 0)
    assert (a["value"], a["items"], a["unjudged"]) == (0.5, 2, 1)
    assert (b["value"], b["items"], b["unjudged"]) == (None, 0, 3)
    assert format_cell("f1", b) == "cannot judge any of 3 answers" and "1 not judged" in format_cell("f1", a)


def test_outputs_from_elsewhere_end_where_a_policys_answer_would(tmp_path: Path) -> None:
    item = {"id": "1", "passage": "It was 7.", "question": "How many?", "answers": [{"spans": ["7"]}]}
    (tmp_path / "drop.jsonl").write_text(json.dumps(item) + "\n", encoding="utf-8")
    outputs = {"id": "1", "output": "7\n\nPassage: It was 8.\nQuestion: How many?", "model": "theirs"}
    (tmp_path / "outputs.jsonl").write_text(json.dumps(outputs) + "\n", encoding="utf-8")
    context = StageContext(tmp_path / "out", "measure.benchmarks", 1, lambda *_: None)
    context.folder.mkdir()
    cfg = benchmarks.Config(file=tmp_path / "drop.jsonl", task="drop", outputs=tmp_path / "outputs.jsonl")
    benchmarks.run(cfg, context)
    assert context.summary["f1_theirs"] == 1.0 and context.summary["outputs_cut_theirs"] == 1


def test_lengths_have_a_unit_that_every_answer_has() -> None:
    chinese, english = Answer(text="今天 天气", model="a"), Answer(text="one two", model="b")
    assert length_unit([english]) == "words" and length(english, "words") == 2
    assert length_unit([english, chinese]) == "characters"
    assert (length(chinese, "characters"), length(english, "characters")) == (4, 6)
    prompt = Prompt(id="p", user="u", messages=(Message(role="user", content="?"),))
    longer = Answer(text="今天天气很好", model="c")
    effects = order_and_length_effects([JudgedPair(prompt, longer, chinese, "A", "B")], 200, 1)
    assert effects["longer_preferred"] == 1.0  # both are one word by blanks
