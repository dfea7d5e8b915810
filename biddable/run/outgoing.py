"""Requests to servers that a setting names.

Redirects are not followed: whoever they lead to would be sent the key and people's texts.
"""

from __future__ import annotations

import base64
import os
import urllib.request
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from biddable.run.errors import UserError
from biddable.run.redaction import HIDDEN


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """None: the answer counts as the error that its status says."""


_OPENER = urllib.request.build_opener(_NoRedirects)


def key_of(variable: str) -> str | None:
    """The key in an environment variable; None when it is not set, or empty.

    Raises UserError for a key that no header can hold: libraries repeat the whole header in their error.
    """
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"the environment variable {variable}: a key has visible ASCII characters only")
    return key or None


def without_key(text: str, key: str | None) -> str:
    """What a server said, which may repeat the key that it was sent. What is shorter than eight characters is
    no secret, but a placeholder."""
    return text.replace(key, HIDDEN) if key and len(key) >= 8 else text


def post_json(
    address: str, body: bytes, headers: Mapping[str, str], timeout: float, most_bytes: int = 1 << 24
) -> bytes:
    """The body of what a server answers to JSON, `most_bytes` of it at most. User and password of the address are
    sent as a header.

    Raises urllib.error.HTTPError for a status that is no success, a redirect among them, and OSError or
    http.client.HTTPException when nothing comes.
    """
    headers = {"content-type": "application/json", **headers}
    parts = urlsplit(address)
    userinfo, at, host = parts.netloc.rpartition("@")
    if at:  # urllib takes a password for a port, and repeats it in its error
        address = parts._replace(netloc=host).geturl()
        token = base64.b64encode(unquote(userinfo).encode()).decode()
        headers = {"authorization": f"Basic {token}", **headers}
    # the address is the team's own setting, checked to be http or https
    request = urllib.request.Request(address, body, headers)
    with _OPENER.open(request, timeout=timeout) as response:
        content: bytes = response.read(most_bytes)
    return content
