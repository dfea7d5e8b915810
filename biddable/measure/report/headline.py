"""The top of the page: the main sentence and the tiles below it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from biddable.measure.report import wording
from biddable.measure.report.evidence import Evidence, estimate
from biddable.measure.report.wording import percent, signed
from biddable.measure.statistics import Estimate


class Tile(NamedTuple):
    """One number at the top of the page."""

    value: str
    what: str
    detail: str
    source: str  # the stage that it is from


def headline(evidence: Evidence) -> tuple[str, list[Tile]]:
    """The main sentence and the tiles below it."""
    ppo, sft = evidence.short(evidence.ppo), evidence.short(evidence.sft)
    rate = evidence.rate(ppo, sft)
    sentence = f"No pair of the {evidence.algorithm} and the SFT policy was ranked"
    if rate:
        verdict = wording.verdict(evidence.judges, evidence.title(ppo), evidence.title(sft), rate)
        sentence = wording.capital(verdict)
    return sentence, [*winrate_tiles(evidence), *reward_tiles(evidence), *text_tiles(evidence)]


def winrate_tiles(evidence: Evidence) -> Iterator[Tile]:
    """PPO over SFT, SFT over the start model, PPO over the start model: those that were measured."""
    ppo, sft, start = evidence.short(evidence.ppo), evidence.short(evidence.sft), evidence.start()
    for winner, loser in ((ppo, sft), (sft, start), (ppo, start)):
        if loser and (rate := evidence.rate(winner, loser)):
            what = f"{evidence.title(winner)} over {evidence.title(loser)}"
            yield Tile(percent(rate.value), what, format_interval(rate), evidence.winrate.name)


def reward_tiles(evidence: Evidence) -> Iterator[Tile]:
    """The reward model's accuracy, beside what labelers reach with each other."""
    accuracy = estimate(evidence.reward.summary, "accuracy_valid")
    agreement = estimate(evidence.reward.summary, "agreement")
    if accuracy:
        detail = (
            f"two labelers agree in {percent(agreement.value)}" if agreement else format_interval(accuracy)
        )
        what = "of pairs ordered right by the reward model"
        yield Tile(percent(accuracy.value), what, detail, evidence.reward.name)


def text_tiles(evidence: Evidence) -> Iterator[Tile]:
    """The alignment tax on running text, beside plain PPO's where there is one."""
    if evidence.text is None:
        return
    changes, ppo = evidence.text.summary, evidence.short(evidence.ppo)
    change = estimate(changes, f"nll_change_{ppo}")
    if change is None:
        return
    detail = f"95 % interval {signed(change.low, 2)} to {signed(change.high, 2)}"
    if evidence.plain and (plain := estimate(changes, f"nll_change_{evidence.short(evidence.plain)}")):
        detail = f"{signed(plain.value)} after {evidence.node_title(evidence.plain)}"
    what = f"NLL of ordinary text after {evidence.title(ppo)}"
    yield Tile(signed(change.value), what, detail, evidence.text.name)


def format_interval(rate: Estimate) -> str:
    """The interval of a share, as short as a tile wants it."""
    return f"95 % interval {100 * rate.low:.0f}–{percent(rate.high)}"
