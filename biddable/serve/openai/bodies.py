"""JSON bodies of requests, and the errors that name what is wrong with one."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator


class APIError(Exception):
    """A request that is refused: what is wrong, the HTTP status, the field it is about, OpenAI's code, and
    seconds until a retry may help."""

    def __init__(
        self,
        message: str,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        retry: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code, self.retry = message, status, param, code, retry

    def body(self) -> dict[str, Any]:
        """The error in the shape that OpenAI's clients understand."""
        error_type = ERROR_TYPES.get(
            self.status, "server_error" if self.status >= 500 else "invalid_request_error"
        )
        return {
            "error": {"message": self.message, "type": error_type, "param": self.param, "code": self.code}
        }


ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class RequestBody(BaseModel):
    """Base of all request bodies: strict types, and null means the default."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else values


Body = TypeVar("Body", bound=RequestBody)


def parse_body(kind: type[Body], data: bytes) -> Body:
    """A body of our own or of the protocol's. Raises APIError for bytes that are not JSON and for wrong
    values."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise invalid_request(error) from None


PYDANTIC_LOCATION = r"str|int|list\[.*|constrained-.*|function-.*"
"""What pydantic adds to the place of a mistake: which member of a union it tried. It means nothing to a
client."""
MAX_SHOWN = 80
"""Characters of a wrong value that an error repeats."""


def invalid_request(error: ValidationError) -> APIError:
    """The first mistake of a body, in one line. A union reports a mistake for each of its members; the
    member that was meant is the one in which pydantic came furthest."""
    mistakes = error.errors(include_url=False, include_context=False)
    place = _path(mistakes[0]["loc"])
    same_place = [mistake for mistake in mistakes if _path(mistake["loc"])[: len(place)] == place]
    first = max(same_place, key=lambda mistake: len(_path(mistake["loc"])))
    if first["type"] == "json_invalid":
        return APIError(f"the body is not JSON: {first['msg']}", code="invalid_json")
    param = ".".join(_path(first["loc"])) or "body"
    value = repr(first.get("input"))
    if len(value) > MAX_SHOWN:
        value = value[: MAX_SHOWN - 3] + "..."
    fields = {mistake["loc"][:1] for mistake in mistakes}  # a union reports one field's mistake several times
    more = f" (and {len(mistakes) - 1} more)" if len(fields) > 1 else ""
    return APIError(f"{param}: {first['msg']}; got {value}{more}", param=param, code="invalid_value")


def _path(location: tuple[int | str, ...]) -> list[str]:
    """A mistake's place in the body, field by field."""
    return [str(part) for part in location if not re.fullmatch(PYDANTIC_LOCATION, str(part))]
