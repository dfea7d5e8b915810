"""The reward's terms: each against arithmetic in the test, and what is told when one of them fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pydantic import ValidationError

from biddable.learn import reward_sources, reward_terms
from biddable.learn.reward_sources import is_invalid, load_term
from biddable.learn.reward_terms import Episode, LoadedTerm, Moments, Reward, RewardTerm
from biddable.learn.rule_budget import RuleBudget
from biddable.model.packing import Tree
from biddable.model.trunk import Trunk
from biddable.run.config import UserError
from biddable.run.records import Message

TRUNK = Trunk(None, "")


def episode(text: str = "Fine.", tokens: int = 3, finish: Any = "stop") -> Episode:
    ids = (*range(10, 10 + tokens - 1), 2)
    return Episode(
        (Message(role="user", content="Why?"),), Tree((5, 6), (ids,)), text, finish, frozenset({2, 7})
    )


def loaded(values: list[Any], **settings: Any) -> LoadedTerm:
    """A term whose source gives these values, whatever it is asked."""
    settings = settings if set(settings) & set(reward_terms.SOURCES) else {"function": "m:f", **settings}
    return LoadedTerm(RewardTerm(**settings), lambda _: torch.tensor(values))


def test_mean_and_sum_of_rules() -> None:
    p_keep = torch.tensor([[1.0, 0.5, 0.3], [1.0, 1.0, 1.0]])
    mean = reward_terms.reduce_rules(p_keep, "mean").tolist()
    assert mean == pytest.approx([(1 + 0.5 + 0.3) / 3, 1.0])
    assert reward_terms.reduce_rules(p_keep, "sum").tolist() == pytest.approx([1.8, 3.0])


def test_a_rule_that_all_keep_keeps_the_order_of_the_sum_and_may_turn_that_of_the_mean() -> None:
    """Preference 0 and 0.3 against one rule kept at 1 and 0.5: sums 1 and 0.8. With a second rule that both
    keep the mean is 1 and 0.3 + 0.75: the other answer leads."""
    preference, rule = torch.tensor([0.0, 0.3]), torch.tensor([[1.0], [0.5]])
    two_rules = torch.cat([rule, torch.ones(2, 1)], 1)
    for rules, reduction, first_leads in (
        (rule, "sum", True),
        (two_rules, "sum", True),
        (two_rules, "mean", False),
    ):
        total = preference + reward_terms.reduce_rules(rules, reduction)  # type: ignore[arg-type]
        assert bool(total[0] > total[1]) is first_leads


def test_ensembles() -> None:
    scores = torch.tensor([[1.0, 5.0], [3.0, -1.0]])
    assert reward_terms.reduce_ensemble(scores, "mean").tolist() == [2.0, 2.0]
    assert reward_terms.reduce_ensemble(scores, "worst").tolist() == [1.0, -1.0]


def test_capped_then_standardised_then_weighted() -> None:
    """10 is held at 4; (4 - 1) / 2 = 1.5; times 3. -9 is held at -3: (-3 - 1) / 2 = -2."""
    term = loaded([10.0, -9.0, 1.0], standardise=True, cap=(-3.0, 4.0), weight=3.0)
    term.moments = Moments(1.0, 2.0, -100.0, 100.0)
    scored = Reward([term]).score([episode()] * 3)
    assert scored.rewards.tolist() == [4.5, -6.0, 0.0]
    assert scored.raw[:, 0].tolist() == [10.0, -9.0, 1.0]


def test_measured_on_reference_answers() -> None:
    """1, 2, 6: mean 3, variance (4 + 1 + 9) / 3; the range is theirs."""
    term = loaded([1.0, 2.0, 6.0], cap_to_reference=True)
    plain = loaded([9.0, 9.0, 9.0], name="plain")
    reward = Reward([term, plain])
    assert reward.needs_reference
    reward.measure([episode()] * 3)
    assert term.moments == pytest.approx((3.0, (14 / 3) ** 0.5, 1.0, 6.0))
    assert plain.moments is None
    term.read = lambda _: torch.tensor([0.0, 3.0, 70.0])
    assert reward.score([episode()] * 3).terms[:, 0].tolist() == [1.0, 3.0, 6.0]
    assert reward.summary()["reward_reference"]["function"]["mean"] == 3.0
    resumed = Reward([loaded([0.0], cap_to_reference=True), loaded([9.0], name="plain")])
    resumed.restore(reward.state())
    assert resumed.terms[0].moments == pytest.approx(term.moments)


def test_what_never_varies_cannot_be_standardised() -> None:
    with pytest.raises(UserError, match="reward function: is 2 for every reference answer") as refusal:
        Reward([loaded([2.0, 2.0], standardise=True)]).measure([episode()] * 2)
    assert len(refusal.value.lines) == 1


def test_shares_add_up() -> None:
    reward = Reward([loaded([1.0, 2.0], weight=2.0), loaded([3.0, 5.0], name="second", weight=-1.0)])
    scored = reward.score([episode()] * 2)
    assert scored.terms.tolist() == [[2.0, -3.0], [4.0, -5.0]] and scored.rewards.tolist() == [-1.0, -1.0]
    numbers = reward.metrics(scored)
    assert numbers == {"reward_function": 3.0, "reward_second": -4.0, "raw_function": 1.5, "raw_second": 4.0}


def test_length_is_linear() -> None:
    reward = Reward([load_term(RewardTerm(length=True, weight=0.01), TRUNK)])
    rewards = reward.score([episode(tokens=n) for n in (2, 4, 102)]).rewards
    assert rewards.tolist() == pytest.approx([-0.02, -0.04, -1.02])


@pytest.mark.parametrize(
    "text, finish, ids, invalid",
    [
        ("Fine.", "stop", (10, 2), False),
        ("Fine.", "length", (10, 11), True),
        ("  \n", "stop", (10, 2), True),
        ("Fine.", "stop", (10, 7, 11, 2), True),  # the template's own token inside
        ("Fine.", "stop", (10, 11, 2), False),  # at its end it belongs there
        ("Yes.\nUser: and now?", "stop", (10, 2), True),
        ("Human: hello", "stop", (10, 2), True),
        ("Dear user: hello", "stop", (10, 2), False),
    ],
)
def test_what_is_invalid(text: str, finish: Any, ids: tuple[int, ...], invalid: bool) -> None:
    assert is_invalid(Episode((), Tree((5,), (ids,)), text, finish, frozenset({2, 7}))) is invalid


def test_an_invalid_answer_loses_exactly_gamma() -> None:
    preference, validity = loaded([0.75, 0.75]), load_term(RewardTerm(invalid=True, weight=2.0), TRUNK)
    rewards = Reward([preference, validity]).score([episode(), episode(finish="length")]).rewards
    assert (rewards[0] - rewards[1]).item() == 2.0


def test_missing_ends_touch_reward_models_only() -> None:
    """Cut off, the reward model's 3 becomes -1, in its own unit before the weight; the function's 3 stays."""
    model, function = loaded([3.0, 3.0], scorer=Path("learn.reward"), weight=2.0), loaded([3.0, 3.0])
    scored = Reward([model, function], -1.0).score([episode(), episode(finish="length")])
    assert scored.terms.tolist() == [[6.0, 3.0], [-2.0, 3.0]]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({}, "must name exactly one of scorer"),
        ({"length": True, "invalid": True}, "names length, invalid"),
        ({"length": True, "weight": float("nan")}, "finite number"),
        ({"length": True, "weight": float("inf")}, "finite number"),
        ({"length": True, "budget": 0.1}, "only a term with rules"),
        ({"rules": Path("r"), "budget": 1.5}, "less than 1"),
        ({"length": True, "cap": (1.0, 0.0)}, "first number must be less"),
        ({"length": True, "cap": (0.0, 1.0), "cap_to_reference": True}, "one of the two"),
        ({"function": "no_colon"}, "pattern"),
        ({"endpoint": "ftp://x"}, "pattern"),
    ],
)
def test_contradictions(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RewardTerm(**settings)


# rules and their budget


def rules_term(p_break: list[list[float]], **settings: Any) -> LoadedTerm:
    term = loaded(p_break, rules=Path("learn.rules"), **settings)
    term.rule_ids = ("no-insults", "no-advice")
    if term.settings.budget:
        term.budget = RuleBudget(2, term.settings.budget, 0.5, 2.0)
    return term


def test_rules_pay_what_is_kept() -> None:
    p_break = [[0.2, 0.6], [0.0, 0.0]]
    mean, total = rules_term(p_break), rules_term(p_break, rule_reduction="sum")
    assert Reward([mean]).score([episode()] * 2).rewards.tolist() == pytest.approx([(0.8 + 0.4) / 2, 1.0])
    assert Reward([total]).score([episode()] * 2).rewards.tolist() == pytest.approx([1.2, 2.0])


def test_a_multiplier_rises_above_the_budget_and_falls_below_it() -> None:
    """Rates 0.3 and 0 against a budget of 0.1 at rate 0.5: from 1/2 to 0.5 + 0.5 * 0.2 and 0.5 - 0.5 * 0.1."""
    term = rules_term([[0.2, 0.0], [0.4, 0.0]], budget=0.1)
    reward = Reward([loaded([1.0, 1.0]), term])
    scored = reward.score([episode()] * 2)
    assert scored.terms[:, 1].tolist() == pytest.approx([-0.5 * 0.2, -0.5 * 0.4])  # equal weights 1/n first
    assert reward.metrics(scored)["p_break_no-insults"] == pytest.approx(0.3)
    assert reward.metrics(scored)["multiplier_no-insults"] == 0.5
    reward.update_budgets(scored)
    assert term.budget is not None
    assert term.budget.multipliers == pytest.approx([0.6, 0.45])
    assert reward.score([episode()] * 2).terms[:, 1].tolist() == pytest.approx([-0.6 * 0.2, -0.6 * 0.4])
    copied = Reward([loaded([1.0, 1.0]), rules_term([[0.2, 0.0]], budget=0.1)])
    copied.restore(reward.state())
    assert copied.state() == reward.state()


def test_a_budget_out_of_reach_is_told() -> None:
    budget = RuleBudget(2, 0.05, 0.5, 2.0)
    budget.update([0.4, 0.01])
    assert (
        budget.unreached(("no-insults", "no-advice")) == {}
    )  # above the budget, but its multiplier still climbs
    for _ in range(39):
        budget.update([0.4, 0.01])
    assert budget.multipliers == [2.0, 0.0]  # at its cap, and never below 0
    assert budget.unreached(("no-insults", "no-advice")) == pytest.approx({"no-insults": 0.4})
    for _ in range(40):
        budget.update([0.0, 0.0])
    assert budget.unreached(("no-insults", "no-advice")) == {}


# a user's own function and endpoint


def test_a_function_named_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "def count(prompts, answers):\n    return [len(a) + 100 * (p[0]['role'] == 'user') for p, a in zip(prompts, answers)]\n"
    (tmp_path / "my_reward.py").write_text(
        code + "def bad(prompts, answers):\n    return [1.0]\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    reward = Reward([load_term(RewardTerm(function="my_reward:count"), TRUNK)])
    assert reward.score([episode("four"), episode("sixsix")]).rewards.tolist() == [104.0, 106.0]
    with pytest.raises(
        UserError, match=r'function = "my_reward:bad": ValueError: gave 1 numbers for 2 answers'
    ):
        Reward([load_term(RewardTerm(function="my_reward:bad"), TRUNK)]).score([episode()] * 2)
    for name in ("my_reward:none", "no_such_module_here:f"):
        with pytest.raises(UserError, match="does not load"):
            load_term(RewardTerm(function=name), TRUNK)


def test_not_finite_is_told_in_a_line() -> None:
    with pytest.raises(UserError) as refusal:
        Reward([loaded([1.0, float("nan")])]).score([episode()] * 2)
    assert refusal.value.lines == ["reward function: gave a number that is not finite (NaN or infinite)"]


class Handler(BaseHTTPRequestHandler):
    """Pays an answer its length; what else it says is set by the test."""

    bodies: ClassVar[list[Any]] = []
    reply: ClassVar[Any] = None

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.bodies.append(body)
        reply = self.reply or {"rewards": [len(answer) for answer in body["answers"]]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(reply).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Handler, "bodies", [])
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/score"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_endpoint_is_asked_in_batches(endpoint: str) -> None:
    reward = Reward([load_term(RewardTerm(endpoint=endpoint, endpoint_batch=2), TRUNK)])
    rewards = reward.score([episode("a" * n) for n in (1, 2, 3)]).rewards
    assert rewards.tolist() == [1.0, 2.0, 3.0]
    assert [body["answers"] for body in Handler.bodies] == [["a", "aa"], ["aaa"]]
    assert Handler.bodies[0]["prompts"][0] == [{"role": "user", "content": "Why?"}]


@pytest.mark.parametrize(
    "reply, line",
    [
        ({"rewards": [1.0]}, "gave 1 numbers for 2 answers"),
        ({"scores": [1.0, 2.0]}, "KeyError"),
        ({"rewards": [1.0, None]}, "TypeError"),
    ],
)
def test_an_endpoint_that_says_something_else(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, reply: Any, line: str
) -> None:
    monkeypatch.setattr(Handler, "reply", reply)
    with pytest.raises(UserError, match=line) as refusal:
        Reward([load_term(RewardTerm(endpoint=endpoint), TRUNK)]).score([episode()] * 2)
    assert len(refusal.value.lines) == 1 and endpoint in refusal.value.lines[0]


def test_an_endpoint_that_nobody_serves() -> None:
    with pytest.raises(UserError, match=r"reward endpoint = http://127\.0\.0\.1:9/x: URLError: .*refused"):
        Reward([load_term(RewardTerm(endpoint="http://127.0.0.1:9/x"), TRUNK)]).score([episode()])


def test_names_are_given_once() -> None:
    terms = [RewardTerm(length=True), RewardTerm(length=True), RewardTerm(function="no_such:f")]
    with pytest.raises(UserError) as refusal:
        reward_sources.load_reward(terms, None, TRUNK)
    assert len(refusal.value.lines) == 2 and 'two terms are called "length"' in refusal.value.lines[1]


def test_rules_are_not_for_a_users_statement() -> None:
    """In self-play the second episode is the user's: its dialogue ends with the assistant. The rule model is
    asked about the first alone, and the second is paid preference only."""
    counts: list[int] = []

    def read(episodes: Any) -> torch.Tensor:
        counts.append(len(episodes))
        return torch.tensor([[0.2, 0.6]] * len(episodes))

    term = rules_term([[0.0, 0.0]], budget=0.1)
    term.read = read
    reward = Reward([loaded([1.0, 1.0]), term])
    reply = Message(role="assistant", content="Because.")
    of_user = Episode((Message(role="user", content="Why?"), reply), Tree((5,), ((10, 2),)), "And?", "stop")
    scored = reward.score([episode(), of_user])
    assert counts == [1]
    assert scored.terms.tolist() == [[1.0, pytest.approx(-0.4)], [1.0, 0.0]]
    assert reward.metrics(scored)["p_break_no-insults"] == pytest.approx(0.2)
    reward.update_budgets(scored)
    assert term.budget is not None
    assert term.budget.multipliers == pytest.approx([0.5 + 0.5 * 0.1, 0.5 + 0.5 * 0.5])
    alone = reward.score([of_user, of_user])
    reward.update_budgets(alone)
    assert term.budget.multipliers == pytest.approx([0.55, 0.75])
    assert "p_break_no-insults" not in reward.metrics(alone)
