"""report.html: one self-contained page that explains a run to a newcomer and traces every number back to labels and people.

No script, nothing loaded from elsewhere: plots are inline SVG, the style is inline, light and dark follow the reader's setting. What models
wrote is hostile text and is escaped. The page depends on nothing but its inputs: the same run gives the same bytes. Parts whose stages a run
lacks are left out with a sentence that says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from biddable.measure.report.evidence import Evidence
from biddable.run import html, jsonl
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.lineage import Lineage, Node
from biddable.run.manifest import read_summary
from biddable.run.records import Comparison, Rating, Replies


class Config(Settings):
    """Settings of measure.report."""

    renamed: ClassVar[dict[str, str]] = {
        "ratings": "ratings_by_step",
        "rated": "ratings_by_model",
        "others": "other_winrates",
        "others_at": "axis_values",
        "others_axis": "axis_label",
    }

    winrate: Input = Path("measure.winrate")
    """The headline: win rates by held-out labelers."""
    ppo: Input = Path("learn.ppo")
    """The policy in the headline; one of [learn.a2c] is called A2C on the page."""
    plain: Input | None = None
    """PPO without the pretraining mix, to compare with; none: left out."""
    reward: Input = Path("learn.reward")
    """The reward model."""
    sft: Input = Path("learn.sft")
    """The fine-tuned model that PPO started from."""
    comparisons: Input = Path("label.comparisons")
    """The rankings that the reward model learned from."""
    ratings_by_step: Input | None = None
    """Ratings of the policy's answers at several steps, for gold score against KL; none: left out."""
    text: Input | None = None
    """Likelihood of running text (`measure.text`), for the alignment tax; none: left out."""
    benchmarks: tuple[Input, ...] = ()
    """[measure.benchmarks] folders, for the alignment tax; none: left out."""
    ratings_by_model: Input | None = None
    """[measure.ratings]: overall quality from 1 to 7 and the form's questions, by model; none: left out."""
    rules: Input | None = None
    """[measure.rules]: how often each policy breaks rules under probing, and the frontier; none: left out."""
    rewards: Input | None = None
    """[measure.rewards]: how reward models, and a judge, order answers beside people; none: left out."""
    other_winrates: tuple[Input, ...] = ()
    """[measure.winrate] folders of earlier rounds or of other model sizes, in the order of the axis, before this run's; none: left out."""
    axis_values: tuple[float, ...] = ()
    """Where `other_winrates` and then this run's stand on the axis, e.g. numbers of parameters; none: 1, 2, 3, ..."""
    axis_label: str = "round"
    """What that axis shows."""
    replies: Input = Path("learn.replies.test")
    """Answers of all models to the same prompts, for the samples side by side."""
    samples: int = Field(default=6, ge=0)
    """Prompts shown with all models' answers; drawn at random, use cases in turn."""


def run(cfg: Config, context: StageContext) -> None:
    """Check every input, draw the page, and put it in place whole."""
    check_inputs(cfg, context)
    page = render(cfg, context)
    html.write_page(context.path("report.html"), page)
    context.summary |= {"bytes": len(page.encode()), "plots": page.count("<svg ")}


def check_inputs(cfg: Config, context: StageContext) -> None:
    """Raise UserError with all folders that cannot be what their setting says, or when matplotlib is missing."""
    errors: list[str] = []
    for setting, folder in input_folders(cfg):
        try:
            read_summary(folder)
        except UserError as error:
            errors += [f"{setting}: {line}" for line in error.lines]
    for setting, value, file, kind in (
        ("comparisons", cfg.comparisons, "comparisons.jsonl", Comparison),
        ("replies", cfg.replies, "replies.jsonl", Replies),
        ("ratings_by_step", cfg.ratings_by_step, "ratings.jsonl", Rating),
    ):
        try:
            if value:
                jsonl.read(value / file, kind)
        except UserError as error:
            errors += [f"{setting}: {line}" for line in error.lines]
    if not errors and not any("_over_" in key for key in read_summary(cfg.winrate)):
        errors.append(f"winrate: {cfg.winrate} holds no win rates; name the folder of a [measure.winrate]")
    if cfg.winrate.resolve() in {folder.resolve() for folder in cfg.other_winrates}:
        errors.append(
            f"other_winrates: {cfg.winrate} is this run's, which is always added last; leave it out"
        )
    if cfg.axis_values and len(cfg.axis_values) != len(cfg.other_winrates) + 1:
        errors.append(
            f"axis_values: {len(cfg.axis_values)} values for {len(cfg.other_winrates)} other_winrates and this run; "
            "must be one each"
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        errors.append("matplotlib is missing: pip install 'biddable[measure]'")
    if errors:
        raise UserError([f"[{context.key}] {line}" for line in errors])


def input_folders(cfg: Config) -> Iterator[tuple[str, Path]]:
    """(setting, folder) of every input, one pair a folder; the order decides how the lineage is drawn."""
    single = {
        "winrate": cfg.winrate,
        "ppo": cfg.ppo,
        "plain": cfg.plain,
        "reward": cfg.reward,
        "sft": cfg.sft,
        "comparisons": cfg.comparisons,
        "ratings_by_step": cfg.ratings_by_step,
        "text": cfg.text,
        "replies": cfg.replies,
        "ratings_by_model": cfg.ratings_by_model,
        "rules": cfg.rules,
        "rewards": cfg.rewards,
    }
    yield from ((setting, folder) for setting, folder in single.items() if folder)
    yield from (("benchmarks", folder) for folder in cfg.benchmarks)
    yield from (("other_winrates", folder) for folder in cfg.other_winrates)


def gather(cfg: Config, lineage: Lineage, seed: int) -> Evidence:
    """The settings' folders as nodes of a lineage that has walked all of them."""
    return Evidence(
        lineage=lineage,
        winrate=lineage.of(cfg.winrate),
        ppo=lineage.of(cfg.ppo),
        plain=lineage.of(cfg.plain) if cfg.plain else None,
        reward=lineage.of(cfg.reward),
        sft=lineage.of(cfg.sft),
        comparisons=lineage.of(cfg.comparisons),
        ratings_by_step=lineage.of(cfg.ratings_by_step) if cfg.ratings_by_step else None,
        text=lineage.of(cfg.text) if cfg.text else None,
        replies=lineage.of(cfg.replies),
        ratings_by_model=lineage.of(cfg.ratings_by_model) if cfg.ratings_by_model else None,
        rules=lineage.of(cfg.rules) if cfg.rules else None,
        rewards=lineage.of(cfg.rewards) if cfg.rewards else None,
        benchmarks=[lineage.of(folder) for folder in cfg.benchmarks],
        other_winrates=[lineage.of(folder) for folder in cfg.other_winrates],
        axis_values=cfg.axis_values,
        axis_label=cfg.axis_label,
        seed=seed,
    )


def render(cfg: Config, context: StageContext) -> str:
    """The page as text."""
    # Imported here: `biddable check` needs `Config` only, and not the drawing.
    from biddable.measure.report import (
        chapters,
        headline,
        lineage_picture,
        loop,
        provenance,
        samples,
        wording,
    )
    from biddable.run.lineage import code_versions

    lineage = Lineage([folder for _, folder in input_folders(cfg)])
    evidence = gather(cfg, lineage, context.seed)
    drawn = []
    for number, chapter in enumerate(chapters.CHAPTERS, 1):
        drawn.append(chapter(evidence))
        context.progress(number, len(chapters.CHAPTERS))
    sentence, tiles = headline.headline(evidence)
    environment = html.environment(Path(__file__).parent, finalize=wording.printable)
    environment.filters |= {
        "clean": wording.clean,
        "number": wording.number,
        "seconds": wording.seconds,
        "count": wording.count,
    }
    nodes = list(lineage.nodes.values())
    return environment.get_template("report.html").render(
        run=run_name(evidence.ppo, context),
        finished=max((str(node.manifest.get("finished", "")) for node in nodes), default=""),
        simulated=evidence.simulated,
        random=any(node.manifest.get("settings", {}).get("model") == "tiny" for node in nodes),
        sentence=sentence,
        tiles=tiles,
        steps=loop.stations(evidence),
        chapters=drawn,
        samples=samples.samples(evidence, cfg.samples),
        training_samples=samples.training_samples(evidence),
        policy=evidence.node_title(evidence.ppo),
        walk=provenance.walk(evidence),
        picture=lineage_picture.draw(lineage, evidence.winrate),
        code=code_versions(lineage),
        tree=provenance.tree(evidence, evidence.winrate, set()),
        labelers=list(provenance.labeler_rows(evidence)),
        nodes=nodes,
    )


def run_name(node: Node, context: StageContext) -> str:
    """The run that the page is about."""
    return str(node.manifest.get("run") or context.folder.parent.name)
