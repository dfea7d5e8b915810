"""prompts.jsonl: prompts from JSONL files, each id once.

A line is a `Prompt` record or, with `columns`, any JSON object whose fields are named there. Reading the same file
twice changes nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from biddable.base import records
from biddable.base.config import Input, Refusal, Settings
from biddable.base.records import Prompt
from biddable.base.runs import Here


class Config(Settings):
    """Settings of collect.files."""

    files: tuple[Input, ...] = Field((Path("examples/prompts.jsonl"),), min_length=1)
    """JSONL files, also gzipped (.gz); of a folder its prompts.jsonl is read."""
    columns: dict[Literal["text", "id", "user", "use_case", "source"], str] = Field({})
    """Which field of a line holds what, for lines that are not Prompt records: {text = "prompt", user = "user_id"}.
    `text` becomes one user turn. A name that is not listed is looked for under itself; use case and source may be
    missing. Empty: lines are Prompt records."""
    max_prompt_characters: int = Field(4000, ge=1)
    """Longer prompts (characters of all turns) are left out and counted. The paper leaves out prompts over 1k tokens
    (Ouyang et al. 2022, appendix C.1); a token of English has about four characters."""


def run(cfg: Config, here: Here) -> None:
    """Read all files, refuse with every mistake of all of them, write prompts.jsonl in the files' order."""
    columns = {str(word): field for word, field in cfg.columns.items()}
    wrong: list[str] = []
    found: dict[str, tuple[Prompt, str]] = {}  # id -> prompt, file:line
    repeated = 0
    for number, named in enumerate(cfg.files):
        path = named / "prompts.jsonl" if named.is_dir() else named
        try:
            prompts = _from_columns(path, columns) if columns else records.read(path, Prompt)
        except Refusal as refusal:
            wrong += refusal.lines
            continue
        for line, prompt in enumerate(prompts, 1):
            where = f"{path}:{line}"
            if not prompt.messages[-1].content.strip():
                wrong.append(
                    f"{where}: Prompt {prompt.id}: the last message is blank; the user's question was expected"
                )
            elif prompt.id not in found:
                found[prompt.id] = (prompt, where)
            elif found[prompt.id][0] == prompt:
                repeated += 1
            else:
                wrong.append(
                    f"{where}: Prompt id = {prompt.id!r}: {found[prompt.id][1]} has other content; give it another id"
                )
        here.progress(number + 1, len(cfg.files), prompts=len(found))
    short = [prompt for prompt, _ in found.values() if _characters(prompt) <= cfg.max_prompt_characters]
    if not short and not wrong:
        wrong.append(
            f"max_prompt_characters = {cfg.max_prompt_characters}: all {len(found)} prompts are longer; "
            f"the shortest has {min(_characters(prompt) for prompt, _ in found.values())} characters"
        )
    if wrong:
        raise Refusal(wrong)
    records.write(here.path("prompts.jsonl"), short)
    here.summary["prompts"] = len(short)
    here.summary["users"] = len({prompt.user for prompt in short})
    here.summary["sources"] = len({prompt.source for prompt in short})
    here.summary["repeated"] = repeated
    here.summary["too_long"] = len(found) - len(short)


def _characters(prompt: Prompt) -> int:
    return sum(len(message.content) for message in prompt.messages)


def _from_columns(path: Path, columns: dict[str, str]) -> list[Prompt]:
    """Prompts from a file of any JSON objects. Raises Refusal with all of its mistakes."""
    if not path.is_file():
        raise Refusal(f"{path}: no such file; a JSON object a line was expected there")
    found: list[Prompt] = []
    wrong: list[str] = []
    for number, line in records.lines(path):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            wrong.append(f"{path}:{number}: not JSON: {error.msg} at character {error.pos + 1}")
            continue
        if not isinstance(row, dict):
            wrong.append(f"{path}:{number}: {line.strip()[:60]}: a JSON object was expected")
            continue
        try:
            found.append(_prompt(row, columns))
        except ValidationError as error:
            said: dict[str, str] = {}  # one line a field: a wrong text is also too few messages
            for mistake in error.errors(include_url=False):
                word = str(mistake["loc"][0]) if mistake["loc"] else "line"
                said.setdefault("text" if word == "messages" else word, mistake["msg"])
            for word, message in said.items():
                field = columns.get(word, word)
                value = json.dumps(row if word == "line" else row.get(field, "nothing"))[:80]
                wrong.append(f"{path}:{number}: {field}: {message} (got {value})")
    if not found and not wrong:
        wrong.append(f"{path}: the file is empty; at least one JSON object was expected")
    if wrong:
        raise Refusal(wrong)
    return found


def _prompt(row: dict[str, Any], columns: dict[str, str]) -> Prompt:
    """One prompt of one line. Checked as JSON, so that what is accepted can be written again."""
    value = {word: row.get(columns.get(word, word)) for word in ("text", "id", "user", "use_case", "source")}
    text = value.pop("text")
    value = {word: one for word, one in value.items() if one is not None or word in ("id", "user")}
    return Prompt.model_validate_json(json.dumps({**value, "messages": [{"role": "user", "content": text}]}))
