"""The report's parts that are not plots: the headline, the loop as a picture, answers before and after, the walk back to people, all settings."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from biddable.measure.report import wording
from biddable.measure.report.evidence import Evidence, estimate
from biddable.measure.report.wording import count, percent, signed
from biddable.measure.statistics import Estimate
from biddable.run import jsonl, records
from biddable.run.lineage import Node
from biddable.run.records import Answer, Comparison, Prompt, Replies


class Tile(NamedTuple):
    """One number at the top of the page."""

    value: str
    what: str
    detail: str
    source: str


class Step(NamedTuple):
    """One station of the loop: what happens there, its numbers, and the stages that did it."""

    title: str
    text: str
    numbers: list[tuple[str, str]]
    stages: list[str]
    seconds: str


class Sample(NamedTuple):
    """One prompt with the models' answers side by side."""

    prompt: Prompt
    columns: list[tuple[str, str, Answer, str]]  # colour role, title, answer, what labelers thought


class Branch(NamedTuple):
    """One line of the lineage tree."""

    word: str
    node: Node
    what: str
    same: bool
    seen: bool  # drawn further up already
    below: list[Any]


def headline(e: Evidence) -> tuple[str, list[Tile]]:
    """The main sentence and the tiles below it."""
    ppo, sft, start = e.short(e.ppo), e.short(e.sft), e.start()
    found = e.rate(ppo, sft)
    sentence = "No pair of the PPO and the SFT policy was ranked"
    if found:
        sentence = wording.capital(wording.verdict(e.judges, e.title(ppo), e.title(sft), found))
    tiles = [
        Tile(
            percent(rate.value),
            f"{e.title(one)} over {e.title(other)}",
            interval(rate),
            e.winrate.name,
        )
        for one, other in ((ppo, sft), (sft, start), (ppo, start))
        if other and (rate := e.rate(one, other))
    ]
    accuracy, agreement = (
        estimate(e.reward.summary, "accuracy_valid"),
        estimate(e.reward.summary, "agreement"),
    )
    if accuracy:
        detail = f"two labelers agree in {percent(agreement.value)}" if agreement else interval(accuracy)
        tiles.append(
            Tile(percent(accuracy.value), "of pairs ordered right by the reward model", detail, e.reward.name)
        )
    change = estimate(e.text.summary, f"nll_change_{ppo}") if e.text else None
    if e.text and change:
        detail = "95 % interval " + " to ".join(signed(end, 2) for end in (change.low, change.high))
        if e.plain and (without := estimate(e.text.summary, f"nll_change_{e.short(e.plain)}")):
            detail = f"{signed(without.value)} after {e.title(e.short(e.plain))}"
        tiles.append(
            Tile(signed(change.value), f"NLL of ordinary text after {e.title(ppo)}", detail, e.text.name)
        )
    return sentence, tiles


def interval(found: Estimate) -> str:
    """The interval of a share, as short as a tile wants it."""
    return f"95 % interval {100 * found.low:.0f}–{percent(found.high)}"


def loop(e: Evidence) -> list[Step]:
    """The loop as stations, found by following the inputs, whatever the stages are called."""
    through = e.lineage.through
    prompts, shown = through(e.ppo, "prompts"), through(e.sft, "demonstrations")
    replies, ranked = through(e.comparisons, "replies"), through(e.winrate, "comparisons")
    asked = prompts and prompts.rows.get("prompts.jsonl")
    stations: list[tuple[str, str, list[tuple[str, str] | None], list[Node | None]]] = [
        (
            "Ask",
            "Prompts are cleaned and split, so that no user’s prompts are both learned from and measured with.",
            [(count(asked), "prompts") if asked else None],
            [prompts],
        ),
        (
            "Show",
            "Labelers give the answers they would want to see. The model learns to imitate them (SFT).",
            [counted(shown, "demonstrations.jsonl", "demonstrations"), who(shown)],
            [shown, e.sft],
        ),
        (
            "Compare",
            "The model answers, labelers rank the answers, and a reward model learns what they prefer.",
            [counted(e.comparisons, "comparisons.jsonl", "rankings"), pairs(e), who(e.comparisons)],
            [replies, e.comparisons, e.reward],
        ),
        (
            "Practise",
            "The policy answers prompts and is moved towards what scores well, but not far from where it began (PPO).",
            [
                (count(e.ppo.summary["episodes"]), "episodes") if "episodes" in e.ppo.summary else None,
                (count(e.ppo.summary["steps"]), "steps") if "steps" in e.ppo.summary else None,
            ],
            [e.ppo],
        ),
        (
            "Measure",
            "Labelers who gave no training data rank all models’ answers to new prompts, blind.",
            [counted(ranked, "comparisons.jsonl", "rankings"), who(ranked)],
            [e.replies, ranked, e.winrate],
        ),
    ]
    steps = []
    for title, text, numbers, nodes in stations:
        own = [node for node in nodes if node is not None]
        took = sum(float(node.manifest.get("seconds", 0)) for node in own)
        steps.append(
            Step(
                title,
                text,
                [n for n in numbers if n],
                [n.name for n in own],
                wording.seconds(took),
            )
        )
    return steps


def counted(node: Node | None, file: str, what: str) -> tuple[str, str] | None:
    """How many records a stage's file holds."""
    return (count(node.rows[file]), what) if node and file in node.rows else None


def who(node: Node | None) -> tuple[str, str] | None:
    """How many people gave a stage's labels."""
    if node is None or not node.people:
        return None
    return count(
        len({one.labeler for one in node.people})
    ), "simulated labelers" if node.simulated else "labelers"


def pairs(e: Evidence) -> tuple[str, str] | None:
    """Pairs that the reward model learned from."""
    return (count(e.reward.summary["pairs"]), "pairs") if "pairs" in e.reward.summary else None


def samples(e: Evidence, most: int) -> list[Sample]:
    """Prompts drawn by chance, use cases in turn, with every model's first answer; plain PPO is left to the numbers."""
    rows = jsonl.read(e.replies.folder / "replies.jsonl", Replies)
    left_out = e.plain.name if e.plain else None
    opinions = ranks(e)
    by_use_case: dict[str, list[Replies]] = collections.defaultdict(list)
    for row in sorted(rows, key=lambda row: records.hash_fraction("sample", row.prompt.id)):
        by_use_case[row.prompt.use_case or ""].append(row)
    turns = itertools.zip_longest(*by_use_case.values())
    drawn = [row for turn in turns for row in turn if row is not None][:most]
    found = []
    for row in drawn:
        first = {answer.model: answer for answer in reversed(row.answers) if answer.model != left_out}
        order = list(dict.fromkeys(a.model for a in row.answers if a.model in first))
        columns = [
            (
                e.role(e.short_of(m)),
                e.title(e.short_of(m)),
                first[m],
                opinions.get((row.prompt.id, m, first[m].text), ""),
            )
            for m in order
        ]
        found.append(Sample(row.prompt, columns))
    return found


def ranks(e: Evidence) -> dict[tuple[str, str, str], str]:
    """What the labelers behind the win rates thought of an answer: its mean rank."""
    node = e.lineage.through(e.winrate, "comparisons")
    if node is None or "comparisons.jsonl" not in node.rows:
        return {}
    held: dict[tuple[str, str, str], list[tuple[int, int]]] = collections.defaultdict(list)
    for row in jsonl.read(node.folder / "comparisons.jsonl", Comparison):
        for answer, rank in zip(row.answers, row.ranks, strict=True):
            held[row.prompt.id, answer.model, answer.text].append((rank, len(row.answers)))
    return {
        key: f"mean rank {sum(rank for rank, _ in seen) / len(seen):.1f} of {max(of for _, of in seen)}"
        for key, seen in held.items()
    }


def practice(e: Evidence) -> list[tuple[int, list[dict[str, Any]]]]:
    """What the policy wrote while it learned: samples of its first, middle and last step."""
    rows = jsonl.read_objects(e.ppo.folder / "samples.jsonl", ("step", "prompt", "answer"))
    steps = sorted({int(row["step"]) for row in rows})
    kept = sorted({steps[0], steps[len(steps) // 2], steps[-1]}) if steps else []
    return [(step, [row for row in rows if row["step"] == step][:3]) for step in kept]


def walk(e: Evidence) -> list[tuple[str, Node, str]]:
    """From the headline back to the prompts, one sentence a stop."""
    ranked, shown = e.lineage.through(e.winrate, "comparisons"), e.lineage.through(e.sft, "demonstrations")
    prompts = e.lineage.through(e.ppo, "prompts")
    stops = [
        ("The win rates", e.winrate, "count pairs of answers."),
        ("The pairs are from rankings", ranked, labels(ranked)),
        ("of answers", e.replies, "by all models to the same new prompts."),
        ("The policy", e.ppo, settings(e.ppo, "episodes", "kl_coef", "ptx_coef")),
        ("was scored by the reward model", e.reward, settings(e.reward, "epochs", "batch")),
        ("which learned from rankings", e.comparisons, labels(e.comparisons)),
        ("of answers by the SFT policy", e.sft, settings(e.sft, "epochs", "learning_rate")),
        ("which learned from demonstrations", shown, labels(shown)),
        (
            "All of them start from prompts",
            prompts,
            f"{count(prompts.rows.get('prompts.jsonl', 0))} prompts." if prompts else "",
        ),
    ]
    return [(title, node, text) for title, node, text in stops if node is not None]


def settings(node: Node, *names: str) -> str:
    """The settings that matter most, in words."""
    held = node.manifest.get("settings", {})
    return ", ".join(f"{name} {held[name]}" for name in names if name in held)


def labels(node: Node | None) -> str:
    """Whose labels a stage holds, by what guidelines."""
    if node is None or not node.people:
        return ""
    kind = node.people[0].kind
    total = sum(one.labels for one in node.people)
    names = sorted({one.labeler for one in node.people})
    shown = ", ".join(names[:8]) + (f" and {count(len(names) - 8)} more" if len(names) > 8 else "")
    guidelines = ", ".join(sorted({g for one in node.people for g in one.guidelines}))
    people = "simulated labelers" if node.simulated else "labelers"
    return f"{count(total)} {kind} by {count(len(names))} {people} ({shown}), guideline {guidelines}."


def tree(e: Evidence, node: Node, seen: set[str], word: str = "", same: bool = True) -> Branch:
    """A node with everything behind it; what was drawn already is only named."""
    drawn = node.name in seen
    seen.add(node.name)
    below = [] if drawn else [tree(e, e.lineage.nodes[a.name], seen, a.word, a.same) for a in node.arrows]
    rows = ", ".join(f"{count(n)} lines of {file}" for file, n in node.rows.items())
    return Branch(word, node, labels(node) or rows, same, drawn, below)


def crowd(e: Evidence) -> Iterator[list[str]]:
    """One line for each labeler: who, which panel, what they gave, by which guidelines."""
    held: dict[tuple[str, str, bool], dict[str, int]] = collections.defaultdict(
        lambda: collections.defaultdict(int)
    )
    rules: dict[tuple[str, str, bool], set[str]] = collections.defaultdict(set)
    for one in e.lineage.people():
        key = (one.labeler, one.panel.replace("_", "-"), one.simulated)
        held[key][one.kind] += one.labels
        rules[key].update(one.guidelines)
    for (labeler, panel, simulated), gave in sorted(held.items(), key=lambda item: (item[0][1], item[0][0])):
        kinds = [
            count(gave[kind]) if gave[kind] else "" for kind in ("demonstrations", "rankings", "ratings")
        ]
        guidelines = ", ".join(sorted(rules[labeler, panel, simulated]))
        yield [labeler, panel, "simulated" if simulated else "person", *kinds, guidelines]
