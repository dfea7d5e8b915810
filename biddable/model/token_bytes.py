"""What each token of a vocabulary adds to a text, in bytes. A character may be spread over several tokens, so
a single token need not have a text of its own; bytes it always has, and joined they are the text."""

from __future__ import annotations

from typing import Any, NamedTuple

REPLACEMENT = "\ufffd"
"""What decoders show for bytes that make no whole character."""


def _byte_of_character() -> dict[str, int]:
    """Byte-level BPE writes each byte as one printable character (Radford et al. 2019, `bytes_to_unicode`):
    the printable ones of Latin-1 as themselves, the other 68 in order from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = [*map(chr, printable), *(chr(256 + place) for place in range(len(others)))]
    return dict(zip(characters, printable + others, strict=True))


BYTE_OF_CHARACTER = _byte_of_character()


class TokenBytes(NamedTuple):
    """The bytes of one token. SentencePiece writes the blank before a word into the word's token and drops it
    at the beginning of a text: only there the two differ. Control tokens have none."""

    first: bytes
    later: bytes


class Vocabulary:
    """The bytes and the names of a tokenizer's tokens. What was looked up is remembered."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._size = len(tokenizer)
        self._bytes: dict[int, TokenBytes] = {}

    def spell(self, token: int) -> TokenBytes:
        """What a token adds to a text, at its beginning and later on."""
        if token not in self._bytes:
            self._bytes[token] = self._read_bytes(token)
        return self._bytes[token]

    def name(self, token: int) -> str:
        """How the vocabulary writes a token, such as `<|im_end|>`; for ids without a token, `token_id:ID`."""
        name = self._tokenizer.convert_ids_to_tokens(token) if token < self._size else None
        return f"token_id:{token}" if name is None else str(name)

    def _read_bytes(self, token: int) -> TokenBytes:
        if token >= self._size:  # a row of the embedding that no token uses
            return TokenBytes(b"", b"")
        # Decoded behind itself, a token shows what it adds when it is not the first.
        once, twice = self._decode([token]), self._decode([token, token])
        if REPLACEMENT not in twice:
            return TokenBytes(once.encode(), twice[len(once) :].encode())
        part = _bytes_of_name(self.name(token))
        return TokenBytes(part, part)

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _bytes_of_name(name: str) -> bytes:
    """The bytes of a token that is part of a character, from its name: `<0xE2>` in vocabularies with byte
    fallback, one character for each byte in byte-level ones."""
    if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
        return bytes([int(name[3:5], 16)])
    if all(character in BYTE_OF_CHARACTER for character in name):
        return bytes(BYTE_OF_CHARACTER[character] for character in name)
    return name.replace("▁", " ").encode()


def show_token(data: bytes) -> str:
    """A token's bytes as the protocol's `token` field: their text, or OpenAI's `bytes:\\xf0\\x9f` for a part
    of a character."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
