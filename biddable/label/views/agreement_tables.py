"""Tables of people's agreement, for admins: rankings, ratings and yes/no questions."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

from biddable.label import agreement, kinds
from biddable.label.agreement import Figure, Ranking, RankingPair
from biddable.label.kinds import Score
from biddable.label.queue import CollectedLabel

Judgment = tuple[str, str, float]
"""(item, judge, value), as Krippendorff's alpha takes them."""
PAPER_AGREEMENT = {
    "training": "Ouyang et al. 2022 report 72.6 % among training labelers",
    "held_out": "Ouyang et al. 2022 report 77.3 % among held-out labelers",
}
"""What to compare with (section 3.4)."""


class Row(NamedTuple):
    """One line of a table of figures: what it is, and the figure; none when there is nothing to go by."""

    name: str
    figure: Figure | None
    is_share: bool = True  # shown in per cent; False: a coefficient from -1 to 1


class Table(NamedTuple):
    """Figures that belong together."""

    title: str
    about: str
    rows: list[Row]


def rankings(labels: Iterable[CollectedLabel]) -> list[Ranking]:
    """The rankings among labels; people are known by their pseudonyms. Admins' own decisions are left out."""
    return [
        Ranking(label.task, label.person.pseudonym, ranks, label.person.panel, label.guideline, label.created)
        for label in labels
        if (kind := kinds.find(label.kind)) is not None
        and (ranks := kind.ranks(label)) is not None
        and not label.decided
    ]


def ranking_tables(rows: Sequence[Ranking]) -> list[Table]:
    """Agreement of rankings: all measures by panel, then the share by labeler, by day and by guideline."""
    pairs = agreement.ranking_pairs(rows)
    by_panel = _by_name(agreement.grouped(pairs, lambda ranking: ranking.panel))
    panels = sorted(by_panel, key=lambda panel: panel != "training")
    tables = [
        _measures(panel, by_panel[panel], [row for row in rows if row.panel == panel]) for panel in panels
    ]
    by_guideline = _by_name(agreement.grouped(pairs, lambda ranking: ranking.guideline))
    for title, about, groups in (
        (
            "Labeler by labeler",
            "with everybody else who ranked the same answers",
            agreement.by_labeler(pairs),
        ),
        ("Day by day", "of the later of two rankings (UTC)", agreement.by_day(pairs)),
        ("By guideline", "both people had read the same version", by_guideline),
    ):
        if len(groups) > 1:
            shares = [Row(name, agreement.pairwise_agreement(group)) for name, group in groups.items()]
            tables.append(Table(title, about, shares))
    return tables


def _by_name(groups: dict[Hashable, list[RankingPair]]) -> dict[str, list[RankingPair]]:
    return {str(name): pairs for name, pairs in groups.items()}


def _measures(panel: str, pairs: list[RankingPair], rows: list[Ranking]) -> Table:
    measures = [
        Row("pairs ordered alike", agreement.pairwise_agreement(pairs)),
        Row("pairs judged alike, ties included", agreement.pairwise_agreement_with_ties(pairs)),
        Row("Kendall’s τ-b", agreement.mean_kendall_tau(pairs), is_share=False),
        Row("Kendall’s W", agreement.mean_kendall_w(rows), is_share=False),
    ]
    reported = PAPER_AGREEMENT["training" if panel == "training" else "held_out"]
    return Table(_title("Rankings", panel), f"{reported}, as pairs ordered alike", measures)


def _title(what: str, panel: str) -> str:
    return f"{what}, panel {panel.replace('_', ' ')}"


def rating_tables(labels: Iterable[CollectedLabel]) -> list[Table]:
    """Krippendorff's alpha of ratings (ordinal) and of each yes/no question (nominal), by panel; of ratings
    by themselves and of those beside a ranking."""
    overall: dict[str, list[Judgment]] = {}
    marks: dict[str, dict[str, list[Judgment]]] = {}
    for panel, judge, score in _scores(labels):
        if score.overall is not None:
            overall.setdefault(panel, []).append((score.item, judge, float(score.overall)))
        for mark, value in score.marks.items():
            if value is not None:
                by_mark = marks.setdefault(panel, {})
                by_mark.setdefault(mark, []).append((score.item, judge, float(value)))
    about = "Krippendorff’s α: 1 is perfect, 0 is chance; none when nobody ever differed from the rest"
    tables = []
    for panel in sorted({*overall, *marks}):
        rows = [
            Row(
                "overall, 1 to 7 (ordinal)",
                agreement.krippendorff_alpha(overall.get(panel, []), "ordinal"),
                False,
            ),
            *(
                Row(mark.replace("_", " "), agreement.krippendorff_alpha(judgments, "nominal"), False)
                for mark, judgments in sorted(marks.get(panel, {}).items())
            ),
        ]
        tables.append(Table(_title("Ratings", panel), about, [row for row in rows if row.figure]))
    return [table for table in tables if table.rows]


def _scores(labels: Iterable[CollectedLabel]) -> Iterator[tuple[str, str, Score]]:
    """(panel, pseudonym, score) of every answer that labels say something of. Admins' own decisions are left
    out."""
    for label in labels:
        kind = kinds.find(label.kind)
        if kind is not None and not label.decided:
            for score in kind.scores(label):
                yield label.person.panel, label.person.pseudonym, score
