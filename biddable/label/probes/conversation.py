"""Talking with the model that is probed, through any endpoint for chats in OpenAI's protocol. Only the site asks it, never a browser."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request

from biddable.label import form, probes
from biddable.label.queue import AssignedTask
from biddable.run.config import UserError
from biddable.run.records import Message
from biddable.store import drafts
from biddable.store.store import Store

KEY = "BIDDABLE_PROBE_KEY"
"""The environment variable that holds the endpoint's key, if it wants one."""
WAIT_SECONDS = 60.0
MOST_BYTES = 1 << 20


def say(store: Store, task: AssignedTask, person: str, fields: dict[str, list[str]], guideline: str) -> None:
    """Send the labeler's next message and keep it with the model's answer. Raises UserError when nothing was said or the model is not there."""
    text = form.one(fields, "message")
    kept = probes.kept(task)
    said = list(fields.get("said", ()))
    if text is None:
        raise UserError("write something to the model first")
    if len(said) >= 2 * kept.turns:
        raise UserError(f"the dialogue may have {kept.turns} turns; now say how it went")
    answered = ask(kept.endpoint, kept.model, (*probes.dialogue(fields), Message(role="user", content=text)))
    drafts.save_draft(
        store, task.id, person, {**fields, "said": [*said, text, answered], "message": []}, guideline
    )


def ask(endpoint: str, model: str, messages: tuple[Message, ...]) -> str:
    """The model's answer to a dialogue. Raises UserError when the endpoint does not give one."""
    body = json.dumps({"model": model, "messages": [one.model_dump() for one in messages]}).encode()
    headers = {"content-type": "application/json"}
    if key := os.environ.get(KEY):
        headers["authorization"] = f"Bearer {key}"
    request = urllib.request.Request(
        endpoint, body, headers
    )  # the address is the team's own setting, http or https
    try:
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as response:
            answer = json.loads(response.read(MOST_BYTES))["choices"][0]["message"]["content"]
    except (OSError, ValueError, LookupError, TypeError, urllib.error.URLError):
        raise UserError(
            "the model does not answer at the moment; what you wrote is kept, try again in a while"
        ) from None
    if not isinstance(answer, str) or not answer.strip():
        raise UserError("the model answered nothing; say it in another way")
    return answer
