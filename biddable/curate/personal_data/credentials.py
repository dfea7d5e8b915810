"""Keys, tokens and passwords."""

from __future__ import annotations

import re
from collections.abc import Iterator

_KEYS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    # OpenAI, Anthropic, Stripe and their kin
    r"|\b(?:sk|pk|rk)[-_](?:live_|test_|proj-|ant-|or-)?[A-Za-z0-9_-]{20,}"
    r"|\b(?:AKIA|ASIA|AGPA|AIDA|AROA)[A-Z0-9]{16}\b"  # AWS
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_\w{22,}|\bglpat-[\w-]{20,}"
    r"|\bxox[abeprs]-[A-Za-z0-9-]{10,}|\bAIza[\w-]{35}|\bhf_[A-Za-z0-9]{30,}|\bnpm_[A-Za-z0-9]{36}|\bpypi-[\w-]{50,}"
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,}"  # JSON web tokens
    r"|\b0x[0-9a-fA-F]{64}\b"
)
_SECRET = re.compile(
    r"(?:api[ _-]?key|access[ _-]?key|secret(?:[ _-]?key)?|auth[ _-]?token|access[ "
    r"_-]?token|token|password|passwd|passphrase|pwd|passwort)"
    r"[\"']?(?: is)? ?[:=]{1,2} ?[\"']?([^\s\"',;<>(){}\[\]$]{6,200})",
    re.I,
)
_SECRET_MARKS = ("key", "secret", "token", "passw", "passphrase", "pwd")


def credentials(text: str) -> Iterator[tuple[int, int]]:
    for match in _KEYS.finditer(text):
        yield match.span()
    for match in _SECRET.finditer(text):
        value = match[1].rstrip(".")
        mixed = any(letter.isdigit() for letter in value) and any(letter.isalpha() for letter in value)
        if mixed or (len(value) >= 8 and not value.isalpha() and "." not in value and "_" not in value):
            yield match.start(1), match.start(1) + len(value)


def may_hold_credentials(text: str) -> bool:
    low = text.lower()
    return any(mark in text for mark in _KEY_MARKS) or (
        any(mark in low for mark in _SECRET_MARKS) and (":" in text or "=" in text)
    )


_KEY_MARKS = (
    *(
        "-----BEGIN",
        "sk-",
        "sk_",
        "pk-",
        "pk_",
        "rk-",
        "rk_",
        "AKIA",
        "ASIA",
        "AGPA",
        "AIDA",
        "AROA",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
    ),
    *("ghr_", "github_pat_", "glpat-", "xox", "AIza", "hf_", "npm_", "pypi-", "eyJ", "0x"),
)
