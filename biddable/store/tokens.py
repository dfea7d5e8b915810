"""Tokens of sessions, invitations and API keys. Only their hashes are stored.

A token is 256 random bits, so a fast hash is right for it: nobody can try enough of them. Passwords are
another matter (`accounts`).
"""

from __future__ import annotations

import hashlib
import secrets


def new_token() -> str:
    """256 random bits as text for URLs and cookies."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """What is stored of a token. Clients may send anything, lone surrogates too: they are hashed like the
    rest."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
