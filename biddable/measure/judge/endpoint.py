"""One OpenAI-compatible endpoint: chat completions with retries. The key is sent and never written."""

from __future__ import annotations

import random
import time
from types import TracebackType
from typing import Any

from biddable.run.config import UserError
from biddable.run.outgoing import without_key
from biddable.run.parse import parse_json
from biddable.run.redaction import redact_url

BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses that may pass by themselves: the request is sent again."""
LONGEST_WAIT = 60.0
"""Seconds between two attempts at most."""


class Endpoint:
    """A connection to HOST/v1. May be used from several threads at once."""

    def __init__(self, address: str, key: str | None, timeout: float, retries: int) -> None:
        import httpx2

        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.address, self.key = address.rstrip("/"), key
        self.shown = redact_url(self.address)
        self.retries = retries
        self.client = httpx2.Client(headers=headers, timeout=timeout, follow_redirects=False)

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()

    def answer(self, model: str, messages: list[dict[str, str]], temperature: float, max_tokens: int) -> str:
        """The reply's text. Raises UserError when the endpoint refuses, or is still busy or silent after all
        attempts."""
        import httpx2

        body = {"model": model, "messages": messages, "temperature": temperature, "max_tokens": max_tokens}
        error_text, wait = "", 0.0
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(min(LONGEST_WAIT, wait * random.uniform(0.5, 1.5)))
            try:
                response = self.client.post(f"{self.address}/chat/completions", json=body)
            except httpx2.HTTPError as error:
                error_text, wait = f"{type(error).__name__} {error}".strip(), 2.0**attempt
                continue
            if response.status_code in BUSY:
                error_text, wait = f"status {response.status_code}", _retry_after(response) or 2.0**attempt
                continue
            if response.status_code != 200:
                raise UserError(f"{self.shown}: status {response.status_code}: {self._excerpt(response)}")
            return self._text(response)
        raise UserError(
            f"{self.shown}: no answer after {self.retries + 1} attempts ({error_text}); the verdicts so "
            "far are saved: run again later"
        )

    def _text(self, response: Any) -> str:
        try:
            text = str(parse_json(response.text)["choices"][0]["message"]["content"] or "")
            return without_key(text, self.key)
        except (ValueError, KeyError, IndexError, TypeError):
            raise UserError(f"{self.shown}: not a chat completion: {self._excerpt(response)}") from None

    def _excerpt(self, response: Any) -> str:
        """The beginning of what the endpoint said."""
        return without_key(response.text, self.key)[:200].strip()


def _retry_after(response: Any) -> float | None:
    """Seconds that the endpoint asks to wait."""
    try:
        return max(0.0, float(response.headers.get("retry-after", "")))
    except ValueError:
        return None
