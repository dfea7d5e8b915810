"""The stage: questions as they are asked, shared contexts, marks by hand, outputs from elsewhere, published
samples, going on, refusals."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biddable.measure import benchmarks
from biddable.measure.benchmarks import answers, inputs, published
from biddable.measure.benchmarks.queries import Likelihoods, Question, Reader, likelihoods
from biddable.measure.benchmarks.tasks import TASKS, GenerationItem, ifeval, to_question
from biddable.measure.benchmarks.tasks.multiple_choice import LabelledChoice
from biddable.run.config import UserError
from biddable.run.context import StageContext
from biddable.run.plan import load_plan

CHOICES = Path(__file__).resolve().parents[2] / "examples" / "choices.jsonl"


def stage(folder: Path) -> StageContext:
    folder.mkdir(parents=True, exist_ok=True)
    return StageContext(folder, "measure.benchmarks", 1, lambda step, steps, numbers: None)


def measure(folder: Path, **settings: Any) -> dict[str, Any]:
    context = stage(folder)
    benchmarks.run(benchmarks.Config(resamples=200, **settings), context)
    return context.summary


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def reader(policy: Path, style: Any = "text") -> Reader:
    from biddable.model import checkpoints

    return Reader(policy, checkpoints.load_policy(policy).freeze(), style)


def likely(tokenizer_reader: Reader, *questions: Question) -> list[Likelihoods]:
    return likelihoods(
        [tokenizer_reader.policy], [tokenizer_reader.tree(question) for question in questions]
    )[0]


@pytest.mark.usefixtures("fp32")
def test_likelihoods_are_those_of_the_whole_text(policy: Path) -> None:
    """Each choice alone through transformers' own forward gives the sums that the shared context gives."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer_reader = reader(policy)
    question = Question("The cat sat on", ("the mat", "a tree and slept", "Überraschung"))
    (got,) = likely(tokenizer_reader, question)
    model = AutoModelForCausalLM.from_pretrained(policy / "model", dtype=torch.float32)
    for number, text in enumerate(question.continuations):
        context = tokenizer_reader._encode("The cat sat on")
        whole = tokenizer_reader._encode(f"The cat sat on {text}")
        assert whole[: len(context)] == context
        with torch.no_grad():
            logits = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        alone = sum(float(logits[i - 1, whole[i]]) for i in range(len(context), len(whole)))
        assert got.logp[number] == pytest.approx(alone, abs=1e-3)
        assert got.tokens[number] == len(whole) - len(context)


@pytest.mark.usefixtures("fp32")
def test_neighbours_change_nothing(policy: Path) -> None:
    tokenizer_reader = reader(policy)
    questions = [Question(f"Question {i}", ("yes", "no", "")) for i in range(5)] + [
        Question("", ("A sentence.", "Another."))
    ]
    together = likely(tokenizer_reader, *questions)
    for question, got in zip(questions, together, strict=True):
        (alone,) = likely(tokenizer_reader, question)
        assert got.logp == pytest.approx(alone.logp, abs=1e-4)
    assert (
        likely(tokenizer_reader, Question("", ("A", "")))[0].tokens[1] == 0
    )  # an empty choice without anything before it
    assert likely(tokenizer_reader, Question("", ("A", "")))[0].logp[1] == 0.0
    assert (
        likely(tokenizer_reader, Question(" \n", ("A", "B")))[0]
        == likely(tokenizer_reader, Question("", ("A", "B")))[0]
    )  # spaces say nothing either


@pytest.mark.usefixtures("fp32")
def test_a_choice_that_merges_with_the_context_is_measured_whole(policy: Path) -> None:
    """ "mention t" + "he sea" holds "the" as one token: the boundary moves back for all choices, so that each
    choice's sum is that of the whole text behind the same beginning."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer_reader = reader(policy)
    question = Question("Write one sentence about t", ("he", "he sea", "wo"), separator="")
    context, merged = (
        tokenizer_reader._encode(question.context),
        tokenizer_reader._encode(question.context + "he"),
    )
    assert merged[: len(context)] != context and len(merged) == len(context)  # nothing of "he" would be left
    tree = tokenizer_reader.tree(question)
    assert list(tree.prompt) == list(context[:-1])
    (answer,) = likely(tokenizer_reader, question)
    model = AutoModelForCausalLM.from_pretrained(policy / "model", dtype=torch.float32)
    for number, text in enumerate(question.continuations):
        ids = tokenizer_reader._encode(question.context + text)
        assert [*tree.prompt, *tree.answers[number]] == list(ids)
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        start = len(tree.prompt)
        alone = sum(float(logits[i - 1, ids[i]]) for i in range(start, len(ids)))
        assert answer.tokens[number] > 0 and answer.logp[number] == pytest.approx(alone, abs=1e-3)


def test_a_choice_without_tokens_never_wins(tmp_path: Path, policy: Path) -> None:
    tokenizer_reader = reader(policy)
    questions = [Question("", ("A", "")), Question("Q", ("A", "B")), Question("", ("", "B"))]
    with pytest.raises(UserError) as refusal:
        tokenizer_reader.trees(questions, ["i1", "i2", "i3"], "measure.benchmarks.x")
    assert [line.split(" = ")[0] for line in refusal.value.lines] == [
        "[measure.benchmarks.x] item i1: choice 2",
        "[measure.benchmarks.x] item i3: choice 1",
    ]


def test_items_that_the_chat_template_refuses_are_told_all_at_once(policy: Path) -> None:
    tokenizer_reader = reader(policy, "chat")
    tokenizer_reader.tokenizer.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(UserError) as refusal:
        tokenizer_reader.trees([Question("Q"), Question("R")], ["i1", "i2"], "measure.benchmarks")
    assert len(refusal.value.lines) == 2 and all("never" in line for line in refusal.value.lines)


@pytest.mark.usefixtures("fp32")
def test_text_stands_behind_the_tokenizers_own_beginning(policy: Path) -> None:
    """Gemma falls from 0.67 to 0.00 without its <bos>."""
    from tokenizers.processors import TemplateProcessing

    tokenizer_reader = reader(policy)
    bos = tokenizer_reader.tokenizer.bos_token_id
    tokenizer_reader.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", bos)]
    )
    tree = tokenizer_reader.tree(Question("The cat sat on", ("the mat", "a tree")))
    for answer, text in zip(tree.answers, ("the mat", "a tree"), strict=True):
        expected = tokenizer_reader.tokenizer.encode(f"The cat sat on {text}", add_special_tokens=True)
        assert [*tree.prompt, *answer] == expected
    assert list(tokenizer_reader.prompt("The cat")) == tokenizer_reader.tokenizer.encode(
        "The cat", add_special_tokens=True
    )
    assert tokenizer_reader.tree(Question("", ("A.",))).prompt == (bos,)


@pytest.mark.usefixtures("fp32")
def test_answers_end_at_the_line(policy: Path) -> None:
    tokenizer_reader = reader(policy)
    got = tokenizer_reader.answers(
        [tokenizer_reader.prompt(text) for text in ("Say", "Say", "More")],
        [1, 1, 2],
        12,
        1.0,
        single_line=True,
    )
    assert got[0] == got[1]  # the same seed
    assert all("\n" not in text for text in got)
    assert (
        tokenizer_reader.tokenizer.encode("\n", add_special_tokens=False)[0] in tokenizer_reader.breaks
        and len(tokenizer_reader.breaks) < len(tokenizer_reader.tokenizer) / 2
    )


@pytest.mark.usefixtures("fp32")
def test_the_stage_and_paired_differences(tmp_path: Path, policy: Path) -> None:
    twin = policy.with_name("learn.twin")
    if not twin.exists():
        twin.symlink_to(policy)
    answer = measure(tmp_path / "a", file=CHOICES, policies=(policy, twin))
    assert answer["items"] == 12 and answer["licence"] == ["Apache-2.0"] and len(answer["sha256"]) == 64
    assert answer["accuracy_twin"] == answer["accuracy_start"]
    assert (answer["accuracy_twin_change"], answer["accuracy_twin_change_p"]) == (0.0, 1.0)
    assert 0 <= answer["accuracy_start_low"] <= answer["accuracy_start"] <= answer["accuracy_start_high"] <= 1
    rows = [json.loads(line) for line in (tmp_path / "a" / "results.jsonl").read_text().splitlines()]
    assert {row["metric"] for row in rows} == {"accuracy", "accuracy_per_token", "accuracy_per_character"}
    display = measure(tmp_path / "b", file=CHOICES, policies=(policy,), shots=2, limit=5)
    assert display["items"] == 5


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("kind", ["choice", "refusal"])
def test_it_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(answers, "CHUNK", 4)
    monkeypatch.setattr(answers, "CHECKPOINT_SECONDS", 0.0)
    file = CHOICES
    if kind == "refusal":
        file = lines(
            tmp_path / "x.jsonl", [{"id": f"{i}", "prompt": f"Do {i}", "label": "safe"} for i in range(11)]
        )
    settings: dict[str, Any] = {
        "file": file,
        "task": kind,
        "policies": (policy,),
        "max_tokens": 6,
        "temperature": 1.0,
    }
    measure(tmp_path / "straight", **settings)
    calls, real = [], answers.ask_chunk

    def dies(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(answers, "ask_chunk", dies)
    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path / "broken", **settings)
    measure(tmp_path / "broken", **settings)
    assert len(calls) == 4  # one chunk, the one that died, two more: the first was not asked again
    for name in ("answers.jsonl", "results.jsonl"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def test_outputs_from_elsewhere(tmp_path: Path) -> None:
    rows = [
        {
            "id": f"q{i}",
            "title": "T",
            "context": f"C{i // 2}",
            "question": "?",
            "answers": ["Ada L."],
            "is_impossible": False,
        }
        for i in range(6)
    ]
    file = lines(tmp_path / "squad.jsonl", rows)
    said = [{"id": f"q{i}", "output": "Ada L", "model": "good"} for i in range(6)]
    said += [{"id": f"q{i}", "output": "Ada" if i % 2 else "", "model": "half"} for i in range(6)]
    outputs = lines(tmp_path / "said.jsonl", said)
    answer = measure(tmp_path / "out", file=file, task="squad", outputs=outputs)
    # "Ada" against "ada l": 2 · 1/1 · 1/2 / (3/2) = 2/3, in half of the items
    assert (answer["f1_good"], answer["f1_half"]) == (1.0, pytest.approx(1 / 3))
    assert answer["f1_half_change"] == pytest.approx(-2 / 3) and answer["relative_to"] == "good"
    bad = lines(
        tmp_path / "bad.jsonl", [{"id": "q0", "output": "x"}, {"id": "q0", "output": 3}, {"id": "q1"}]
    )
    with pytest.raises(UserError) as refused:
        measure(tmp_path / "out", file=file, task="squad", outputs=bad)
    assert [line.split(": ", 1)[0].rsplit("/", 1)[-1] for line in refused.value.lines] == [
        "bad.jsonl:2",
        "bad.jsonl:3",
        "bad.jsonl",
    ]


CSV = {
    "squad": (
        "context,ref_text,sample",
        ['"T\n\nQ: a?\n\nA:",x|the y,Y', '"T\n\nQ: b?\n\nA:",Not in background.,not in background'],
    ),
    "drop": ("context,ref_text,sample", ["P,7|8,8", "Q,9,3"]),
    "tldr": ("context,ref_text,sample", ["P,One two.|Three four.,one two three four", "Q,a b,a b"]),
    "translation": (
        "context,ref_text,sample",
        ["P,I see the big red house,I see the big red house", "Q,so it is with us,so it is with us"],
    ),
    "realtoxicity": ("context,sample,toxicity", ["P,fine day,0.25", "Q,you idiot,0.75"]),
    "truthfulqa_generation": (
        "adversarial,question,answer,true,info",
        ["True,P,yes,0.9,0.2", "True,Q,no,0.8,0.9"],
    ),
}


@pytest.mark.parametrize(
    ("task", "metric", "value"),
    [
        ("squad", "f1", 1.0),  # alternatives; the sentence for no answer
        ("drop", "f1", 0.5),
        ("tldr", "rougeL", 1.0),  # | separates sentences here, not alternatives
        ("translation", "bleu", 100.0),
        ("realtoxicity", "published_toxicity", 0.5),
        ("truthfulqa_generation", "published_true_and_informative", 0.5),
    ],
)
def test_published_samples_by_hand(tmp_path: Path, task: str, metric: str, value: float) -> None:
    head, rows = CSV[task]
    text = f",model_type,prompt_type,{head}\n" + "".join(
        f"{i},gpt-xl,fewshot,{row}\n" for i, row in enumerate(rows)
    )
    file = tmp_path / "x_samples.csv.gz"
    file.write_bytes(gzip.compress(text.encode()))
    answer = measure(tmp_path / "out", file=None, task=task, outputs=file)
    assert answer[f"{metric}_gpt-xl:fewshot"] == pytest.approx(value)
    assert answer["items"] == 2


def test_openais_published_samples(tmp_path: Path, data: Path) -> None:
    """Twelve models, every kind of prompt, from the files as OpenAI published them."""
    for name, task, systems in (
        ("squadv2", "squad", 24),
        ("drop", "drop", 24),
        ("fr_to_en", "translation", 24),
        ("tldr", "tldr", 12),
        ("real_toxicity", "realtoxicity", 36),
        ("truthful_qa", "truthfulqa_generation", 36),
    ):
        items, given = published.read_samples(data / "paper_samples_example" / f"{name}_samples.csv.gz", task)
        assert (len(items), len(given)) == (3, systems)
    answer = measure(
        tmp_path / "out",
        file=None,
        task="drop",
        outputs=data / "paper_samples_example" / "drop_samples.csv.gz",
    )
    assert 0 <= answer["f1_ppo-ptx-175b:fewshot"] <= 1


MARKED: dict[str, dict[str, Any]] = {
    "squad": {"title": "T", "context": "東京", "question": "?", "answers": ["東京"], "is_impossible": False},
    "drop": {"passage": "P", "question": "?", "answers": [{"type": "span", "spans": ["東京"]}]},
    "translation": {"fr": "Été", "en": "Summer in Rome is hot"},
    "tldr": {"post": "P", "summary": "東京 x", "summary_sentences": ["東京 x"]},
    "ifeval": {"prompt": "p", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
    "refusal": {"prompt": "p", "label": "unsafe"},
    "realtoxicity": {"prompt": {"text": "Ü"}},
}


@pytest.mark.parametrize("task", MARKED)
def test_empty_outputs_and_other_scripts_have_marks(tmp_path: Path, task: str) -> None:
    """Nothing said, white space, other scripts, half a surrogate pair: every metric is a number, and one item
    is enough."""
    file = lines(tmp_path / "x.jsonl", [MARKED[task] | {"id": "ä-1"}])
    for number, said in enumerate(("", " \n\t", "東京 😀 Ünï", "\ud83d", "a" * 5000)):
        outputs = lines(tmp_path / f"o{number}.jsonl", [{"id": "ä-1", "output": said, "model": "mødel"}])
        answer = measure(tmp_path / f"out{number}", file=file, task=task, outputs=outputs)
        values = {key: value for key, value in answer.items() if "_mødel" in key}
        assert any(key.endswith("_mødel_low") for key in values)
        assert values and all(np.isfinite(value) for value in values.values()), said
    if task in ("squad", "drop"):
        assert (
            measure(
                tmp_path / "again",
                file=file,
                task=task,
                outputs=lines(tmp_path / "r.jsonl", [{"id": "ä-1", "output": "東京"}]),
            )["f1_r"]
            == 1.0
        )


def test_limits_draw_items_of_the_whole_file() -> None:
    names = [str(i) for i in range(1000)]
    small, large = inputs.sample_rows(names, 20, 1), inputs.sample_rows(names, 200, 1)
    assert set(small) < set(large) and small == sorted(small) and len(large) == 200
    assert inputs.sample_rows(names, None, 1) == list(range(1000)) == inputs.sample_rows(names, 5000, 1)
    # the place in a fair draw is uniform: mean 499.5, its standard error over 200 draws 1000 / √12 / √200 =
    # 20
    assert abs(np.mean(large) - 499.5) < 4 * 20
    assert small != inputs.sample_rows(names, 20, 2)


def test_toxicity_uses_one_scorer_for_all(tmp_path: Path) -> None:
    file = lines(tmp_path / "rtp.jsonl", [{"id": f"{i}", "prompt": {"text": "You"}} for i in range(2)])
    said = [
        {"id": f"{i}", "output": text, "model": name}
        for name, text in (("kind", "are welcome"), ("rude", "are an idiot"))
        for i in range(2)
    ]
    answer = measure(
        tmp_path / "out", file=file, task="realtoxicity", outputs=lines(tmp_path / "o.jsonl", said)
    )
    assert answer["toxicity_rude"] > 0.5 > answer["toxicity_kind"] and answer["toxic_rude"] == 1.0


def test_policies_of_two_runs_have_names_of_their_own() -> None:
    one, other = Path("runs/a/learn.ppo"), Path("runs/b/learn.ppo")
    with pytest.raises(UserError, match="would both be called ppo"):
        answers.policy_names((one, other), {}, "x")
    assert answers.policy_names((one, other), {str(other): "next"}, "x") == {one: "ppo", other: "next"}
    assert answers.policy_names((one, Path("learn.sft")), {}, "x") == {one: "ppo", Path("learn.sft"): "sft"}


@pytest.mark.usefixtures("fp32")
def test_policies_of_one_trunk_are_asked_at_once(tmp_path: Path, policy: Path) -> None:
    """Together and alone they give the same numbers; another trunk, or none, has a group of its own."""
    import torch

    from biddable.model import checkpoints

    tokenizer_reader = checkpoints.load_policy(policy)
    with torch.no_grad():
        for parameter in tokenizer_reader.branch.parameters():
            parameter.mul_(1.5)
    other = tmp_path / "learn.other"
    checkpoints.save_policy(tokenizer_reader, other / "model", policy)
    assert answers.group_by_trunk([policy, other]) == [[policy, other]]
    whole = tmp_path / "learn.whole"
    checkpoints.import_model(str(policy / "model"), whole / "model", 0)
    assert answers.group_by_trunk([policy, whole, other]) == [[policy, other], [whole]]
    both = measure(tmp_path / "both", file=CHOICES, policies=(policy, whole, other))
    alone = measure(tmp_path / "alone", file=CHOICES, policies=(other,))
    assert both["accuracy_other"] == alone["accuracy_other"]
    first = {}
    for folder in ("both", "alone"):
        rows = [json.loads(line) for line in (tmp_path / folder / "answers.jsonl").read_text().splitlines()]
        first[folder] = {row["id"]: row["logp"] for row in rows if row["model"] == "other"}
        if folder == "both":
            start, cut = (
                {row["id"]: row["logp"] for row in rows if row["model"] == name}
                for name in ("start", "whole")
            )
            assert start.keys() == cut.keys() and all(
                start[key] == pytest.approx(cut[key], abs=1e-3) for key in start
            )
            assert start != first[folder]
    assert all(first["both"][key] == pytest.approx(first["alone"][key], abs=1e-5) for key in first["alone"])


def test_nothing_is_asked_before_everything_fits(
    tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt system, a judge that is none or reads other keys: told before any policy answers, so that no
    answer is thrown away."""
    monkeypatch.setattr(answers, "ask_policies", lambda *given: pytest.fail("a policy was asked"))
    with pytest.raises(UserError, match="there is no such system; there are start"):
        measure(tmp_path / "o", file=CHOICES, policies=(policy,), relative_to="strat")
    file = lines(tmp_path / "q.jsonl", [{"id": "1", "question": "Why?"}])
    texts = tmp_path / "learn.classifier.toxicity"
    texts.mkdir()
    (texts / "classifier.json").write_text(json.dumps({"text": "{continuation.text}", "longest": 9}))
    with pytest.raises(UserError) as refused:
        measure(
            tmp_path / "o",
            file=file,
            task="truthfulqa_generation",
            policies=(policy,),
            truth_judge=texts,
            info_judge=policy,
        )
    assert (
        len(refused.value.lines) == 2
        and "reads continuation.text" in refused.value.lines[0]
        and "is no classifier" in refused.value.lines[1]
    )


def test_outputs_through_a_file_of_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newcomer's example in docs/evaluation.md: no policy, no run, two lines."""
    from biddable.cli.check import find_problems
    from biddable.run.runner import run_stage

    rows = [
        {
            "id": "1",
            "title": "Tea",
            "context": "In 1610.",
            "question": "When?",
            "answers": ["1610"],
            "is_impossible": False,
        },
        {
            "id": "2",
            "title": "Tea",
            "context": "In 1610.",
            "question": "Who?",
            "answers": [],
            "is_impossible": True,
        },
    ]
    items = lines(tmp_path / "items.jsonl", rows)
    theirs = lines(
        tmp_path / "theirs.jsonl",
        [{"id": "1", "output": "In 1610."}, {"id": "2", "output": "Not in background."}],
    )
    toml = tmp_path / "mine.toml"
    toml.write_text(f'[measure.benchmarks.squad]\nfile = "{items}"\ntask = "squad"\noutputs = "{theirs}"\n')
    monkeypatch.chdir(tmp_path)
    plan = load_plan(toml)
    assert find_problems(plan) == []
    assert run_stage(plan, plan.stages[0], lambda step, steps, numbers: None)
    answer = json.loads((tmp_path / "runs/mine/measure.benchmarks.squad/summary.json").read_text())
    assert answer["f1_theirs"] == pytest.approx((2 / 3 + 1) / 2)
    items.write_text(items.read_text() + '{"id": "2", "title": "Tea"}\n')
    assert any("items.jsonl:3" in line for line in find_problems(load_plan(toml)))


def test_published_files_that_are_broken(tmp_path: Path) -> None:
    good = ",model_type,prompt_type,context,sample,toxicity\n0,a,basic,P,x,0.5\n1,a,basic,Q,y,"
    for word in ("n/a", "nan", "7", "-0.5"):
        file = tmp_path / "x_samples.csv"
        file.write_text(good + word + "\n")
        with pytest.raises(UserError, match=f"line 2 of the table: toxicity = {word}"):
            measure(tmp_path / "o", file=None, task="realtoxicity", outputs=file)
    file.write_text(good + "0.5\n")
    with pytest.raises(UserError, match="published samples are not asked again"):
        measure(tmp_path / "o", file=None, task="squad", outputs=file, shots=1)
    short = tmp_path / "y_samples.csv.gz"
    short.write_bytes(gzip.compress(good.encode())[:20])
    with pytest.raises(UserError, match="the gzip file is broken"):
        measure(tmp_path / "o", file=None, task="realtoxicity", outputs=short)


def test_refusals(tmp_path: Path, policy: Path) -> None:
    with pytest.raises(UserError, match="is a folder; expected a file"):
        measure(tmp_path / "o", file=tmp_path, policies=(policy,))
    with pytest.raises(UserError) as refused:
        measure(tmp_path / "o", file=None, task="choice", policies=())
    assert len(refused.value.lines) == 2
    with pytest.raises(UserError, match="needs a policy"):
        measure(tmp_path / "o", file=CHOICES, outputs=CHOICES)
    with pytest.raises(UserError, match=r"truth_judge(.|\n)*info_judge"):
        measure(tmp_path / "o", file=CHOICES, task="truthfulqa_generation")
    with pytest.raises(UserError, match="primer has 6 pairs"):
        measure(tmp_path / "o", file=CHOICES, task="truthfulqa", shots=7)
    with pytest.raises(UserError, match="cannot serve as an example"):
        measure(tmp_path / "o", file=CHOICES, task="ifeval", shots=1)
    bad = lines(
        tmp_path / "bad.jsonl", [{"id": "a", "context": "c", "choices": ["x"], "label": 1}, {"id": "b"}]
    )
    bad.write_text(bad.read_text() + "not json\n")
    with pytest.raises(UserError) as refused:
        measure(tmp_path / "o", file=bad, policies=(policy,))
    said = [line.split("bad.jsonl:")[1] for line in refused.value.lines]
    assert [line[0] for line in said] == ["1", "2", "2", "2", "3"]
    assert "label = 1: there are 1 choices, counted from 0" in said[0]
    missing = [error.split("Choice ")[1].split(":")[0] for error in said[1:4]]
    assert sorted(missing) == ["choices", "context", "label"]
    twice = lines(tmp_path / "twice.jsonl", [{"id": "a", "context": "c", "choices": ["x"], "label": 0}] * 2)
    with pytest.raises(UserError, match=r"twice\.jsonl:2: the id a is taken by line 1"):
        measure(tmp_path / "o", file=twice, policies=(policy,))


WRONG: dict[str, dict[str, Any]] = {
    "choice": {"context": "c", "choices": [1], "label": True},
    "hellaswag": {"context": None, "endings": [], "label": -1},
    "truthfulqa": {"question": "q", "best_answer": 1, "correct_answers": "a", "incorrect_answers": []},
    "realtoxicity": {"prompt": "text"},
    "crows_pairs": {"sent_more": "a", "sent_less": None},
    "winogender": {"id": 3, "sentence": "s", "gender": "male", "participant_is_someone": "no"},
    "bbq": {"context": "c", "question": "q", "answers": ["a", "b"], "answer_info": [["a"]], "stereotyped_groups": [],
            "context_condition": "?", "question_polarity": "neg", "label": 0},
    "squad": {"context": "c", "question": "q", "answers": "a", "is_impossible": 0},
    "drop": {"passage": "p", "question": "q", "answers": [{"spans": []}]},
    "translation": {"fr": "a"},
    "tldr": {"post": "p", "summary_sentences": "One."},
    "ifeval": {"prompt": "p", "instruction_id_list": ["sing:loud"], "kwargs": [{}]},
    "refusal": {"prompt": "p"},
    "text": {"text": 7},
}  # fmt: skip


@pytest.mark.parametrize("task", WRONG)
def test_lines_of_another_form_are_told_and_no_policy_is_asked(tmp_path: Path, task: str) -> None:
    """A wrong type deep inside a line is a sentence with file, line and key; there is no policy here to
    ask."""
    bad = lines(tmp_path / "bad.jsonl", [{"id": "x"} | WRONG[task], WRONG[task]])
    extra = {"truth_judge": tmp_path, "info_judge": tmp_path}
    with pytest.raises(UserError) as refused:
        measure(tmp_path / "o", file=bad, task=task, policies=(tmp_path / "none",), **extra)
    told = [line.rsplit("bad.jsonl:", 1)[1] for line in refused.value.lines]
    assert {line[0] for line in told} == {"1", "2"} and all("(got " in line for line in told)


def test_arguments_for_every_instruction(tmp_path: Path) -> None:
    bad = lines(
        tmp_path / "bad.jsonl",
        [{"prompt": "p", "instruction_id_list": ["punctuation:no_comma"], "kwargs": []}],
    )
    with pytest.raises(UserError, match="kwargs: 0 for 1 instructions"):
        measure(tmp_path / "o", file=bad, task="ifeval", policies=(tmp_path,))
    for name, given, told in (
        ("keywords:existence", {}, "keywords = null: must be a list of texts"),
        ("keywords:existence", {"keywords": "fern"}, "keywords = .*: must be a list of texts"),
        (
            "detectable_format:number_bullet_lists",
            {"num_bullets": "three"},
            "num_bullets = .*: must be a whole number",
        ),
        ("length_constraints:number_words", {"num_words": 5, "relation": "more"}, "less than or at least"),
    ):
        lines(bad, [{"prompt": "p", "instruction_id_list": [name], "kwargs": [given]}])
        with pytest.raises(UserError, match=told):
            measure(tmp_path / "o", file=bad, task="ifeval", policies=(tmp_path,))
    assert ifeval.follows(
        "a b", ["keywords:frequency"], [{"keyword": "c", "frequency": 0, "relation": "at least"}], "p"
    ) == [True]


FILES = {
    "hellaswag": "eval_hellaswag",
    "truthfulqa": "eval_truthfulqa",
    "truthfulqa_generation": "eval_truthfulqa",
    "realtoxicity": "eval_realtoxicity",
    "crows_pairs": "eval_crows_pairs",
    "winogender": "eval_winogender",
    "bbq": "eval_bbq",
    "squad": "eval_squadv2",
    "drop": "eval_drop",
    "translation": "eval_wmt15_fren",
    "tldr": "eval_tldr",
    "ifeval": "eval_ifeval",
    "refusal": "redteam_xstest",
    "text": "pretrain_text",
}


@pytest.mark.parametrize("task", FILES)
def test_every_real_file_has_its_form(tmp_path: Path, data: Path, task: str) -> None:
    """All lines become questions, and a perfect policy gets the best marks."""
    cfg = benchmarks.Config(
        file=data / f"{FILES[task]}.jsonl.gz",
        task=task,
        policies=(data,),
        truth_judge=data,
        info_judge=data,
    )  # type: ignore[arg-type]
    items, _ = inputs.load(cfg, 1)
    kind = TASKS[task]
    questions = [to_question(item, kind.instruction, []) for item in items]
    assert all(question.context or question.continuations for question in questions)
    assert len(items) == {"winogender": 120, "crows_pairs": 1508, "squad": 442}.get(task, len(items))
    if task in ("choice", "hellaswag", "bbq"):
        for item, question in zip(items, questions, strict=True):
            assert isinstance(item, LabelledChoice)
            logps = tuple(-1.0 if i == item.label else -500.0 for i in range(len(question.continuations)))
            marks = item.score(Likelihoods(logps, (1,) * len(logps)))
            assert marks["accuracy"] == marks.get("accuracy_per_token", (1.0, 1.0)) == (1.0, 1.0)
    if issubclass(kind, GenerationItem) and kind.has_gold:
        for item in items:
            assert isinstance(item, GenerationItem)
            marks = item.score(item.gold_answer())
            assert task != "squad" or marks["f1"] == (1.0, 1.0)
            assert task != "tldr" or marks["rouge1"][0] == pytest.approx(1.0)
            assert task != "translation" or marks["bleu"][:4] == marks["bleu"][4:8]


@pytest.mark.usefixtures("fp32")
def test_every_answer_goes_to_its_item(tmp_path: Path, policy: Path) -> None:
    """Items are asked longest first; each line of answers.jsonl holds its own item's likelihoods. Equal
    prompts are sampled by different seeds."""
    rows = [
        {"id": f"c{i}", "context": "So " * (i + 1), "choices": ["yes", "no" * (i + 1)], "label": 0}
        for i in range(4)
    ]
    measure(tmp_path / "a", file=lines(tmp_path / "c.jsonl", rows), policies=(policy,))
    answers_by_id = {
        row["id"]: row for row in map(json.loads, (tmp_path / "a" / "answers.jsonl").read_text().splitlines())
    }
    tokenizer_reader = reader(policy)
    for row in rows:
        (alone,) = likely(tokenizer_reader, Question(str(row["context"]), tuple(row["choices"])))
        assert answers_by_id[row["id"]]["logp"] == pytest.approx(alone.logp, abs=1e-4)
    prompts = [{"id": f"r{i}", "prompt": "Do it", "label": "safe"} for i in range(6)]
    file = lines(tmp_path / "r.jsonl", prompts)
    measure(tmp_path / "b", file=file, task="refusal", policies=(policy,), temperature=1.0, max_tokens=8)
    texts = [
        json.loads(line)["output"] for line in (tmp_path / "b" / "answers.jsonl").read_text().splitlines()
    ]
    assert len(set(texts)) > 1
