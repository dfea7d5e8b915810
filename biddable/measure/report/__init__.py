"""The report: one self-contained HTML page that tells a run to a newcomer, with every number's way back to the labels and the people.

No script, nothing from elsewhere: plots are inline SVG, the style is inline, light and dark follow the reader's setting. What models wrote is hostile
text and is escaped. The page depends on nothing but its inputs: the same run gives the same bytes. Parts whose stages a run lacks are left out with a
sentence that says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from biddable.run import html, jsonl
from biddable.run.config import Input, Settings, UserError
from biddable.run.context import StageContext
from biddable.run.lineage import Lineage, Node
from biddable.run.manifest import read_summary
from biddable.run.records import Comparison, Rating, Replies


class Config(Settings):
    winrate: Input = Path("measure.winrate")
    """The headline: win rates by held-out labelers."""
    ppo: Input = Path("learn.ppo")
    """The policy in the headline."""
    plain: Input | None = None
    """PPO without the pretraining mix, to compare with; none: left out."""
    reward: Input = Path("learn.reward")
    """The reward model."""
    sft: Input = Path("learn.sft")
    """The fine-tuned model that PPO began as."""
    comparisons: Input = Path("label.comparisons")
    """The rankings that the reward model learned from."""
    ratings: Input | None = None
    """Ratings of the policy's answers at several steps, for gold score against KL; none: left out."""
    text: Input | None = None
    """Likelihood of running text (`measure.text`), for the alignment tax; none: left out."""
    benchmarks: tuple[Input, ...] = ()
    """[measure.benchmarks] folders, for the alignment tax; none: left out."""
    rated: Input | None = None
    """[measure.ratings]: the 1 to 7 and the form's questions by model; none: left out."""
    others: tuple[Input, ...] = ()
    """[measure.winrate] folders of earlier rounds or of other sizes, in the order of the axis before this run's; none: left out."""
    others_at: tuple[float, ...] = ()
    """Where they and this run's stand on the axis, e.g. parameters; none: 1, 2, 3, ..."""
    others_axis: str = "round"
    """What that axis is."""
    replies: Input = Path("learn.replies.test")
    """Answers of all models to the same prompts, for the samples side by side."""
    samples: int = Field(default=6, ge=0)
    """Prompts shown with all models' answers; drawn by chance, use cases in turn."""


def run(cfg: Config, context: StageContext) -> None:
    refuse(cfg, context)
    page = render(cfg, context)
    html.write_page(context.path("report.html"), page)
    context.summary |= {"bytes": len(page.encode()), "plots": page.count("<svg ")}


def refuse(cfg: Config, context: StageContext) -> None:
    """Refuse folders that cannot be what their setting says, all at once, and an installation that cannot draw."""
    wrong: list[str] = []
    named = [*_inputs(cfg).items(), ("rated", cfg.rated)]
    named += [("benchmarks", folder) for folder in cfg.benchmarks] + [
        ("others", folder) for folder in cfg.others
    ]
    for word, folder in named:
        if folder is None:
            continue
        try:
            read_summary(folder)
        except UserError as refusal:
            wrong += [f"{word}: {line}" for line in refusal.lines]
    for word, folder, file, kind in (
        ("comparisons", cfg.comparisons, "comparisons.jsonl", Comparison),
        ("replies", cfg.replies, "replies.jsonl", Replies),
        ("ratings", cfg.ratings, "ratings.jsonl", Rating),
    ):
        try:
            _ = folder and jsonl.read(folder / file, kind)
        except UserError as refusal:
            wrong += [f"{word}: {line}" for line in refusal.lines]
    if not wrong and not any("_over_" in key for key in read_summary(cfg.winrate)):
        wrong.append(f"winrate: {cfg.winrate} holds no win rates; name the folder of a [measure.winrate]")
    if cfg.winrate.resolve() in {folder.resolve() for folder in cfg.others}:
        wrong.append(f"others: {cfg.winrate} is this run's own, which stands last by itself; leave it out")
    if cfg.others_at and len(cfg.others_at) != len(cfg.others) + 1:
        wrong.append(
            f"others_at: {len(cfg.others_at)} places for {len(cfg.others)} others and this run; give one each"
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        wrong.append("matplotlib is missing: pip install 'biddable[measure]'")
    if wrong:
        raise UserError([f"[{context.key}] {line}" for line in wrong])


def _inputs(cfg: Config) -> dict[str, Path | None]:
    return {
        "winrate": cfg.winrate,
        "ppo": cfg.ppo,
        "plain": cfg.plain,
        "reward": cfg.reward,
        "sft": cfg.sft,
        "comparisons": cfg.comparisons,
        "ratings": cfg.ratings,
        "text": cfg.text,
        "replies": cfg.replies,
    }


def render(cfg: Config, context: StageContext) -> str:
    """The page as text."""
    from biddable.measure.report import chapters, costs, health, lineage_picture, story, wording
    from biddable.measure.report.evidence import Evidence
    from biddable.run.lineage import code_versions

    folders = _inputs(cfg)
    walked = Lineage(costs.folders(*folders.values(), cfg.rated, cfg.benchmarks, cfg.others))
    nodes: dict[str, Any] = {word: walked.of(folder) if folder else None for word, folder in folders.items()}
    e = Evidence(walked, **nodes)
    parts: list[Any] = []
    for number, part in enumerate(
        (
            chapters.win_rates,
            chapters.reward_model,
            chapters.learning,
            lambda given: chapters.over_optimisation(given, context.seed),
            chapters.tax,
            lambda given: costs.benchmarks(given, [walked.of(folder) for folder in cfg.benchmarks]),
            lambda given: costs.rated(given, walked.of(cfg.rated) if cfg.rated else None),
            lambda given: costs.rounds(
                given, [walked.of(folder) for folder in cfg.others], cfg.others_at, cfg.others_axis
            ),
            health.signs,
            health.supervised,
            health.costs,
        )
    ):
        parts.append(part(e))
        context.progress(number + 1, 11)
    sentence, tiles = story.headline(e)
    environment = html.environment(Path(__file__).parent, finalize=wording.printable)
    environment.filters |= {
        "clean": wording.clean,
        "number": wording.number,
        "seconds": wording.seconds,
        "count": wording.count,
    }
    return environment.get_template("report.html").render(
        run=run_name(e.ppo, context),
        finished=max((str(n.manifest.get("finished", "")) for n in walked.nodes.values()), default=""),
        simulated=e.simulated,
        random=any(
            node.manifest.get("settings", {}).get("model") == "tiny" for node in walked.nodes.values()
        ),
        sentence=sentence,
        tiles=tiles,
        steps=story.loop(e),
        chapters=parts,
        samples=story.samples(e, cfg.samples),
        practice=story.practice(e),
        policy=e.title(e.short(e.ppo)),
        walk=story.walk(e),
        picture=lineage_picture.draw(walked, e.winrate),
        code=code_versions(walked),
        tree=story.tree(e, e.winrate, set()),
        crowd=list(story.crowd(e)),
        nodes=list(walked.nodes.values()),
    )


def run_name(node: Node, context: StageContext) -> str:
    """The run that the page is about."""
    return str(node.manifest.get("run") or context.folder.parent.name)
