"""Talking with the model that is probed, through any endpoint for chats in OpenAI's protocol. Only the site asks it, never a browser."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request

from biddable.run.config import UserError
from biddable.run.records import Message

KEY = "BIDDABLE_PROBE_KEY"
"""The environment variable that holds the endpoint's key, if it wants one."""
WAIT_SECONDS = 60.0
MOST_BYTES = 1 << 20


def ask(endpoint: str, model: str, messages: tuple[Message, ...]) -> str:
    """The model's answer to a dialogue. Raises UserError when the endpoint does not give one."""
    body = json.dumps({"model": model, "messages": [turn.model_dump() for turn in messages]}).encode()
    headers = {"content-type": "application/json"}
    if key := os.environ.get(KEY):
        headers["authorization"] = f"Bearer {key}"
    # the address is the team's own setting, checked to be http or https
    request = urllib.request.Request(endpoint, body, headers)
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
