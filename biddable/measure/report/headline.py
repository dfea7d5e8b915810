"""The top of the page: the main sentence and the tiles below it."""

from __future__ import annotations

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
    source: str


def headline(evidence: Evidence) -> tuple[str, list[Tile]]:
    """The main sentence and the tiles below it."""
    ppo, sft, start = evidence.short(evidence.ppo), evidence.short(evidence.sft), evidence.start()
    found = evidence.rate(ppo, sft)
    sentence = "No pair of the PPO and the SFT policy was ranked"
    if found:
        sentence = wording.capital(
            wording.verdict(evidence.judges, evidence.title(ppo), evidence.title(sft), found)
        )
    tiles = [
        Tile(
            percent(rate.value),
            f"{evidence.title(one)} over {evidence.title(other)}",
            format_interval(rate),
            evidence.winrate.name,
        )
        for one, other in ((ppo, sft), (sft, start), (ppo, start))
        if other and (rate := evidence.rate(one, other))
    ]
    accuracy, agreement = (
        estimate(evidence.reward.summary, "accuracy_valid"),
        estimate(evidence.reward.summary, "agreement"),
    )
    if accuracy:
        detail = (
            f"two labelers agree in {percent(agreement.value)}" if agreement else format_interval(accuracy)
        )
        tiles.append(
            Tile(
                percent(accuracy.value),
                "of pairs ordered right by the reward model",
                detail,
                evidence.reward.name,
            )
        )
    change = estimate(evidence.text.summary, f"nll_change_{ppo}") if evidence.text else None
    if evidence.text and change:
        detail = "95 % interval " + " to ".join(signed(end, 2) for end in (change.low, change.high))
        if evidence.plain and (
            without := estimate(evidence.text.summary, f"nll_change_{evidence.short(evidence.plain)}")
        ):
            detail = f"{signed(without.value)} after {evidence.title(evidence.short(evidence.plain))}"
        tiles.append(
            Tile(
                signed(change.value),
                f"NLL of ordinary text after {evidence.title(ppo)}",
                detail,
                evidence.text.name,
            )
        )
    return sentence, tiles


def format_interval(found: Estimate) -> str:
    """The interval of a share, as short as a tile wants it."""
    return f"95 % interval {100 * found.low:.0f}–{percent(found.high)}"
