"""The language of a text, by py3langid: a small model inside a package, no download."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from biddable.run.config import UserError

BATCH = 256
"""Texts that are looked at together."""
MAX_CHARACTERS = 200
"""Characters that are looked at: more do not change the answer and cost time."""


@cache
def _model() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ModuleNotFoundError:
        raise UserError(
            "languages need the package py3langid: pip install 'biddable[curate]'; or set languages = []"
        ) from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def language_codes() -> set[str]:
    """Codes (ISO 639-1 mostly) of the languages that can be told apart."""
    return set(_model().labels)


def identify(text: str) -> tuple[str, float]:
    """The most probable language's code, and how probable it is, from 0 to 1. Short texts give low
    probabilities."""
    code, probability = _model().classify(" ".join(text[:MAX_CHARACTERS].split()))
    return str(code), float(probability)


class _Tables(NamedTuple):
    """The model as arrays: a byte leads from state to state, some states are features, features speak for
    languages."""

    following: np.ndarray  # by row of the state and byte
    rows: np.ndarray  # of each state, times 256
    features: np.ndarray  # of each state; -1: none
    weights: np.ndarray  # (features, languages)


@cache
def _tables() -> _Tables | None:
    """None when the installed version keeps them in another way."""
    model = _model()
    try:
        following = np.asarray(model.tk_nextmove, dtype=np.uint32)
        rows = np.asarray(model.tk_row, dtype=np.int64) << 8
        features = np.asarray(model.tk_output, dtype=np.int64)
    except (AttributeError, TypeError, ValueError):
        return None
    return _Tables(
        following, rows, features, model.nb_ptc.astype(np.float32)
    )  # as halves they are slow to reckon with


def identify_all(texts: Sequence[str]) -> Iterator[tuple[str, float]]:
    """As `identify` of each, several times as fast: the texts walk through the model side by side, a byte at
    a time."""
    tables = _tables()
    for begin in range(0, len(texts), BATCH):
        batch = texts[begin : begin + BATCH]
        yield from map(identify, batch) if tables is None else identify_batch(tables, batch)


def identify_batch(tables: _Tables, texts: Sequence[str]) -> Iterator[tuple[str, float]]:
    model = _model()
    coded = [model._encode(" ".join(text[:MAX_CHARACTERS].split())) for text in texts]
    lengths = np.array([len(encoded) for encoded in coded])
    letters = np.zeros((len(coded), max(1, lengths.max())), dtype=np.uint8)
    for number, encoded in enumerate(coded):
        letters[number, : len(encoded)] = np.frombuffer(encoded, dtype=np.uint8)
    state = np.zeros(len(coded), dtype=np.int64)
    features = np.full(letters.shape, -1, dtype=np.int64)
    for place in range(letters.shape[1]):
        state = tables.following[tables.rows[state] + letters[:, place]].astype(np.int64)
        features[:, place] = np.where(place < lengths, tables.features[state], -1)
    text, _ = np.nonzero(features >= 0)
    pairs, times = np.unique(text * len(tables.weights) + features[features >= 0], return_counts=True)
    owners, feature = np.divmod(pairs, len(tables.weights))
    counts = csr_array(
        (np.log1p(times.astype(np.float32)), (owners, feature)), (len(coded), len(tables.weights))
    )
    scores = counts @ tables.weights
    scores[np.unique(owners)] += model.nb_pc  # a text without a feature is in no language
    scores /= np.sqrt(np.maximum(lengths, 1))[:, None].astype(np.float32)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    for first, alias in model._alias_pairs:  # one language in two scripts
        shares[:, first] += shares[:, alias]
        shares[:, alias] = 0.0
    best = shares.argmax(axis=1)
    for number, language in enumerate(best.tolist()):
        yield str(model.nb_classes[language]), float(shares[number, language])
