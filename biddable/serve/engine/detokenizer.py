"""Token ids become text while they come: whole characters only, and nothing that might still turn out to be a stop word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BROKEN = "\ufffd"
"""What decoders show for the first bytes of a character whose last bytes are still to come."""


class Detokenizer:
    """The text of one answer, token by token. What `add` and `end` return, joined, is the decoded answer up to its first stop word."""

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, tuple(stop)
        self._ids: list[int] = []  # only those whose text may still change
        self._told = ""  # the text of the first of them, which was given out already
        self._settled = 0  # how many of them that text covers
        self._held = ""  # may be the beginning of a stop word
        self.stopped = False
        """Whether a stop word came; nothing may be added then."""

    def add(self, token: int) -> str:
        """Text that this token makes certain; often empty."""
        self._ids.append(token)
        text = self._decode(self._ids)
        if len(text) <= len(self._told) or text.endswith(BROKEN):
            return ""
        fresh = text[len(self._told) :]
        self._ids = self._ids[
            self._settled :
        ]  # one settled token stays: how a token reads can depend on the one before
        self._told, self._settled = self._decode(self._ids), len(self._ids)
        return self._pass(fresh, last=False)

    def end(self) -> str:
        """The rest, when no token follows."""
        fresh = self._decode(self._ids)[len(self._told) :] if not self.stopped else ""
        self._ids, self._told, self._settled = [], "", 0
        return self._pass(fresh, last=True)

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _pass(self, fresh: str, last: bool) -> str:
        text = self._held + fresh
        places = [place for word in self._stop if (place := text.find(word)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        keep = 0 if last else max((_overlap(text, word) for word in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, word: str) -> int:
    """How many of the text's last characters could be the beginning of the word."""
    return next((n for n in range(min(len(word) - 1, len(text)), 0, -1) if text.endswith(word[:n])), 0)
