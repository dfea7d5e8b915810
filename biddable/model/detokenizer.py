"""Token ids become text while they come: whole characters only, and nothing that might still turn out to be a
stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from biddable.model.token_bytes import Vocabulary


class CharacterDecoder:
    """UTF-8 in pieces: text as soon as a character is complete, and where in the text each piece begins."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters = 0  # of the text so far

    def add(self, data: bytes) -> tuple[str, int]:
        """The characters that these bytes complete, and the place of the character to which the first of
        them belongs, counted from 0."""
        text = self._decoder.decode(data[:1])
        starts_complete = bool(data) and not self._decoder.getstate()[0]
        place = self._characters + len(text) - starts_complete
        text += self._decoder.decode(data[1:])
        self._characters += len(text)
        return text, place

    def end(self) -> str:
        """What stands for a last character that stays incomplete."""
        text = self._decoder.decode(b"", final=True)
        self._characters += len(text)
        return text


class Detokenizer:
    """The text of one answer, token by token. What `add` and `end` return, joined, is the decoded answer up
    to its first stop string. `at_start`: the answer begins a text of its own, in which SentencePiece drops
    the first blank."""

    def __init__(self, vocabulary: Vocabulary, stop: Sequence[str] = (), at_start: bool = True) -> None:
        self._vocabulary, self._stop = vocabulary, tuple(stop)
        self._decoder = CharacterDecoder()
        self._withheld = ""  # may be the beginning of a stop string
        self.at_start = at_start
        """Whether the next token is the first that has a text."""
        self.offset = 0
        """Where the last token added begins in the text, in characters. A token that begins inside a
        character has that character's place."""
        self.stopped = False
        """Whether a stop string came; nothing may be added then."""

    def add(self, token: int) -> str:
        """The text that this token makes certain; often empty."""
        data = self._vocabulary.spell(token)
        text, self.offset = self._decoder.add(data.first if self.at_start else data.later)
        self.at_start = self.at_start and not data.later  # control tokens have no text and begin nothing
        return self._until_stop(text, last=False)

    def skip(self) -> None:
        """Count a token that has no text, such as the one that ends the answer."""
        _, self.offset = self._decoder.add(b"")

    def end(self) -> str:
        """The rest, when no token follows."""
        return "" if self.stopped else self._until_stop(self._decoder.end(), last=True)

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
