"""The lineage as a picture: what stands where, which arrows are drawn, that names cannot break out of it."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from biddable.measure.report import lineage_picture
from biddable.run.lineage import Arrow, Lineage, Node


def small(*nodes: tuple[str, tuple[str, ...]]) -> Lineage:
    """A lineage of stages by name with what each reads."""
    walked = Lineage([])
    for name, reads in nodes:
        walked.nodes[name] = Node(
            name, Path(name), arrows=tuple(Arrow("input", one, "", True) for one in reads)
        )
    return walked


def test_an_arrow_that_a_longer_way_implies_is_left_out() -> None:
    walked = small(("a", ()), ("b", ("a",)), ("c", ("b", "a")), ("d", ("c", "a", "b")), ("other", ("a",)))
    stages = lineage_picture.stages_behind(walked, walked.nodes["d"])
    assert stages == ["a", "b", "c", "d"]  # not what the last one never read
    assert lineage_picture.direct_arrows(walked, stages) == [("a", "b"), ("b", "c"), ("c", "d")]


def test_a_stage_stands_below_all_that_it_read_and_alone() -> None:
    walked = small(
        ("collect.files", ()),
        ("learn.start", ()),
        ("learn.sft", ("learn.start", "collect.files")),
        ("x", ()),
        ("y", ("learn.sft",)),
    )
    boxes = lineage_picture.place_boxes(walked, list(walked.nodes))
    assert {name: (box.lane, box.row) for name, box in boxes.items()} == {
        "collect.files": (lineage_picture.RECORDS, 0),
        "learn.start": (lineage_picture.MODELS, 0),
        "learn.sft": (lineage_picture.MODELS, 1),
        "x": (lineage_picture.RECORDS, 1),
        "y": (lineage_picture.RECORDS, 2),
    }


def test_the_whole_run_as_an_element_of_the_page(whole: Path) -> None:
    walked = Lineage([whole / "measure.winrate"])
    node = walked.of(whole / "measure.winrate")
    root = ElementTree.fromstring(str(lineage_picture.draw(walked, node)).replace("&ensp;", ""))
    links = [one.attrib["href"] for one in root.iter("a")]
    assert {f"#stage-{name}" for name in walked.nodes} <= set(links)
    assert links.count("#people") == len([one for one in walked.nodes.values() if one.people])
    said = " ".join("".join(one.itertext()) for one in root.iter("a"))
    assert (
        "held-out-1" in said and "evaluation-1" in said
    )  # pseudonyms and guideline, for pointing and for reading aloud
    assert len([one for one in root.iter("path") if one.get("class") == "arrow"]) >= len(walked.nodes) - 3


def test_names_are_text(whole: Path) -> None:
    walked = small(('<b>"bold"</b>', ()))
    drawn = str(lineage_picture.draw(walked, walked.nodes['<b>"bold"</b>']))
    assert "<b>" not in drawn and not re.search(r'href="[^"]*"[^ >]', drawn)
    ElementTree.fromstring(drawn)
