"""The rule model against the language model it begins as, run plainly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

from biddable.model import checkpoints
from biddable.model.rule_model import (
    ROW_TOKENS,
    RuleModel,
    TrainedRule,
    question_text,
    rule_model_from,
    verdict_tokens,
)
from biddable.run.config import UserError

pytestmark = pytest.mark.usefixtures("fp32")

RULES = (
    TrainedRule("no-body", "Claim no body.", "Does the assistant claim to have a body?"),
    TrainedRule("no-insults", "Do not insult {question}.", "Is somebody insulted?"),
)
DIALOGUES = [(5, 3, 8, 7), (6, 60, 72, 86, 49, 82)]


@pytest.fixture
def start(tiny_folder: Path, tmp_path: Path) -> Path:
    checkpoints.import_model(str(tiny_folder), tmp_path / "start" / "model", 2)
    return tmp_path / "start"


@pytest.fixture
def model(start: Path) -> RuleModel:
    return checkpoints.load_rule_model(start)


def test_an_untrained_rule_model_says_what_the_language_model_says(
    model: RuleModel, tiny_folder: Path
) -> None:
    plain = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_folder)
    yes, no = tokenizer.encode("Yes")[0], tokenizer.encode("No")[0]
    expected = torch.zeros(2, 2)
    for row, dialogue in enumerate(DIALOGUES):
        for column, rule in enumerate(RULES):
            # ChatML, written out: the reply ends, the user asks, the assistant begins
            question = (
                f"\n<|im_start|>user\n{rule.text} {rule.question} Yes or no?"
                "<|im_end|>\n<|im_start|>assistant\n"
            )
            ids = [*dialogue, tokenizer.eos_token_id, *tokenizer.encode(question, add_special_tokens=False)]
            logits = plain(torch.tensor([ids])).logits[0, -1]
            expected[row, column] = torch.softmax(logits[[yes, no]], 0)[0]
    assert expected.std() > 1e-4  # the four differ
    torch.testing.assert_close(model.p_break(DIALOGUES, RULES), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(model.freeze().p_break(DIALOGUES, RULES), expected, atol=1e-6, rtol=1e-5)


def test_a_reply_that_ended_gets_no_second_end(model: RuleModel) -> None:
    end = int(model.tokenizer.eos_token_id)
    ended = model.p_break([(*DIALOGUES[0], end)], RULES)
    assert torch.equal(ended, model.p_break(DIALOGUES[:1], RULES))


def test_rules_do_not_see_each_other_and_rows_may_be_short(
    model: RuleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = [TrainedRule(f"r{n}", "Be kind " * (n + 1), "Was it not?") for n in range(7)]
    together = model.p_break(DIALOGUES, rules)
    alone = torch.cat([model.p_break(DIALOGUES, [rule]) for rule in rules], dim=1)
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)
    monkeypatch.setattr("biddable.model.rule_model.ROW_TOKENS", 150)
    assert max(len(tree) for tree in model.trees(DIALOGUES[0], rules)) < ROW_TOKENS
    assert len(list(model.trees(DIALOGUES[0], rules))) > 1
    torch.testing.assert_close(model.p_break(DIALOGUES, rules), alone, atol=1e-6, rtol=1e-5)
    assert model.p_break([], rules).shape == (0, 7)


def test_a_saved_rule_model_comes_back_exactly_and_is_no_scorer(
    model: RuleModel, start: Path, tmp_path: Path
) -> None:
    with torch.no_grad():
        model.scorer.weight.mul_(1.5)
        model.scorer.bias.fill_(0.25)
        next(model.scorer.branch.parameters()).add_(0.01)
    model.rules, model.template = RULES[:1], "{question} ({text})"
    expected = model.p_break(DIALOGUES, RULES)
    checkpoints.save_rule_model(model, tmp_path / "rules" / "model", start)
    trunk = checkpoints.load_policy(start).trunk
    loaded = checkpoints.load_rule_model(tmp_path / "rules", trunk)
    assert loaded.scorer.trunk is trunk
    assert loaded.rules == RULES[:1]
    assert torch.equal(loaded.p_break(DIALOGUES, RULES), expected)  # the second was not trained on
    with pytest.raises(UserError, match="is a rule_model; expected a scorer"):
        checkpoints.load_scorer(tmp_path / "rules")
    with pytest.raises(UserError, match="is a rule_model; expected a policy"):
        checkpoints.load_policy(tmp_path / "rules")
    checkpoints.save_scorer(model.scorer, tmp_path / "reward" / "model", start)
    with pytest.raises(UserError, match="is a scorer; expected a rule model or a policy"):
        checkpoints.load_rule_model(tmp_path / "reward")
    assert json.loads((tmp_path / "reward" / "model" / "biddable.json").read_text())["kind"] == "scorer"


def test_what_does_not_fit_into_the_context_is_refused(model: RuleModel) -> None:
    model.context_length = 120
    assert model.p_break(DIALOGUES, RULES[:1]).shape == (2, 1)
    with pytest.raises(UserError, match=r"rule no-body: its question has \d+ tokens and the dialogue 101"):
        model.p_break([(5,) * 100], RULES[:1])


def test_words_that_share_a_first_token_are_compared_where_they_differ(model: RuleModel) -> None:
    class Words:
        """A tokenizer that puts a 9 before every word."""

        def encode(self, word: str, add_special_tokens: bool) -> list[int]:
            return [9, *map(ord, word)]

    assert verdict_tokens(Words()) == (ord("Y"), ord("N"), (9,))
    Words.encode = lambda *_, **__: [9]  # type: ignore[method-assign]
    with pytest.raises(UserError, match="no tokens that tell Yes from No"):
        verdict_tokens(Words())


def test_the_head_follows_scale_and_trains(start: Path) -> None:
    policy = checkpoints.load_policy(start)
    policy.scale = 0.5
    tokenizer = checkpoints.tokenizer(start)
    model = rule_model_from(policy, tokenizer, 512)
    yes, no = tokenizer.encode("Yes")[0], tokenizer.encode("No")[0]
    assert torch.equal(model.scorer.weight, 0.5 * (policy.weight[yes] - policy.weight[no]))
    assert model.scorer.weight.requires_grad
    assert all(p.requires_grad for p in model.scorer.branch.parameters())
    assert next(model.scorer.branch.parameters()) is not next(policy.branch.parameters())


def test_the_question_stands_where_the_chat_template_puts_it(model: RuleModel) -> None:
    assert question_text(model.tokenizer, "Q?") == (
        "<|im_end|>\n<|im_start|>user\nQ?<|im_end|>\n<|im_start|>assistant\n"
    )
