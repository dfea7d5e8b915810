"""The language of a text, by py3langid: a small model inside a package, no download."""

from __future__ import annotations

from functools import cache
from typing import Any

from biddable.base.config import Refusal

LOOKED_AT = 200
"""Characters that are looked at: more do not change the answer and cost time."""


@cache
def _model() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ModuleNotFoundError:
        raise Refusal("languages need the package py3langid: pip install 'biddable[curate]'; or set languages = []") from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def known() -> set[str]:
    """Codes (ISO 639-1 mostly) of the languages that can be told apart."""
    return set(_model().labels)


def identify(text: str) -> tuple[str, float]:
    """The most probable language's code, and how probable it is, from 0 to 1. Short texts give low probabilities."""
    code, probability = _model().classify(" ".join(text[:LOOKED_AT].split()))
    return str(code), float(probability)
