"""The messages of a dialogue as clients send them back: what an assistant said may come as `content: null`,
as a refusal, or as a list of parts. What our models cannot read, such as tool calls and images, is refused by
its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from biddable.run.records import Message
from biddable.serve.openai.bodies import APIError, RequestBody

TEXT_PARTS = ("text", "input_text", "output_text")
NO_TOOLS = "this server's models call no tools"


class ContentPart(RequestBody):
    """A part of a message's content: text, or an assistant's refusal."""

    type: str
    text: str | None = None
    refusal: str | None = None

    def read(self, where: str) -> str:
        """The part's text. Raises APIError for images, sounds and files."""
        if self.type not in (*TEXT_PARTS, "refusal"):
            raise _unsupported(f"{where}.type", f"a part of type {self.type!r}", "send text")
        field = "refusal" if self.type == "refusal" else "text"
        text = self.refusal if self.type == "refusal" else self.text
        if text is None:
            raise APIError(f"{where}.{field}: must be a text", param=f"{where}.{field}", code="invalid_value")
        return text


class ChatMessage(RequestBody):
    """One message of a dialogue. Fields that mean nothing to a model, such as `name`, are ignored."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    refusal: str | None = None
    tool_calls: list[Any] = Field(default=[])
    function_call: dict[str, Any] | None = None
    audio: dict[str, Any] | None = None

    def to_record(self, where: str) -> Message:
        """The message as records write it: one text, and developers speak as the system. Raises APIError for
        what is not text; `where` is the message's place in the request."""
        if self.role == "tool" or self.role == "function":  # spelled out: types narrow by it
            raise _unsupported(f"{where}.role", f"role {self.role!r}", NO_TOOLS)
        if self.tool_calls:
            raise _unsupported(f"{where}.tool_calls", "a call of a tool", NO_TOOLS)
        if self.function_call is not None:
            raise _unsupported(f"{where}.function_call", "a call of a function", NO_TOOLS)
        if self.audio is not None:
            raise _unsupported(f"{where}.audio", "a spoken answer", "send text")
        return Message(
            role="system" if self.role == "developer" else self.role,
            content=self._read_content(f"{where}.content"),
        )

    def _read_content(self, where: str) -> str:
        if isinstance(self.content, str):
            return self.content
        if self.content is not None:
            return "".join(part.read(f"{where}.{place}") for place, part in enumerate(self.content))
        if self.role == "assistant":  # an answer without text: refused, or ended with its first token
            return self.refusal or ""
        raise APIError(f"{where}: must be a text or a list of text parts", param=where, code="invalid_value")


def to_records(messages: Sequence[ChatMessage]) -> tuple[Message, ...]:
    """A dialogue as records write it. Raises APIError for the first message that cannot be read."""
    return tuple(message.to_record(f"messages.{number}") for number, message in enumerate(messages))


def _unsupported(where: str, what: str, advice: str) -> APIError:
    return APIError(
        f"{where}: {what} is not supported by this server; {advice}",
        param=where,
        code="unsupported_parameter",
    )
