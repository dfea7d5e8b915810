"""Talking with the model that is probed, through any endpoint for chats in OpenAI's protocol. Only the site
asks it, never a browser."""

from __future__ import annotations

import http.client
import json
import logging
import os
import urllib.error
import urllib.request

from biddable.run.config import UserError
from biddable.run.records import Message

KEY = "BIDDABLE_PROBE_KEY"
"""The environment variable that holds the endpoint's key, if it wants one."""
WAIT_SECONDS = 60.0
MOST_BYTES = 1 << 20
MOST_LOGGED = 500
"""Characters of an endpoint's error message that go to the log."""
log = logging.getLogger("biddable.label.probes")


def ask(endpoint: str, model: str, messages: tuple[Message, ...]) -> str:
    """The model's answer to a dialogue.

    Raises UserError when the endpoint gives none. Its line says why, but names neither the address nor the
    model: a labeler must not learn which model it is. The log has the whole cause.
    """
    body = json.dumps({"model": model, "messages": [turn.model_dump() for turn in messages]}).encode()
    headers = {"content-type": "application/json"}
    if key := os.environ.get(KEY):
        headers["authorization"] = f"Bearer {key}"
    # the address is the team's own setting, checked to be http or https
    request = urllib.request.Request(endpoint, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as response:
            body = response.read(MOST_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read(4 * MOST_LOGGED).decode(errors="replace")[:MOST_LOGGED]
        log.warning("%s: model %s: status %d: %s", endpoint, model, error.code, text)
        raise _no_answer(f"its server answered with status {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError is an OSError
        log.warning("%s: model %s: %r", endpoint, model, error)
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        timed_out = isinstance(cause, TimeoutError)
        raise _no_answer(
            f"nothing came within {WAIT_SECONDS:.0f} seconds" if timed_out else "its server cannot be reached"
        ) from None
    try:
        answer = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        text = body.decode(errors="replace")[:MOST_LOGGED]
        log.warning("%s: model %s: expected a chat completion, not: %s", endpoint, model, text)
        raise _no_answer("its server sent something that is not an answer") from None
    if not isinstance(answer, str) or not answer.strip():
        raise UserError("the model answered nothing; say it in another way")
    return answer


def _no_answer(cause: str) -> UserError:
    return UserError(
        f"the model does not answer at the moment ({cause}); what you wrote is kept. Try again in a while, "
        "and tell an admin if it stays so"
    )
