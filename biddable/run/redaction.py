"""Secrets in texts: passwords and keys of URLs are hidden before a text is written, shown or logged.

A setting such as `store` may be a URL with a password, and any library's error may repeat it. What a reader
needs stays: scheme, user, host and path. Hostile texts come here too: all patterns take linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

HIDDEN = "***"
SCHEME = r"\b[a-z][a-z0-9+.-]{0,30}:/{1,2}"  # of a path, which folds slashes, too
SECRET_NAME = re.compile("key|token|secret|passw|passphrase|pwd|signature|credential|auth|^(sig|pass)$", re.I)
"""Parameters of a query that are secret by their name."""

Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


def _hide_parameter(match: re.Match[str]) -> str:
    return f"{match[1]}{match[2]}={HIDDEN}" if SECRET_NAME.search(match[2]) else match[0]


def _url_rules(inner: str) -> list[Rule]:
    """What is hidden in a URL; `inner` matches a character that a secret may have."""
    rules: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
        # up to the last @: people forget to write one in a password as %40
        (rf"({SCHEME}[^\s/@:?#'\"<>]*):(?:(?!://){inner})*@", rf"\1:{HIDDEN}@"),
        # over http a user without a password is a token
        (r"(\bhttps?://)[^\s/@:?#'\"<>]+@", rf"\1{HIDDEN}@"),
        # no port: a password whose `@host` was forgotten, or cut off
        (rf"({SCHEME}[^\s/@:?#'\"<>\[\]]*):(?!\d{{1,5}}(?!\w))(?:(?!@){inner})+", rf"\1:{HIDDEN}"),
        (rf"([?&;#])([\w.%-]+)=(?:(?![&;#]){inner})+", _hide_parameter),
    ]
    return [(re.compile(pattern, re.IGNORECASE | re.DOTALL), hidden) for pattern, hidden in rules]


IN_TEXT: list[Rule] = [
    *_url_rules(r"[^\s'\"<>]"),
    # as libpq writes it
    (re.compile(r"(?<![\w?&;#])(password|passwd|pwd)=[^\s'\"<>&;]+", re.I), rf"\1={HIDDEN}"),
    (re.compile(r"\b(Bearer\s+)[^\s'\",]+"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(authorization['\"]?\s?[:=]\s?['\"]?(?:\w+\s)?)[^\s'\",]+", re.I), rf"\1{HIDDEN}"),
]
WHOLE = _url_rules(".")


def redact(text: str) -> str:
    """A text with *** in place of the secrets of the URLs and headers in it."""
    for pattern, hidden in IN_TEXT:
        text = pattern.sub(hidden, text)
    return text


def redact_url(text: str) -> str:
    """A text that is one URL, whatever characters its secrets have; any other as `redact` leaves it."""
    for pattern, hidden in WHOLE if re.match(SCHEME, text, re.I) else ():
        text = pattern.sub(hidden, text)
    return redact(text)


def redact_settings(value: Any) -> Any:
    """Settings without the secrets of their URLs, however deep they stand."""
    if isinstance(value, str):
        return redact_url(value)
    if isinstance(value, dict):
        return {name: redact_settings(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_settings(inner) for inner in value]
    return value
