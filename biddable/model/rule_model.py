"""The rule model: one classifier for all rules. It reads a dialogue, then a rule with its question, and says
how likely the answer is yes: that the rule is broken (Glaese et al. 2022).

Legend: A dialogues, R rules, d hidden size, V vocabulary.

There is no head per rule: the rule's text stands behind the dialogue, so a rule that nobody trained on is
read like any other. A dialogue with its reply is a tree's prompt and every rule's question one of its
answers, so the dialogue goes through the network once for all rules. The language-model head's logits of yes
and no, renormalised over the two, are a logistic regression on the final state:
softmax(l_yes, l_no)_yes = sigmoid((W_yes - W_no) h). So a rule model is a scorer whose head begins as
W_yes - W_no: any policy is one before it is trained, and training moves branch and head as a reward model's.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from biddable.model.encoding import chat_text
from biddable.model.packing import Ids, Tree, pack
from biddable.model.trunk import Policy, Scorer
from biddable.run.config import UserError
from biddable.run.records import Message

TEMPLATE = "{text} {question} Yes or no?"
"""What the user asks after the dialogue; {text} and {question} are the rule's. The paper's wording is not
known; this one is short, since it is read once for every rule."""
FIELD = re.compile(r"\{(text|question)\}")
ROW_TOKENS = 2048
"""Tokens of a dialogue with its rules' questions in one row; more rules make another row."""


class RuleLike(Protocol):
    """What a rule model reads of a rule."""

    @property
    def id(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def question(self) -> str: ...


class TrainedRule(NamedTuple):
    """A rule that a rule model was trained on, as its folder names it."""

    id: str
    text: str
    question: str


class Verdict(NamedTuple):
    """The tokens that are compared, and what stands before both when their texts begin with the same
    tokens."""

    yes: int
    no: int
    before: tuple[int, ...]


def verdict_tokens(tokenizer: Any) -> Verdict:
    """The first tokens in which Yes and No differ. Raises UserError for a tokenizer that knows neither."""
    yes, no = (tokenizer.encode(word, add_special_tokens=False) for word in ("Yes", "No"))
    shared = 0
    while shared < min(len(yes), len(no)) and yes[shared] == no[shared]:
        shared += 1
    if shared == min(len(yes), len(no)):
        raise UserError("this tokenizer has no tokens that tell Yes from No; a rule model needs them")
    return Verdict(yes[shared], no[shared], tuple(yes[:shared]))


def question_text(tokenizer: Any, content: str) -> str:
    """What the chat template puts between the end of a reply's text and the next reply, when the user says
    `content` meanwhile."""
    marker = "reply-ends-here"
    messages = [
        Message(role="user", content="x"),
        Message(role="assistant", content=marker),
        Message(role="user", content=content),
    ]
    text = chat_text(tokenizer, messages, answered=False)
    # the first one: a rule's own text comes later
    return text[text.index(marker) + len(marker) :]


class RuleModel:
    """A scorer that is read behind a rule's question, with the tokenizer that writes it."""

    def __init__(
        self,
        scorer: Scorer,
        tokenizer: Any,
        context_length: int,
        template: str = TEMPLATE,
        rules: Sequence[TrainedRule] = (),
        max_tokens: int | None = None,
    ) -> None:
        self.scorer, self.tokenizer, self.template = scorer, tokenizer, template
        self.context_length, self.max_tokens = context_length, max_tokens
        self.rules = tuple(rules)
        self._verdict = verdict_tokens(tokenizer)
        self._questions: dict[str, tuple[int, ...]] = {}

    def question_ids(self, rule: RuleLike) -> tuple[int, ...]:
        """The rule's question as the user's turn, up to where yes or no would stand. It begins after the
        end of the reply."""
        # both at once, so that a rule's text with braces in it is not read as a template
        values = {"text": rule.text, "question": rule.question}
        content = FIELD.sub(lambda match: values[match[1]], self.template)
        if content not in self._questions:
            text = question_text(self.tokenizer, content)
            end = self.tokenizer.decode([self.tokenizer.eos_token_id])
            ids = self.tokenizer.encode(text.removeprefix(end), add_special_tokens=False)
            self._questions[content] = (*ids, *self._verdict.before)
        return self._questions[content]

    def dialogue_ids(self, dialogue: Ids) -> tuple[int, ...]:
        """The last `max_tokens` of a dialogue with its reply, ended by the end-of-sequence token if the reply
        was cut off."""
        end = int(self.tokenizer.eos_token_id)
        ids = tuple(dialogue) if len(dialogue) and dialogue[-1] == end else (*dialogue, end)
        return ids if self.max_tokens is None else ids[-self.max_tokens :]

    def trees(self, dialogue: Ids, rules: Sequence[RuleLike]) -> Iterator[Tree]:
        """The dialogue with the rules' questions as its answers, in as many trees as rows of `ROW_TOKENS`
        need. Raises UserError when dialogue and question are longer than the model's context."""
        prompt = self.dialogue_ids(dialogue)
        questions: list[tuple[int, ...]] = []
        size = len(prompt)
        for rule in rules:
            question = self.question_ids(rule)
            if len(prompt) + len(question) > self.context_length:
                raise UserError(
                    f"rule {rule.id}: its question has {len(question)} tokens and the dialogue "
                    f"{len(prompt)}, but the model's context holds {self.context_length}"
                )
            if questions and size + len(question) > ROW_TOKENS:
                yield Tree(prompt, tuple(questions))
                questions, size = [], len(prompt)
            questions.append(question)
            size += len(question)
        if questions:
            yield Tree(prompt, tuple(questions))

    @torch.no_grad()
    def p_break(self, dialogues: Sequence[Ids], rules: Sequence[RuleLike]) -> torch.Tensor:
        """(A, R) fp32: how likely each dialogue's last reply breaks each rule. A dialogue is the token ids of
        prompt and reply, with or without the end-of-sequence token.

        Raises UserError for a dialogue that does not fit into the context beside a rule's question.
        """
        return torch.sigmoid(self.log_odds(dialogues, rules))

    @torch.no_grad()
    def log_odds(self, dialogues: Sequence[Ids], rules: Sequence[RuleLike]) -> torch.Tensor:
        """(A, R) fp32: log p / (1 - p) of the rule being broken."""
        trees = [tree for dialogue in dialogues for tree in self.trees(dialogue, rules)]
        parts: list[torch.Tensor] = []
        batch: list[Tree] = []
        for number, tree in enumerate(trees):
            batch.append(tree)
            following = len(trees[number + 1]) if number + 1 < len(trees) else ROW_TOKENS
            if sum(map(len, batch)) + following > ROW_TOKENS:
                parts.append(self.scorer.scores(pack(batch)))
                batch = []
        scores = torch.cat(parts) if parts else self.scorer.weight.new_zeros(0)
        return scores.view(len(dialogues), len(rules))

    def freeze(self) -> RuleModel:
        """The same rule model for use without gradients, faster on a CPU."""
        model = copy.copy(self)
        model.scorer = self.scorer.freeze()
        return model


def rule_model_from(
    policy: Policy,
    tokenizer: Any,
    context_length: int,
    template: str = TEMPLATE,
    max_tokens: int | None = None,
) -> RuleModel:
    """A rule model that says what the policy would: its head is the language-model head's row of yes less
    that of no. (A family's soft cap on logits is left out: it is monotone in each logit and near the identity
    where logits are small.)"""
    verdict = verdict_tokens(tokenizer)
    head = policy.head
    weight = (head.weight[verdict.yes].float() - head.weight[verdict.no].float()).detach() * head.scale
    bias = weight.new_zeros(())
    if head.bias is not None:
        bias = (head.bias[verdict.yes] - head.bias[verdict.no]).detach().float() * head.scale
    scorer = Scorer(policy.trunk, copy.deepcopy(policy.branch), weight, bias)
    return RuleModel(scorer, tokenizer, context_length, template, max_tokens=max_tokens)
