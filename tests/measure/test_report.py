"""The page: self-contained, well-formed, complete, safe against what models write, and honest about what it
lacks."""

from __future__ import annotations

import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from biddable.measure import report
from biddable.measure.report import wording
from biddable.measure.statistics import Estimate
from biddable.run.config import UserError
from biddable.run.context import StageContext

VOID = {"meta", "link", "br", "img", "input", "hr"}
OPTIONAL = {"plain": "learn.ppo.plain", "ratings_by_step": "label.ratings", "text": "measure.text"}


def config(run: Path, **changes: Any) -> report.Config:
    needed = {
        "winrate": "measure.winrate",
        "ppo": "learn.ppo",
        "reward": "learn.reward",
        "sft": "learn.sft",
        "comparisons": "label.comparisons",
        "replies": "learn.replies.test",
    }
    found = {word: run / name for word, name in needed.items()}
    found |= {word: run / name for word, name in OPTIONAL.items() if (run / name).exists()}
    return report.Config(**(found | changes))


def page(run: Path, folder: Path, **changes: Any) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    context = StageContext(folder, "measure.report", 1, lambda step, steps, numbers: None)
    report.run(config(run, **changes), context)
    assert context.summary["bytes"] == (folder / "report.html").stat().st_size
    assert not list(folder.glob("*.part"))
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shown(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return page(whole, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def shown_bare(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return page(bare, tmp_path_factory.mktemp("report"))


class Checked(HTMLParser):
    """Refuses tags that do not nest; collects attributes, ids, text and numbers."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def values(self, name: str, tag: str | None = None) -> list[str]:
        return [
            value for own, attribute, value in self.attributes if attribute == name and tag in (None, own)
        ]


@pytest.mark.parametrize("which", ["shown", "shown_bare"])
def test_it_is_self_contained_and_well_formed(which: str, request: pytest.FixtureRequest) -> None:
    text = request.getfixturevalue(which)
    assert text.lstrip().startswith("<!DOCTYPE html>")
    found = Checked(text)
    tags = {tag for tag, _, _ in found.attributes}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert found.values("src") == [] and found.values("xlink:href") == []
    assert all(link.startswith("#") for link in found.values("href"))
    assert not any(name.startswith("on") for _, name, _ in found.attributes)
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    ids = found.values("id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in found.values("href")} <= set(ids)
    assert {link[5:-1] for link in re.findall(r"url\(#[^)]*\)", text)} <= set(ids)


def test_plots_take_the_colours_of_the_page(shown: str) -> None:
    style = shown[shown.index("<style>") : shown.index("</style>")]
    light, dark = style.split("@media (prefers-color-scheme: dark)", 1)
    used = set(re.findall(r"var\(--([a-z]+)\)", shown[shown.index("</style>") :])) - {"sans"}
    assert {"ink", "quiet", "grid", "card", "sft", "ppo", "plain", "start"} <= used
    for name in used:
        assert f"--{name}:" in light and f"--{name}:" in dark
    assert not re.search(r"#0[0-9]0[0-9]0[0-9]", shown)
    assert all(svg.startswith(('<svg viewBox="', "<svg role")) for svg in re.findall(r"<svg[^>]*>", shown))
    assert all(len(label) > 5 for label in Checked(shown).values("aria-label", "svg"))


def test_it_holds_every_number_and_every_setting(whole: Path, shown: str) -> None:
    numbers = Checked(shown).values("value", "data")
    for file in sorted(whole.glob("*/summary.json")):
        for key, value in json.loads(file.read_text()).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                assert repr(value) in numbers, f"{file}: {key} = {value}"
            assert f">{key}</th>" in shown, f"{file}: {key}"
    for file in sorted(whole.glob("*/manifest.json")):
        manifest = json.loads(file.read_text())
        for key, value in manifest["settings"].items():
            assert f">{key}</th>" in shown
            if isinstance(value, str):
                assert html.escape(value) in shown
        assert manifest["content"] in shown and f'id="stage-{manifest["stage"]}"' in shown


def test_the_headline_says_whose_preference_it_is(whole: Path, shown: str) -> None:
    summary = json.loads((whole / "measure.winrate" / "summary.json").read_text())
    assert summary["ppo_over_sft_low"] > 0.5
    share = f"{100 * summary['ppo_over_sft']:.0f}"
    assert (
        f"<h1>Held-out simulated labelers prefer PPO-ptx to SFT in {share}{wording.THIN}% of pairs</h1>"
        in shown
    )
    assert "The labelers are simulated." in shown


def test_people_are_not_called_simulated(bare: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    shutil.copytree(bare, own)
    file = own / "measure.winrate" / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"simulated": False}))
    text = page(own, tmp_path / "out")
    assert "The labelers are simulated." not in text
    assert re.search(r"<h1>Held-out labelers ", text)


def test_verdicts_claim_a_preference_only_outside_the_interval() -> None:
    say = wording.verdict
    assert (
        say("labelers", "A", "B", Estimate(0.6, 0.51, 0.7)) == "labelers prefer A to B in 60\u202f% of pairs"
    )
    assert (
        say("labelers", "A", "B", Estimate(0.4, 0.3, 0.49)) == "labelers prefer B to A in 60\u202f% of pairs"
    )
    assert "no clear difference" in say("labelers", "A", "B", Estimate(0.55, 0.45, 0.65))


def test_missing_parts_are_left_out_with_a_sentence(shown: str, shown_bare: str) -> None:
    for sentence in ("the run has no [measure.text]", "no ratings of the policy"):
        assert sentence in shown_bare and sentence not in shown
    assert "PPO-ptx" not in shown_bare.split("</style>")[1].split('id="alignment-tax"')[0]
    assert "PPO without ptx" in shown


def test_a_folder_without_metrics_and_samples_is_told(bare: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    shutil.copytree(bare, own)
    for file in (*own.glob("*/metrics.jsonl"), *own.glob("*/samples.jsonl")):
        file.unlink()
    reward = own / "learn.reward" / "summary.json"
    reward.write_text("{}")
    text = page(own, tmp_path / "out", samples=0)
    for sentence in (
        "Curves are left out",
        "The curves are left out",
        "The curve is left out",
        "Samples from training are left out",
        "No samples were asked for",
        "Accuracy is left out",
    ):
        assert sentence in text
    Checked(text)


def test_the_same_run_gives_the_same_bytes(whole: Path, shown: str, tmp_path: Path) -> None:
    assert page(whole, tmp_path) == shown


HOSTILE = (
    "</p></style><script>alert('pwned')</script><img src=http://evil.example/x "
    "onerror=alert(1)>\x00\x1b[31m\u202e{{ 7 * 7 }}$\\frac{1}$&amp;"
)


def test_what_models_and_people_write_is_escaped(whole: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    shutil.copytree(whole, own)

    def poison(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: poison(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [poison(v, key) for v in value]
        return (
            HOSTILE
            if key in ("text", "content", "use_case", "labeler", "answer", "prompt", "guideline")
            else value
        )

    for name in ("replies", "comparisons", "ratings", "demonstrations", "samples", "use_cases"):
        for file in own.glob(f"*/{name}.jsonl"):
            rows = [poison(json.loads(line)) for line in file.read_text().splitlines()]
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rates = own / "measure.winrate" / "summary.json"
    numbers = json.loads(rates.read_text())
    numbers |= {key.replace("plain", HOSTILE): value for key, value in numbers.items() if "plain" in key}
    rates.write_text(json.dumps(numbers))
    manifest = own / "learn.start" / "manifest.json"
    held = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(held | {"settings": {"model": HOSTILE, HOSTILE: [HOSTILE]}}))
    text = page(own, tmp_path / "out")
    found = Checked(text)
    assert "<script" not in text and "<img" not in text
    assert text.count("<style>") == 1
    assert found.values("src") == [] and all(link.startswith("#") for link in found.values("href"))
    assert not set("\x00\x1b") & set(text)
    assert "alert(&#39;pwned&#39;)" in text and "{{ 7 * 7 }}" in text
    assert any("<script>alert('pwned')</script>" in word for word in found.words)


def test_endless_answers_are_cut() -> None:
    assert wording.clean("x" * 5000) == "x" * 2400 + " … (2,600 more characters)"
    assert wording.clean("a\x07b\ud800c\u2028d\n") == "a\ufffdb\ufffdc\ufffdd\n"


def test_numbers_carry_their_exact_value() -> None:
    assert wording.number(0.123456789) == '<data value="0.123456789">0.1235</data>'
    assert wording.number(1e-5) == '<data value="1e-05">1e-05</data>'
    assert wording.number(-1.5) == '<data value="-1.5">−1.5</data>'
    assert wording.number(12345) == '<data value="12345">12,345</data>'
    assert wording.number(float("nan")) == '<data value="nan">not a number</data>'
    assert wording.number(True) == "<code>true</code>"
    assert wording.number("<b>") == "&lt;b&gt;"
    assert wording.number([1, "<"]) == "<code>[1, &#34;&lt;&#34;]</code>"
    assert (wording.seconds(4.2), wording.seconds(75), wording.seconds(7260)) == (
        "4.2\u202fs",
        "1\u202fmin 15\u202fs",
        "2\u202fh 1\u202fmin",
    )


def test_gold_scores_are_means_by_step(whole: Path, shown: str) -> None:
    rows = [json.loads(line) for line in (whole / "label.ratings" / "ratings.jsonl").read_text().splitlines()]
    by_step: dict[int, list[int]] = {}
    for row in rows:
        by_step.setdefault(row["answer"]["step"], []).append(row["overall"])
    means = {step: sum(given) / len(given) for step, given in by_step.items()}
    best = max(means, key=lambda step: means[step])
    drop = means[best] - means[max(means)]
    assert f"highest at step {best}, at a KL of" in shown and f"{drop:.2f} lower at the last step" in shown
    for step, value in means.items():
        assert f"step {step}: rating {value:.2f}" in shown


def test_one_rating_a_step_is_enough(whole: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    shutil.copytree(whole, own)
    file = own / "label.ratings" / "ratings.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    first = {row["answer"]["step"]: row for row in reversed(rows)}
    file.write_text("".join(json.dumps(row) + "\n" for row in first.values()))
    text = page(own, tmp_path / "out")
    Checked(text)
    assert f"{len(first)} ratings" in text
    file.write_text(json.dumps(rows[0]) + "\n")
    assert "ratings of answers at two steps or more" in page(own, tmp_path / "out")


def test_mistakes_are_refused_all_at_once(whole: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError) as refused:
        page(whole, tmp_path / "out", ppo=empty, replies=whole / "learn.sft", text=tmp_path / "nowhere")
    lines = refused.value.lines
    assert [line.split(": ")[0] for line in lines] == [
        "[measure.report] ppo",
        "[measure.report] text",
        "[measure.report] replies",
    ]
    assert not (tmp_path / "out" / "report.html").exists()
    with pytest.raises(UserError, match=r"winrate: .* holds no win rates"):
        page(whole, tmp_path / "out", winrate=whole / "learn.sft")
    own = tmp_path / "run"
    shutil.copytree(whole, own)
    with (own / "learn.ppo" / "metrics.jsonl").open("a") as file:
        file.write("{broken\n")
    with pytest.raises(UserError, match=r"metrics.jsonl:61: not JSON"):
        page(own, tmp_path / "out")


def test_lonely_and_broken_numbers_do_no_harm(bare: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    shutil.copytree(bare, own)
    row = {
        "step": 1,
        "reward": float("nan"),
        "kl": 0.0,
        "entropy": None,
        "length": float("inf"),
        "ratio_first": 1.0,
    }
    (own / "learn.ppo" / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    Checked(page(own, tmp_path / "out"))
