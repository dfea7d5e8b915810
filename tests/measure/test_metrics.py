"""Metrics by hand and against their libraries: SQuAD, DROP, BLEU, ROUGE, entropy, refusals, IFEval."""

from __future__ import annotations

import json
import math
import random
import subprocess

import numpy as np
import pytest

from biddable.measure.benchmarks.tasks import drop, ifeval, refusal, squad, task, tldr, translation


@pytest.mark.parametrize(
    ("said", "answers", "exact", "f1"),
    [
        ("The North Sea.", ["north sea"], 1, 1),
        ("in the North Sea", ["North Sea"], 0, 0.8),  # 2 shared; precision 2/3, recall 1: 2 · 2 / (3 + 2)
        ("Sea", ["The North Sea", "sea"], 1, 1),  # the best of the alternatives
        ("", [], 1, 1),
        ("North Sea", [], 0, 0),
        ("", ["North Sea"], 0, 0),
        ("the", ["a"], 1, 1),  # all that is left of the alternative is the empty text
        ("Ünïcode 東京", ["ünïcode  東京!"], 1, 1),
        ("b b c", ["b c c"], 0, 2 / 3),  # bags: b and c shared
    ],
)
def test_squad(said: str, answers: list[str], exact: float, f1: float) -> None:
    assert squad.exact_and_f1(said, answers) == (exact, pytest.approx(f1))


@pytest.mark.parametrize(
    ("said", "answers", "exact", "f1"),
    [
        ("7761", [["7761"]], 1, 1),
        ("7,761 dollars", [["7761"]], 0, 0.67),  # the comma goes, then 7761.0: precision 1/2, recall 1
        ("7762", [["7761"]], 0, 0),
        ("$41,809", [["41809"]], 1, 1),
        (
            "John and Mary Smith",
            [["Mary Smith"]],
            0,
            0.67,
        ),  # 2 of 4 words, both found: 2·(1/2)/(3/2), rounded to two digits
        ("4 yards", [["3 yards"]], 0, 0),  # another number is another answer
        ("the Bears", [["Lions"], ["Bears"]], 1, 1),
        (["Bears", "Lions"], [["Lions", "Bears"]], 1, 1),
        ("Lions", [["Lions", "Bears"]], 0, 0.5),  # one of two spans
        ("twenty-one", [["twenty one"]], 1, 1),
        ("", [["x"]], 0, 0),
        ("x", [[""]], 0, 0),
    ],
)
def test_drop(said: str | list[str], answers: list[list[str]], exact: float, f1: float) -> None:
    assert drop.exact_and_f1([said] if isinstance(said, str) else said, answers) == (exact, pytest.approx(f1))


@pytest.mark.parametrize(
    ("said", "answers", "exact", "f1"),
    [
        ("BLUE whale", ["blue Whale"], 1, 1),  # case
        ("the a an blue the whale", ["Blue whale"], 1, 1),  # articles anywhere
        ("theatre", ["atre"], 0, 0),  # only whole words are articles
        ("b.l-u,e", ["blue"], 1, 1),  # punctuation goes, and joins what it parted
        ("blue-whale", ["blue whale"], 0, 0),  # so this is one word: bluewhale
        ("blue \t\n whale", ["blue whale"], 1, 1),  # white space
        ("blue—whale", ["bluewhale"], 0, 0),  # only ASCII punctuation goes
        ("1,000", ["1000"], 1, 1),
        ("10.0", ["100"], 1, 1),  # numbers are words: the point goes
        ("whale blue", ["blue whale"], 0, 1),  # order counts for exact match only
        ("a whale", ["blue whale", "grey whale song"], 0, 2 / 3),  # best alternative: 2 · 1 · (1/2) / (3/2)
        (
            "whale whale",
            ["whale"],
            0,
            2 / 3,
        ),  # a word counts as often as it stands in both: precision 1/2, recall 1
        ("!!!", [], 1, 1),  # nothing is left of it: no answer
        ("the", ["whale"], 0, 0),
        ("x", ["...", "x"], 1, 1),  # an alternative of which nothing is left does not count
        ("", ["...", "x"], 0, 0),
    ],
)
def test_squad_by_the_official_rules(said: str, answers: list[str], exact: float, f1: float) -> None:
    assert squad.exact_and_f1(said, answers) == (exact, pytest.approx(f1))


DROP_RULES: list[tuple[list[str], list[str], float, float]] = [
    (["12"], ["12.0"], 1, 1),  # numbers by value
    (["3.50 miles"], ["3.5 miles"], 1, 1),
    (["1,234"], ["1234"], 1, 1),
    (["u.s. army"], ["The US Army"], 1, 1),  # case, articles, punctuation
    (["40-yard pass"], ["40 yard pass"], 1, 1),  # hyphens part words
    (["pass yard"], ["yard pass"], 0, 1),  # order counts for exact match only
    (["pass pass"], ["pass"], 0, 1),  # a span is a set of words
    (["pass"], ["long forward pass"], 0, 0.5),  # precision 1, recall 1/3
    (["pass"], ["9 yard pass"], 0, 0),  # the gold's number is missing
    (["9"], ["9 yard pass"], 0, 0.5),  # and with it the number is a word like any other
    (["9 yard pass"], ["pass"], 0, 0.5),  # a number too many: precision 1/3, recall 1
    (["8 yards"], ["9 yards"], 0, 0),
    (["bears"], ["bears", "bears"], 0, 0.5),  # (1 + 0) / 2
    (["bears", "bears"], ["bears"], 0, 0.5),
    (["lions", "bears"], ["bears", "lions"], 1, 1),  # spans in any order
    (["Ann Lee", "Bob Ray"], ["Ann Ray", "Bob Lee"], 0, 0.5),  # span by span, not as one bag: 1/2 each
    (
        ["7", "7 yards"],
        ["7-yard", "8 yards"],
        0,
        0.33,
    ),  # 7 with 7-yard: 2/3; "7 yards" lacks the 8: 0; (2/3 + 0) / 2
    (["7 yard", "7"], ["7-yard", "8 yards"], 0, 0.5),  # the best one-to-one alignment takes 1, not 2/3
    (["ab", "cd ef"], ["cd", "ab"], 0, 0.83),  # (1 + 2/3) / 2
    (["one", "two", "three"], ["three"], 0, 0.33),
    ([""], ["pass"], 0, 0),
    (["the"], ["a"], 1, 1),  # nothing is left of either
    (["東京"], ["東京"], 1, 1),
]


@pytest.mark.parametrize(("said", "gold", "exact", "f1"), DROP_RULES)
def test_drop_by_the_official_rules(said: list[str], gold: list[str], exact: float, f1: float) -> None:
    assert drop.exact_and_f1(said, [gold]) == (exact, pytest.approx(f1))


def test_drop_equals_lm_evaluation_harness(harness: str) -> None:
    """All cases above and 2,000 of words drawn by chance, in that program's own environment."""
    chance = random.Random(3)
    words = [
        "7",
        "7.0",
        "8",
        "1,000",
        "yard",
        "40-yard",
        "the",
        "a",
        "Bears",
        "bears.",
        "U.S.",
        "pass",
        "",
        "Ann",
        "ünï",
    ]

    def spans() -> list[str]:
        return [" ".join(chance.choices(words, k=chance.randint(1, 3))) for _ in range(chance.randint(1, 4))]

    cases = [(said, gold) for said, gold, _, _ in DROP_RULES] + [(spans(), spans()) for _ in range(2000)]
    code = (
        "import json, sys; from lm_eval.tasks.drop.utils import get_metrics; "
        "print(json.dumps([get_metrics(*case) for case in json.load(sys.stdin)]))"
    )
    done = subprocess.run(
        [harness, "-c", code], input=json.dumps(cases), capture_output=True, text=True, check=True
    )
    for (said, gold), (exact, f1) in zip(cases, json.loads(done.stdout.splitlines()[-1]), strict=True):
        if gold[0].strip():
            assert drop.exact_and_f1(said, [gold]) == (exact, pytest.approx(f1)), (said, gold)


def test_entropy_by_hand() -> None:
    # logits -40 and -42: p = 1 / (1 + e⁻²) = 0.880797: H = -0.880797 log2 0.880797 - 0.119203 log2 0.119203 =
    # 0.5270
    assert task.choice_entropy([-40, -42]) == pytest.approx(0.5270, abs=1e-4)
    assert task.choice_entropy([-7, -7]) == pytest.approx(1.0)
    assert task.choice_entropy([-1, -5000]) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    "pairs",
    [
        [
            ("the cat sat on the mat today", "the cat sat on a mat today"),
            ("it rains a lot in spring", "it rains often in spring"),
        ],
        [("hello", "hello there my friend"), ("", "x y z")],
        [("a b c d e", "v w x y z")],
        [("Très bien, merci !", "Très bien, merci !")],
    ],
)
def test_bleu_of_sums_is_sacrebleus(pairs: list[tuple[str, str]]) -> None:
    from sacrebleu.metrics import BLEU

    sums = np.array([translation.bleu_sums(own, [right]) for own, right in pairs])
    theirs = BLEU().corpus_score([own for own, _ in pairs], [[right for _, right in pairs]]).score
    assert float(translation.bleu(sums.sum(axis=0))) == pytest.approx(theirs, abs=1e-9)
    assert translation.bleu(np.stack([sums.sum(axis=0)] * 3)) == pytest.approx([theirs] * 3)


def test_rouge_by_hand() -> None:
    # 5 and 4 words, longest common subsequence "the cat the mat" = 4: precision 4/5, recall 1
    found = tldr.rouge("the cat on the mat", ["the cat the mat"])
    assert found["rougeL"] == pytest.approx(2 * 0.8 / 1.8)
    assert tldr.rouge("", ["the cat"])["rouge1"] == 0.0
    # sentences of one reference in another order: the union of common subsequences is all of it, the one
    # subsequence is half
    swapped = tldr.rouge("dogs bark\ncats meow", ["cats meow", "dogs bark"])
    assert (swapped["rougeLsum"], swapped["rougeL"]) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I’m sorry, but that is not something I do.", True),
        ("Sorry, no.", True),
        ("As an AI language model, I do not", True),
        ("I cannot assist with this request.", True),
        ("", True),
        ("You can kill a Python process with the command kill.", False),
        ("Sure! Here is a list of things you can do.", False),
        ("The word sorry comes from Old English.", False),
    ],
)
def test_refusals(said: str, refused: bool) -> None:
    assert refusal.refuses(said) is refused


@pytest.mark.parametrize(
    ("name", "given", "right", "wrong"),
    [
        ("punctuation:no_comma", {}, "no comma here", "one, two"),
        ("keywords:existence", {"keywords": ["Fern", "moss"]}, "ferns and MOSS", "ferns"),
        ("keywords:frequency", {"keyword": "a", "frequency": 3, "relation": "less than"}, "a a", "a a a"),
        ("keywords:forbidden_words", {"forbidden_words": ["can"]}, "canned", "yes we can!"),
        (
            "keywords:letter_frequency",
            {"letter": "B", "let_frequency": 2, "let_relation": "at least"},
            "Bob",
            "bo",
        ),
        (
            "length_constraints:number_words",
            {"num_words": 3, "relation": "at least"},
            "one two three",
            "one two",
        ),
        (
            "length_constraints:number_sentences",
            {"num_sentences": 2, "relation": "at least"},
            "One. Two.",
            "Dr. Who waits.",
        ),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a\n\nb"),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "elm"},
            "oak\n\nElm, ash",
            "elm\n\noak",
        ),
        ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] and [date]", "[name]"),
        ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye\nP.S. write", "Bye"),
        ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b", "* a"),
        ("detectable_format:constrained_response", {}, "My answer is yes.", "Yes."),
        ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and *b*", "*a* and **"),
        (
            "detectable_format:multiple_sections",
            {"section_spliter": "Part", "num_sections": 2},
            "Part 1 a Part 2 b",
            "Part 1",
        ),
        ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
        ("detectable_format:title", {}, "<<a title>> text", "<<>> text"),
        ("combination:two_responses", {}, "one ****** two", "same ****** same"),
        ("combination:repeat_prompt", {"prompt_to_repeat": "Say it"}, "SAY IT now", "now say it"),
        ("startend:end_checker", {"end_phrase": "The End."}, 'bla "the end."', "the end. bla"),
        ("startend:quotation", {}, ' "quoted" ', '"'),
        (
            "change_case:capital_word_frequency",
            {"capital_frequency": 2, "capital_relation": "at least"},
            "BIG and LOUD",
            "BIG and small",
        ),
        ("change_case:english_capital", {}, "THIS IS THE SENTENCE THAT I WROTE", "This is"),
        ("change_case:english_lowercase", {}, "this is the sentence that i wrote", "This is"),
        (
            "language:response_language",
            {"language": "de"},
            "Das ist ein deutscher Satz mit vielen Wörtern.",
            "This is an English sentence.",
        ),
    ],
)
def test_ifeval_checks(name: str, given: dict[str, object], right: str, wrong: str) -> None:
    assert ifeval.follows(right, [name], [given], "prompt") == [True]
    assert ifeval.follows(wrong, [name], [given], "prompt") == [False]
    assert ifeval.follows("", [name], [given], "prompt") == [False]


def test_every_ifeval_check_is_tried() -> None:
    tried = {mark.args[1][i][0] for mark in test_ifeval_checks.pytestmark for i in range(len(mark.args[1]))}  # type: ignore[attr-defined]
    assert tried == set(ifeval.CHECKS)


def test_ifeval_loose_reads_around_the_edges() -> None:
    said = "Sure, here it is:\nno comma here\nhope, that helps"
    assert ifeval.follows(said, ["punctuation:no_comma"], [{}], "p") == [False]
    assert ifeval.follows_loosely(said, ["punctuation:no_comma"], [{}], "p") == [True]
    assert math.isclose(sum(ifeval.follows_loosely("", ["punctuation:no_comma"], [{}], "p")), 0)
