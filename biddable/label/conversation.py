"""Talking with a model, through any endpoint for chats in OpenAI's protocol. Only the site
asks it, never a browser."""

from __future__ import annotations

import http.client
import json
import logging
import urllib.error
from urllib.parse import urlsplit

from pydantic import field_validator

from biddable.label.form import Fields, text_field
from biddable.run.config import Settings, UserError
from biddable.run.outgoing import key_of, post_json, without_key
from biddable.run.output import printable
from biddable.run.parse import parse_json
from biddable.run.records import Message
from biddable.run.redaction import redact, redact_url

KEY = "BIDDABLE_PROBE_KEY"
"""The environment variable that holds the endpoint's key, if it wants one."""
WAIT_SECONDS = 60.0
MOST_BYTES = 1 << 20
MOST_LOGGED = 500
"""Characters of an endpoint's error message that go to the log."""
log = logging.getLogger("biddable.label.probes")


class EndpointSettings(Settings):
    """Kinds of label in which people talk with a model."""

    endpoint: str = "http://127.0.0.1:8200/v1/chat/completions"
    """Where the model is asked: an endpoint for chats in OpenAI's protocol, such as `serve.api`'s."""
    model: str = "policy"
    """The model's name at that endpoint; it is noted in the records."""

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname:
            raise ValueError("must be an address such as http://127.0.0.1:8200/v1/chat/completions")
        if redact_url(value) != value:  # it is stored with every task
            raise ValueError(f"must hold no password or key; the site sends the key in the variable {KEY}")
        return value


def refuse_unsent(fields: Fields) -> None:
    """Raises UserError while a message stands in the form that was not sent to the model: it would be lost."""
    if text_field(fields, "message") is not None:
        raise UserError("your last message is not sent yet; send it to the model, or delete it")


def ask(endpoint: str, model: str, messages: tuple[Message, ...]) -> str:
    """The model's answer to a dialogue.

    Raises UserError when the endpoint gives none. Its line says why, but names neither the address nor the
    model: a labeler must not learn which model it is. The log has the whole cause.
    """
    return ask_for_several(endpoint, model, messages, 1)[0]


def ask_for_several(endpoint: str, model: str, messages: tuple[Message, ...], count: int) -> list[str]:
    """`count` answers to a dialogue, none of them empty. Raises UserError as `ask` does.

    They are asked for at once (`n`); a server that gives fewer, as many do that know no `n`, is asked again
    for the rest, at most `count` times.
    """
    answers: list[str] = []
    for _ in range(count):
        answers += _request(endpoint, model, messages, count - len(answers))
        if len(answers) >= count:
            return answers[:count]
    raise UserError("the model answered nothing; say it in another way")


def _request(endpoint: str, model: str, messages: tuple[Message, ...], count: int) -> list[str]:
    """The answers of one request that are not empty."""
    content: dict[str, object] = {"model": model, "messages": [turn.model_dump() for turn in messages]}
    if count > 1:
        content["n"] = count
    body = json.dumps(content).encode()
    shown = redact_url(endpoint)  # tasks of earlier versions may have a password in it
    try:
        key = key_of(KEY)
    except UserError as error:
        log.warning("%s", error)
        raise _no_answer("its key cannot be used") from None
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        body = post_json(endpoint, body, headers, WAIT_SECONDS, MOST_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            text = _logged(error.read(4 * MOST_LOGGED), key)
        log.warning("%s: model %s: status %d: %s", shown, model, error.code, text)
        raise _no_answer(f"its server answered with status {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError is an OSError
        log.warning("%s: model %s: %s", shown, model, redact(repr(error)))
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        timed_out = isinstance(cause, TimeoutError)
        raise _no_answer(
            f"nothing came within {WAIT_SECONDS:.0f} seconds" if timed_out else "its server cannot be reached"
        ) from None
    try:
        answers = [choice["message"]["content"] for choice in parse_json(body.decode())["choices"]]
        answers[0]  # no choice at all is no answer
    except (ValueError, LookupError, TypeError):
        text = _logged(body, key)
        log.warning("%s: model %s: expected a chat completion, not: %s", shown, model, text)
        raise _no_answer("its server sent something that is not an answer") from None
    return [answer for answer in answers if isinstance(answer, str) and answer.strip()]


def _logged(body: bytes, key: str | None) -> str:
    """What a server sent, as far as it goes to the log."""
    return printable(redact(without_key(body.decode(errors="replace"), key)))[:MOST_LOGGED]


def _no_answer(cause: str) -> UserError:
    return UserError(
        f"the model does not answer at the moment ({cause}); what you wrote is kept. Try again in a while, "
        "and tell an admin if it stays so"
    )
