"""The chat page: questions and answers that stream, asked again or side by side, what people think of them, and their say over what is kept."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fastapi import Depends, Request
from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from biddable.run.records import Feedback
from biddable.serve import recorder
from biddable.serve.engine.backend import GenerationRequest
from biddable.serve.engine.requests import Piece
from biddable.serve.exchange import Exchange, ServerState
from biddable.serve.openai import protocol
from biddable.serve.openai.http import EventStream, format_event, read_body, to_api_error
from biddable.serve.openai.protocol import APIError, ChatMessage, RequestBody
from biddable.serve.recorder import Requester
from biddable.store.consents import Consents
from biddable.store.store import Store
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect, render
from biddable.web.sessions import Visit, client_address, set_session_cookie

CONSENT = Path(__file__).with_name("consent.txt").read_text(encoding="utf-8").strip()
"""What people are asked, word for word; its version is part of every turn that is kept."""
REASONS = (
    "right",
    "helpful",
    "well put",
    "wrong",
    "did not do what I asked",
    "too long",
    "too short",
    "harmful",
    "rude",
)
YEAR = 365 * 86400.0
router = guarded_router()


class ChatState:
    """What the page knows beside the models: who agreed to what, and how often two answers are asked for."""

    def __init__(self, store: Store, side_by_side: float) -> None:
        self.consents, self.side_by_side = Consents(store, CONSENT), side_by_side


@dataclass(frozen=True)
class Guest:
    """Who uses the page: the pseudonym that records carry, and under which they may ask only so often."""

    user: str
    rate: str


def _guest(request: Request, visitor: Visit) -> Guest | None:
    """The owner of the key in the browser's cookie, or, where no key is needed, the browser itself; None: a key is needed."""
    server: ServerState = request.app.state.server
    if server.keys is not None:
        key = server.keys.find(request.cookies.get(_cookie(request), ""))
        return None if key is None else Guest(key.pseudonym, key.id)
    user = server.recorder.pseudonym("browser", visitor.token) if server.recorder else "nobody"
    return Guest(user, client_address(request))


def _known(guest: Annotated[Guest | None, Depends(_guest)]) -> Guest:
    if guest is None:
        raise APIError("your key is missing or was closed; load the page again", 401, code="missing_api_key")
    return guest


Somebody = Annotated[Guest, Depends(_known)]


class Question(RequestBody):
    """What /chat/answer takes."""

    messages: list[ChatMessage] = Field(min_length=1)
    conversation: str | None = Field(default=None, pattern=r"^conv-[0-9a-f]{24}$")
    again: bool = False  # another answer to the same words: never two at once


class Opinion(RequestBody):
    """What /chat/feedback takes."""

    turn: str = Field(max_length=200)
    thumbs: Literal["up", "down"] | None = None
    reasons: list[Literal[REASONS]] = Field(default=[], max_length=len(REASONS))  # type: ignore[valid-type]
    report: str | None = Field(default=None, min_length=1, max_length=4000)


class Preference(RequestBody):
    """What /chat/prefer takes: two turns, and which is better; neither: about the same."""

    turns: list[str] = Field(min_length=2, max_length=2)
    better: Literal[0, 1] | None = None


class Agreement(RequestBody):
    """What /chat/consent takes: yes or no to the text of this version."""

    given: bool
    version: str


@router.get("/")
def home(request: Request, guest: Annotated[Guest | None, Depends(_guest)]) -> Response:
    """The page, or the question for a key."""
    if guest is None:
        return render(request, "key.html", wrong="key" in request.query_params)
    chat: ChatState = request.app.state.chat
    server: ServerState = request.app.state.server
    known = {
        "agreed": bool(chat.consents.agreed_version(guest.user)),
        "asked": chat.consents.has_answered(guest.user),
    }
    if server.recorder is None:
        known = {"agreed": False, "asked": False}
    context = {
        "user": guest.user,
        "consent": CONSENT.split("\n\n"),
        "version": chat.consents.version,
        "keeps": server.recorder is not None,
    }
    return render(request, "chat.html", reasons=REASONS, keyed=server.keys is not None, **context, **known)


@router.post("/enter")
def enter(request: Request, form: Form) -> Response:
    """Take a key and remember it in a cookie that no script can read."""
    server: ServerState = request.app.state.server
    key = str(form.get("key", "")).strip()
    wait = server.rate_limiter.take(f"enter {client_address(request)}")
    if wait or server.keys is None or server.keys.find(key) is None:
        return redirect("/?key=wrong")
    response = redirect("/")
    https = request.app.state.https
    response.set_cookie(
        _cookie(request), key, max_age=int(YEAR), httponly=True, secure=https, samesite="strict"
    )
    return response


@router.post("/leave")
def leave(request: Request) -> Response:
    """Forget the key in this browser."""
    response = redirect("/")
    response.delete_cookie(_cookie(request), httponly=True, secure=request.app.state.https, samesite="strict")
    return response


def _cookie(request: Request) -> str:
    return "__Host-biddable-key" if request.app.state.https else "biddable-key"


@router.post("/chat/answer")
async def answer(request: Request, guest: Somebody) -> Response:
    """One answer, or two side by side, as events: {"answers": n, "conversation"}, {"answer", "text"}, {"answer", "finish", "turn"}, {"done"}."""
    server, chat = _state(request)
    if wait := server.rate_limiter.take(guest.rate):
        raise APIError("you ask too often; wait a little", 429, code="rate_limit_exceeded", retry=wait)
    asked = _parsed(Question, await read_body(request, server.max_request_bytes))
    names = list(server.models)
    both = not asked.again and random.random() < chat.side_by_side
    chosen = random.sample((names * 2)[:2] if len(names) < 2 else names[:2], 2) if both else names[:1]
    asker = Requester(guest.user, await run_in_threadpool(chat.consents.agreed_version, guest.user), "chat")
    conversation = asked.conversation or recorder.new_id("conv")
    talks = []
    for name in chosen:
        source = server.models[name]
        count = server.best_of if source.scores else 1
        ask = GenerationRequest(
            name, messages=tuple(turned.message() for turned in asked.messages), best_of=count
        )
        talks.append(Exchange(server, source, ask, asker, recorder.new_id("turn"), conversation))

    def close(whole: bool) -> None:
        for talk in talks:
            talk.close(whole)

    try:
        for talk in talks:
            await talk.open()
    except BaseException:
        close(False)
        raise
    return EventStream(_events(server, talks, guest, conversation), close)


async def _events(
    server: ServerState, talks: list[Exchange], guest: Guest, conversation: str
) -> AsyncGenerator[str]:
    yield format_event({"answers": len(talks), "conversation": conversation})
    came: asyncio.Queue[tuple[int, Piece | Exception]] = asyncio.Queue()

    async def follow(number: int, talk: Exchange) -> None:
        try:
            async for piece in talk.pieces():
                came.put_nowait((number, piece))
        except Exception as error:
            came.put_nowait((number, error))

    tasks = [asyncio.create_task(follow(number, talk)) for number, talk in enumerate(talks)]
    try:
        left = len(talks)
        while left:
            number, piece = await came.get()
            if isinstance(piece, Exception):
                if (said := to_api_error(piece)) is None:
                    raise piece
                yield format_event(said.body())
                return
            if piece.text:
                yield format_event({"answer": number, "text": piece.text})
            if piece.finish is not None:
                left -= 1
                turn = await talks[number].keep(piece.answer)
                handle = server.recorder.handle(turn, guest.user) if turn and server.recorder else None
                yield format_event({"answer": number, "finish": piece.finish, "turn": handle})
        yield format_event({"done": True})
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@router.post("/chat/feedback")
async def feedback(request: Request, guest: Somebody) -> Response:
    """Thumbs, reasons, or a report about a kept turn of this user."""
    server, _ = _state(request)
    said = _parsed(Opinion, await read_body(request, server.max_request_bytes))
    (turn,) = _turns(server, guest, [said.turn])
    row = _about(turn, guest).model_copy(
        update={"thumbs": said.thumbs, "reasons": tuple(said.reasons), "report": said.report}
    )
    await _keep(server, row)
    return JSONResponse({"kept": True})


@router.post("/chat/prefer")
async def prefer(request: Request, guest: Somebody) -> Response:
    """Which of two kept turns of this user is better; `collect.served` makes a comparison of it."""
    server, _ = _state(request)
    said = _parsed(Preference, await read_body(request, server.max_request_bytes))
    turns = _turns(server, guest, said.turns)
    if turns[0] == turns[1]:
        raise APIError("turns: two different ones were expected", param="turns")
    first, second = turns if said.better != 1 else turns[::-1]
    relation = "same_as" if said.better is None else "preferred_over"
    await _keep(server, _about(first, guest).model_copy(update={relation: (second,)}))
    return JSONResponse({"kept": True})


@router.post("/chat/consent")
async def consent(request: Request, visitor: Visit, guest: Somebody) -> Response:
    """Yes or no to keeping what one writes. The browser is remembered for a year, so that its user can come back and delete."""
    server, chat = _state(request)
    said = _parsed(Agreement, await read_body(request, server.max_request_bytes))
    if said.version != chat.consents.version or server.recorder is None:
        raise APIError("this question has changed; load the page again", 409)
    await run_in_threadpool(chat.consents.add, guest.user, said.given)
    response = JSONResponse({"given": said.given})
    set_session_cookie(request, response, visitor.token, YEAR)
    return response


@router.post("/chat/forget")
async def forget(request: Request, guest: Somebody) -> Response:
    """Take out everything of this user, and keep nothing more of theirs."""
    server, chat = _state(request)
    if server.recorder is None:
        raise APIError("nothing is kept here", 404)
    await run_in_threadpool(chat.consents.add, guest.user, False)
    turns, said = await server.recorder.forget(guest.user)
    return JSONResponse({"turns": turns, "feedback": said})


def _state(request: Request) -> tuple[ServerState, ChatState]:
    return request.app.state.server, request.app.state.chat


def _parsed(kind: type[protocol.B], data: bytes) -> protocol.B:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise protocol.invalid_request(error) from None


def _turns(server: ServerState, guest: Guest, handles: list[str]) -> list[str]:
    """The turns of these handles. Raises APIError for one that is not this user's."""
    found = [server.recorder.turn_of(handle, guest.user) if server.recorder else None for handle in handles]
    if None in found:
        raise APIError("this answer is not one of yours that is kept", 404, param="turn")
    return [turn for turn in found if turn is not None]


def _about(turn: str, guest: Guest) -> Feedback:
    return Feedback(id=recorder.new_id("feedback"), turn=turn, user=guest.user, time=recorder.timestamp())


async def _keep(server: ServerState, row: Feedback) -> None:
    assert server.recorder is not None
    await server.recorder.feedback(row)
