"""Token ids become text while they come: whole characters only, and nothing that might still turn out to be a
stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

REPLACEMENT = "\ufffd"
"""What decoders show for the first bytes of a character whose last bytes are still to come."""


class Detokenizer:
    """The text of one answer, token by token. What `add` and `end` return, joined, is the decoded answer up
    to its first stop string."""

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, tuple(stop)
        self._ids: list[int] = []  # only those whose text may still change, behind one settled token
        self._settled_ids = 0  # how many of `_ids` are settled
        self._settled_text = ""  # their text, which was returned already
        self._withheld = ""  # may be the beginning of a stop string
        self.stopped = False
        """Whether a stop string came; nothing may be added then."""

    def add(self, token: int) -> str:
        """The text that this token makes certain; often empty."""
        self._ids.append(token)
        text = self._decode(self._ids)
        if len(text) <= len(self._settled_text) or text.endswith(REPLACEMENT):
            return ""
        new = text[len(self._settled_text) :]
        # one settled token stays: how a token reads can depend on the one before it
        self._ids = self._ids[self._settled_ids :]
        self._settled_text, self._settled_ids = self._decode(self._ids), len(self._ids)
        return self._until_stop(new, last=False)

    def end(self) -> str:
        """The rest, when no token follows."""
        new = "" if self.stopped else self._decode(self._ids)[len(self._settled_text) :]
        self._ids, self._settled_text, self._settled_ids = [], "", 0
        return self._until_stop(new, last=True)

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _until_stop(self, new: str, last: bool) -> str:
        """New text up to the first stop string, and without an end that may become one (unless it is the
        last)."""
        text = self._withheld + new
        places = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if places:
            self.stopped, self._withheld = True, ""
            return text[: min(places)]
        overlap = 0 if last else max((_overlap(text, stop) for stop in self._stop), default=0)
        self._withheld = text[len(text) - overlap :]
        return text[: len(text) - overlap]


def _overlap(text: str, stop: str) -> int:
    """How many of the text's last characters could be the beginning of the stop string."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
