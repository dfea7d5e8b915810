"""Small files as other programs write them, all invented, and what each of them says: `FILES` lists 46."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

ASK, GOOD, BAD = "Name a fruit.", "An apple.", "Fruit fruit."
ASK2, GOOD2, BAD2 = "Zwei Äpfel?", 'Ja, "zwei".\nGern.', "Nö; 😀"
ROWS = ((ASK, GOOD, BAD), (ASK2, GOOD2, BAD2))
HH = "\n\nHuman: Hi there.\n\nAssistant: Hello.\n\nHuman: {}\n\nAssistant:"


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]


@dataclass(frozen=True)
class File:
    """A file, the format it is taken for, and what comes out: (kind, last question, answers, what was said)."""

    name: str
    content: bytes
    format: str
    labels: list[tuple[Any, ...]]
    skipped: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    also: dict[str, bytes] = field(default_factory=dict)  # other files that belong to it


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def table(rows: list[Any], write: Callable[..., Any] = parquet.write_table) -> bytes:
    sink = pyarrow.BufferOutputStream()
    write(pyarrow.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


def stream(data: Any, sink: Any) -> None:
    with pyarrow.ipc.new_stream(sink, data.schema) as writer:
        writer.write_table(data)


def sheet(rows: list[dict[str, Any]], sign: str = ",", ends: str = "\n") -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=sign, lineterminator=ends)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


PAIRS: list[tuple[Any, ...]] = [("comparisons", ask, [good, bad], (1, 2)) for ask, good, bad in ROWS]
DEMOS: list[tuple[Any, ...]] = [("demonstrations", ask, [good], None) for ask, good, _ in ROWS]
PAIR_ROWS = [{"prompt": ask, "chosen": good, "rejected": bad} for ask, good, bad in ROWS]

SEED = [
    File("sft.jsonl", lines([{"prompt": a, "response": g} for a, g, _ in ROWS]), "prompt_response", DEMOS),
    File(
        "rm.jsonl",
        lines(
            [
                {
                    "prompt": a,
                    "responses": [
                        {"text": b, "ranking": 2},
                        {"text": g, "ranking": 1},
                        {"text": "?", "ranking": 2},
                    ],
                }
                for a, g, b in ROWS
            ]
        ),
        "answer_list",
        [("comparisons", a, [b, g, "?"], (2, 1, 2)) for a, g, b in ROWS],
    ),
    File(
        "rl.jsonl",
        lines(
            [
                {"prompt": ASK, "response": GOOD, "expected_reward": 0.9, "predicted_reward": 0.7},
                {"prompt": ASK, "response": BAD, "expected_reward": -1.5, "predicted_reward": 0.8},
                {"prompt": ASK2, "response": GOOD2, "expected_reward": 0.1, "predicted_reward": 0.0},
            ]
        ),
        "scored",
        [("comparisons", ASK, [GOOD, BAD], (1, 2)), ("prompts", ASK2, [], None)],
    ),
]
TRL = [
    File("trl-sft.jsonl", lines([{"messages": user(a) + said(g)} for a, g, _ in ROWS]), "messages", DEMOS),
    File(
        "trl-completion.jsonl",
        lines([{"prompt": user(a), "completion": said(g)} for a, g, _ in ROWS]),
        "prompt_response",
        DEMOS,
    ),
    File("trl-text.jsonl", lines(PAIR_ROWS), "preference", PAIRS),
    File(
        "trl-messages.jsonl",
        lines([{"prompt": user(a), "chosen": said(g), "rejected": said(b)} for a, g, b in ROWS]),
        "preference",
        PAIRS,
    ),
    File(
        "trl-prompt-inside.jsonl",
        lines([{"chosen": user(a) + said(g), "rejected": user(a) + said(b)} for a, g, b in ROWS]),
        "preference",
        PAIRS,
    ),
    File(
        "trl-implicit-text.jsonl",
        lines([{"chosen": f"{a} {g}", "rejected": f"{a} {b}"} for a, g, b in ROWS]),
        "preference",
        PAIRS,
    ),
    File(
        "trl-text-prompt-inside.jsonl",
        lines([{"prompt": a, "chosen": f"{a} {g}", "rejected": f"{a} {b}"} for a, g, b in ROWS]),
        "preference",
        PAIRS,
    ),
    File(
        "binarized.parquet",
        table(
            [
                {
                    "prompt": a,
                    "prompt_id": "9c1d",
                    "chosen": user(a) + said(g),
                    "rejected": user(a) + said(b),
                    "messages": user(a) + said(g),
                    "score_chosen": 8.5,
                    "score_rejected": 7.0,
                }
                for a, g, b in ROWS
            ]
        ),
        "preference",
        PAIRS,
    ),
    File(
        "unpaired.jsonl",
        lines([{"prompt": user(ASK), "completion": said(t), "label": t == GOOD} for t in (GOOD, BAD)]),
        "unpaired",
        [("ratings", ASK, [GOOD], 7), ("ratings", ASK, [BAD], 1), ("comparisons", ASK, [GOOD, BAD], (1, 2))],
    ),
    File(
        "datasets-nulls.parquet",
        table(
            [
                {
                    "messages": [
                        {"role": "system", "content": "Be brief.", "name": None, "tool_calls": None},
                        {"role": "user", "content": ASK, "name": None, "tool_calls": None},
                        {"role": "assistant", "content": GOOD, "name": None, "tool_calls": None},
                    ]
                },
                {
                    "messages": [
                        {"role": "user", "content": "Weather?", "name": None, "tool_calls": None},
                        {"role": "assistant", "content": None, "name": None, "tool_calls": [{"id": "c1"}]},
                    ]
                },
                {"messages": None},
            ]
        ),
        "messages",
        DEMOS[:1],
        {"turns by a tool": 1, "no dialogue": 1},
    ),
    File(
        "parts.jsonl",
        lines(
            [
                {"messages": [{"role": "user", "content": [{"type": "text", "text": ASK}]}, *said(GOOD)]},
                {"messages": [{"role": "user", "content": [{"type": "image"}]}, *said(GOOD)]},
            ]
        ),
        "messages",
        DEMOS[:1],
        {"pictures or sound": 1},
    ),
]
INSTRUCTIONS = [
    File(
        "alpaca.json",
        json.dumps(
            [
                {"instruction": ASK, "input": "", "output": GOOD},
                {"instruction": "Add.", "input": "1 and 2", "output": "3"},
                {"instruction": "Empty?", "input": "", "output": ""},
                {"instruction": "Null?", "input": None, "output": None},
            ],
            indent=4,
        ).encode(),
        "alpaca",
        [DEMOS[0], ("demonstrations", "Add.\n\n1 and 2", ["3"], None)],
        {"no answer": 2},
    ),
    File(
        "alpaca.csv",
        sheet([{"instruction": a, "input": "", "output": g} for a, g, _ in ROWS]).encode(),
        "alpaca",
        DEMOS,
    ),
    File(
        "sharegpt.json",
        json.dumps(
            [
                {
                    "id": "identity_0",
                    "conversations": [
                        {"from": "human", "value": "Hi there."},
                        {"from": "gpt", "value": "Hello."},
                        {"from": "human", "value": ASK},
                        {"from": "gpt", "value": GOOD},
                        {"from": "human", "value": "Thanks."},
                    ],
                },
                {"id": "identity_1", "conversations": []},
                {"id": "identity_2", "conversations": [{"from": "gpt", "value": "Nobody asked."}]},
            ]
        ).encode(),
        "messages",
        DEMOS[:1],
        {"no dialogue": 1, "no answer": 1},
    ),
    File(
        "sharegpt-all.jsonl",
        lines(
            [
                {
                    "conversations": [
                        {"from": w, "value": t}
                        for w, t in (("human", ASK), ("gpt", GOOD), ("human", ASK2), ("gpt", GOOD2))
                    ]
                }
            ]
        ),
        "messages",
        DEMOS,
        {},
        {"all_turns": True},
    ),
    File("completions.jsonl.gz", b"", "prompt_response", DEMOS),
    File(
        "human-assistant.jsonl", lines([{"text": f"{HH.format(ASK)} {GOOD}"}]), "human_assistant", DEMOS[:1]
    ),
]
SCORES = [
    File(
        "ultrafeedback.jsonl",
        lines(
            [
                {
                    "source": "invented",
                    "instruction": ASK,
                    "models": ["m1", "m2", "m3"],
                    "completions": [
                        {"model": "m1", "response": BAD, "overall_score": 2.0, "fine-grained_score": 1.25},
                        {"model": "m2", "response": GOOD, "overall_score": 8.5, "fine-grained_score": 4.5},
                        {"model": "m3", "response": "?", "overall_score": None, "fine-grained_score": None},
                        {"model": "m4", "response": "!", "overall_score": 8.5, "fine-grained_score": 4.0},
                    ],
                    "correct_answers": ["None"],
                },
                {"instruction": "Nothing?", "models": [], "completions": []},
            ]
        ),
        "answer_list",
        [("comparisons", ASK, [BAD, GOOD, "!"], (3, 1, 1))],
        {"fewer than two answers with a rank or score": 1},
    ),
    File(
        "helpsteer.jsonl",
        lines(
            [
                {
                    "prompt": ASK,
                    "response": text,
                    "helpfulness": score,
                    "correctness": 4,
                    "coherence": 4,
                    "complexity": 1,
                    "verbosity": 1,
                }
                for text, score in ((BAD, 1), (GOOD, 4))
            ]
        ),
        "scored",
        [("comparisons", ASK, [BAD, GOOD], (2, 1))],
    ),
    File(
        "helpsteer-ratings.jsonl",
        lines([{"prompt": ASK, "response": t, "helpfulness": s} for t, s in ((BAD, 1), (GOOD, 4))]),
        "scored",
        [("ratings", ASK, [BAD], 3), ("ratings", ASK, [GOOD], 7)],  # 1 + 6 * 1 / 4 = 2.5, halves up
        {},
        {"kind": "ratings"},
    ),
    File(
        "helpsteer3.jsonl",
        lines(
            [
                {
                    "context": user(ASK),
                    "response1": BAD,
                    "response2": GOOD,
                    "overall_preference": 2,
                    "individual_preference": [],
                },
                {"context": user(ASK2), "response1": BAD2, "response2": GOOD2, "overall_preference": 0},
                {"context": user(ASK2), "response1": BAD2, "response2": GOOD2, "overall_preference": None},
            ]
        ),
        "helpsteer_pairs",
        [("comparisons", ASK, [BAD, GOOD], (2, 1)), ("comparisons", ASK2, [BAD2, GOOD2], (1, 1))],
        {"no preference": 1},
    ),
    File(
        "distilabel.parquet",
        table([{"instruction": a, "generations": [b, g], "ratings": [1.0, 4.5]} for a, g, b in ROWS]),
        "answer_list",
        [("comparisons", a, [b, g], (2, 1)) for a, g, b in ROWS],
    ),
    File(
        "reward-bench-2.jsonl",
        lines([{"id": "1", "prompt": ASK, "chosen": [GOOD], "rejected": [BAD, "?", "!"], "subset": "Ties"}]),
        "preference",
        [("comparisons", ASK, [GOOD, BAD, "?", "!"], (1, 2, 2, 2))],
    ),
]
ANTHROPIC = [
    File(
        "harmless-base.jsonl",
        lines(
            [
                {"chosen": f"{HH.format(ASK)} {GOOD}", "rejected": f"{HH.format(ASK)} {BAD}"},
                {"chosen": f"{HH.format(ASK)} {GOOD}", "rejected": f"{HH.format(ASK2)} {BAD}"},
                {"chosen": f"{HH.format(ASK2)} {GOOD}", "rejected": f"{HH.format(ASK2)} {GOOD}"},
            ]
        ),
        "preference",
        PAIRS[:1],
        {"the two dialogues differ before their last turn": 1, "all answers are the same": 1},
    ),
    File(
        "static.csv",
        sheet(
            [{"prompt": HH.format(a), "chosen": f" {g}", "rejected": f" {b}"} for a, g, b in ROWS[:1]]
        ).encode(),
        "preference",
        [("comparisons", ASK, [f" {GOOD}", f" {BAD}"], (1, 2))],
    ),
]


def node(name: str, role: str, text: str, replies: list[Any], **more: Any) -> dict[str, Any]:
    return {"message_id": name, "text": text, "role": role, "replies": replies, "emojis": {}, **more}


TREE = node(
    "a",
    "prompter",
    ASK,
    [
        node("b", "assistant", BAD, [], rank=1),
        node(
            "c", "assistant", GOOD, [node("d", "prompter", ASK2, [node("e", "assistant", GOOD2, [])])], rank=0
        ),
        node("f", "assistant", "spam", [], rank=2, deleted=True),
        node("g", "assistant", "?", [], rank=None),
    ],
)
OASST_LABELS = [
    ("comparisons", ASK, [BAD, GOOD], (2, 1)),
    ("demonstrations", ASK, [GOOD], None),
    ("demonstrations", ASK2, [GOOD2], None),
]


def flat(tree: dict[str, Any], parent: str | None = None) -> list[dict[str, Any]]:
    row = {"message_id": tree["message_id"], "parent_id": parent, "user_id": f"u-{tree['message_id']}"}
    row |= {
        "text": tree["text"],
        "role": tree["role"],
        "rank": tree.get("rank"),
        "deleted": bool(tree.get("deleted")),
    }
    return [row] + [one for reply in tree["replies"] for one in flat(reply, tree["message_id"])]


OASST = [
    File(
        "trees.jsonl",
        lines([{"message_tree_id": "a", "tree_state": "ready_for_export", "prompt": TREE}]),
        "oasst_trees",
        OASST_LABELS,
    ),
    File("messages.parquet", table(flat(TREE)), "oasst_messages", OASST_LABELS),
]


def webui(
    name: str,
    message: str,
    rating: Any,
    by: str = "u1",
    details: Any = None,
    snapshot: bool = True,
    updated: int = 1,
) -> dict[str, Any]:
    history = {
        "q1": {"id": "q1", "parentId": None, "childrenIds": ["a1"], "role": "user", "content": "Hi there."},
        "a1": {
            "id": "a1",
            "parentId": "q1",
            "childrenIds": ["q2"],
            "role": "assistant",
            "content": "Hello.",
            "model": "m1",
        },
        "q2": {"id": "q2", "parentId": "a1", "childrenIds": ["a2", "a3"], "role": "user", "content": ASK},
        "a2": {
            "id": "a2",
            "parentId": "q2",
            "childrenIds": [],
            "role": "assistant",
            "content": GOOD,
            "model": "m1",
        },
        "a3": {
            "id": "a3",
            "parentId": "q2",
            "childrenIds": [],
            "role": "assistant",
            "content": '<details type="reasoning" done="true">\n<summary>Thought</summary>\n> hm\n</details>\n'
            + BAD,
            "model": "m2",
        },
    }
    chat = {
        "id": "",
        "title": "Fruit",
        "models": ["m1", "m2"],
        "history": {"currentId": "a3", "messages": history},
    }
    data = {
        "rating": rating,
        "model_id": history[message]["model"],
        "sibling_model_ids": None,
        "reason": "",
        "comment": "",
    }
    return {
        "id": name,
        "user_id": by,
        "version": 0,
        "type": "rating",
        "data": data | {"details": {"rating": details}} if details else data,
        "meta": {"arena": False, "chat_id": "k", "message_id": message, "message_index": 4},
        "snapshot": {"chat": {"id": "k", "chat": chat}} if snapshot else None,
        "created_at": 1,
        "updated_at": updated,
    }


TOOLS = [
    File(
        "annotations.json",
        json.dumps(
            [
                {
                    "instruction": ASK,
                    "output_1": BAD,
                    "generator_1": "reference",
                    "dataset": "helpful_base",
                    "output_2": GOOD,
                    "generator_2": "mine",
                    "annotator": "weighted_judge",
                    "preference": preference,
                    "raw_completion": None,
                }
                for preference in (1.9994, 1.2, 1.5, 0, None)
            ],
            indent=4,
        ).encode(),
        "alpaca_eval",
        [("comparisons", ASK, [BAD, GOOD], (2, 1))],
        {"no preference": 1},
    ),
    File(
        "alpaca-eval-two.json",
        json.dumps(
            [
                {
                    "instruction": a,
                    "output_1": b,
                    "generator_1": "reference",
                    "output_2": g,
                    "generator_2": "mine",
                    "annotator": "judge",
                    "preference": p,
                }
                for (a, g, b), p in zip(ROWS, (1.9994, 1.5), strict=True)
            ]
        ).encode(),
        "alpaca_eval",
        [("comparisons", ASK, [BAD, GOOD], (2, 1)), ("comparisons", ASK2, [BAD2, GOOD2], (1, 1))],
    ),
    File(
        "arena.jsonl",
        lines(
            [
                {
                    "question_id": "1",
                    "model_a": "m1",
                    "model_b": "m2",
                    "winner": "model_b",
                    "judge": "arena_user_1",
                    "conversation_a": user(ASK) + said(BAD),
                    "conversation_b": user(ASK) + said(GOOD),
                    "turn": 1,
                },
                {
                    "question_id": "2",
                    "model_a": "m1",
                    "model_b": "m2",
                    "winner": "tie (bothbad)",
                    "judge": "arena_user_2",
                    "conversation_a": user(ASK2) + said(BAD2),
                    "conversation_b": user(ASK2) + said(GOOD2),
                    "turn": 1,
                },
            ]
        ),
        "arena",
        [("comparisons", ASK, [BAD, GOOD], (2, 1)), ("comparisons", ASK2, [BAD2, GOOD2], (1, 1))],
    ),
    File(
        "feedback-history-export.json",
        json.dumps(
            [
                webui("f1", "a2", 1),
                webui("f2", "a3", "-1", details=2, updated=3),
                webui("f3", "a2", None),
                webui("f4", "a2", 1, snapshot=False),
            ]
        ).encode(),
        "open_webui",
        [
            ("ratings", ASK, [GOOD], 7),
            ("ratings", ASK, [BAD], 2),  # 1 + 6 * (2 - 1) / 9 = 1.67
            ("comparisons", ASK, [GOOD, BAD], (1, 2)),
        ],
        {"no thumb": 1, "no conversation in the export": 1},
    ),
    File(
        "open-webui-one-thumb.json",
        json.dumps([webui("f1", "a3", -1)]).encode(),
        "open_webui",
        [("ratings", ASK, [BAD], 1), ("comparisons", ASK, [GOOD, BAD], (1, 2))],
    ),
    File(
        "ada/annotated_instances.jsonl",
        lines(
            [
                {
                    "id": "t1",
                    "displayed_text": "...",
                    "label_annotations": {"order": {"rank_order": "B,A=C"}},
                    "span_annotations": {},
                    "behavioral_data": {},
                },
                {
                    "id": "t2",
                    "displayed_text": "...",
                    "label_annotations": {},
                    "span_annotations": {},
                    "behavioral_data": {},
                },
            ]
        ),
        "potato",
        [("comparisons", ASK, [BAD, GOOD, "?"], (2, 1, 2))],
        {"empty": 1},
        {},
        {
            "items.json": lines(
                [
                    {"id": "t1", "prompt": ASK, "responses": [BAD, GOOD, "?"]},
                    {"id": "t2", "prompt": ASK2, "responses": ["1", "2"]},
                ]
            )
        },
    ),
    File(
        "argilla.json",
        json.dumps(
            [
                {
                    "id": "1",
                    "fields": {"prompt": ASK, "response_1": BAD, "response_2": GOOD},
                    "metadata": {},
                    "suggestions": {
                        "ranking": {"value": ["response_1", "response_2"], "score": None, "agent": "m"}
                    },
                    "responses": {"ranking": [{"value": ["response_2", "response_1"], "user_id": "7c3e"}]},
                    "vectors": {},
                    "_server_id": "55",
                },
                {"id": "2", "fields": {"prompt": ASK2, "response_1": "", "response_2": ""}, "responses": {}},
                {
                    "id": "3",
                    "fields": {"prompt": ASK2, "response_1": BAD2, "response_2": GOOD2},
                    "responses": {
                        "ranking": [
                            {"value": None, "user_id": "7c3e"},
                            {"value": [], "user_id": "8d4f", "status": "draft"},
                        ]
                    },
                },
            ]
        ).encode(),
        "argilla",
        [("comparisons", ASK, [BAD, GOOD], (2, 1))],
        {"nobody has answered": 1, "empty": 1, "draft": 1},
    ),
    File(
        "argilla-datasets.parquet",
        table(
            [
                {
                    "id": "1",
                    "status": "completed",
                    "_server_id": "55",
                    "prompt": a,
                    "response": g,
                    "quality.responses": [4, 1],
                    "quality.responses.users": ["u1", "u2"],
                    "quality.responses.status": ["submitted", "discarded"],
                    "quality.suggestion": None,
                }
                for a, g, _ in ROWS
            ]
        ),
        "argilla",
        [("ratings", a, [g], 6) for a, g, _ in ROWS],  # 1 + 6 * 3 / 4 = 5.5, halves up
        {"discarded": 2},
    ),
    File(
        "project-1-at-2026-11-21.json",
        json.dumps(
            [
                {
                    "id": 11,
                    "annotations": [
                        {
                            "id": 1,
                            "completed_by": {"id": 2, "email": "bo@example.org", "first_name": ""},
                            "result": [
                                {
                                    "id": "x",
                                    "from_name": "pw",
                                    "to_name": "a,b",
                                    "type": "pairwise",
                                    "value": {"selected": "right"},
                                }
                            ],
                            "was_cancelled": False,
                        },
                        {"id": 2, "completed_by": 3, "result": [], "was_cancelled": True},
                        {"id": 3, "completed_by": 3, "result": [], "was_cancelled": False},
                    ],
                    "drafts": [{"id": 4, "result": []}],
                    "predictions": [],
                    "data": {"prompt": ASK, "answer1": BAD, "answer2": GOOD},
                    "meta": {},
                }
            ]
        ).encode(),
        "label_studio",
        [("comparisons", ASK, [BAD, GOOD], (2, 1))],
        {"cancelled": 1, "empty": 1, "draft": 1},
    ),
    File(
        "label-studio-stars.json",
        json.dumps(
            [
                {
                    "id": 12,
                    "annotations": [
                        {
                            "completed_by": 2,
                            "was_cancelled": False,
                            "result": [{"from_name": "stars", "value": {"rating": 8}}],
                        }
                    ],
                    "data": {"prompt": a, "answer": g},
                }
                for a, g, _ in ROWS
            ]
        ).encode(),
        "label_studio",
        [("ratings", a, [g], 6) for a, g, _ in ROWS],  # 1 + 6 * 7 / 9 = 5.67
        {},
        {"scale": 10},
    ),
]
CONTAINERS = [
    File("mark.jsonl", lines(PAIR_ROWS).decode().encode("utf-8-sig"), "preference", PAIRS),
    File("windows.jsonl", lines(PAIR_ROWS).replace(b"\n", b"\r\n"), "preference", PAIRS),
    File("utf16.jsonl", lines(PAIR_ROWS).decode().encode("utf-16"), "preference", PAIRS),
    File("excel.csv", sheet(PAIR_ROWS, ";", "\r\n").encode("utf-8-sig"), "preference", PAIRS),
    File("excel-unicode.tsv", sheet(PAIR_ROWS, "\t", "\r\n").encode("utf-16"), "preference", PAIRS),
    File("pairs.jsonl.zst", pyarrow.compress(lines(PAIR_ROWS), "zstd", asbytes=True), "preference", PAIRS),
    File("data-00000-of-00001.arrow", table(PAIR_ROWS, stream), "preference", PAIRS),
    File(
        "turns-as-text.csv",
        sheet(
            [
                {"chosen": json.dumps(user(a) + said(g)), "rejected": str(user(a) + said(b))}
                for a, g, b in ROWS
            ]
        ).encode(),
        "preference",
        PAIRS,
    ),
    File(
        "other-names.jsonl",
        lines([{"frage": a, "gut": g, "schlecht": b} for a, g, b in ROWS]),
        "preference",
        PAIRS,
        {},
        {"columns": {"prompt": "frage", "chosen": "gut", "rejected": "schlecht"}},
    ),
]


def _packed(files: list[File]) -> list[File]:
    rows = [{"prompt": a, "completion": g} for a, g, _ in ROWS]
    return [
        replace(f, content=gzip.compress(lines(rows), mtime=0)) if f.name.endswith(".gz") else f
        for f in files
    ]


FILES: list[File] = [*SEED, *TRL, *_packed(INSTRUCTIONS), *SCORES, *ANTHROPIC, *OASST, *TOOLS, *CONTAINERS]


def put(file: File, folder: Path) -> list[Path]:
    """Write a file, and those that belong to it."""
    paths = []
    for name, content in {file.name: file.content, **file.also}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        paths.append(path)
    return paths
