"""The chat page: questions and streamed answers, repeated or side by side; what people think of them; and
their say over what is kept."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fastapi import Depends, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from biddable.run.records import Feedback
from biddable.serve import recorder
from biddable.serve.engine.backend import GenerationRequest
from biddable.serve.engine.requests import Piece
from biddable.serve.exchange import Exchange, ServerState
from biddable.serve.openai.bodies import APIError, RequestBody, parse_body
from biddable.serve.openai.http import EventStream, format_event, read_body, to_api_error
from biddable.serve.openai.messages import ChatMessage, to_records
from biddable.serve.recorder import Requester, TurnRecorder
from biddable.store.key_sessions import SESSION_SECONDS, end_session, find_session_key, start_session
from biddable.store.store import Store
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect, render
from biddable.web.sessions import Visit, client_address, delete_session_cookie, set_session_cookie

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
YEAR_SECONDS = 365 * 86400.0
FORMER_COOKIES = {"biddable-key", "__Host-biddable-key"}
"""In which version 0.1.0 left the key itself; browsers that still have one forget it."""
router = guarded_router()


@dataclass(frozen=True)
class ChatState:
    """What the chat page needs besides the models."""

    store: Store  # of the sessions
    side_by_side: float  # how often a question is answered twice
    admins: frozenset[str]  # names of keys


@dataclass(frozen=True)
class Guest:
    """Who uses the page: the pseudonym that records carry, and the name under which their requests are
    counted."""

    user: str
    rate_limit_key: str
    is_admin: bool = False  # sees which rules an answer came near to


def _find_guest(request: Request, visitor: Visit) -> Guest | None:
    """The owner of the key that was entered in this browser, or, where no key is needed, the browser itself;
    None: a key is needed."""
    server, chat = _server(request), _chat(request)
    if server.keys is not None:
        key = find_session_key(chat.store, visitor.token)
        return None if key is None else Guest(key.pseudonym, key.id, key.name in chat.admins)
    user = server.recorder.pseudonym("browser", visitor.token) if server.recorder else "nobody"
    return Guest(user, client_address(request))


MaybeGuest = Annotated[Guest | None, Depends(_find_guest)]


async def _require_guest(request: Request, guest: MaybeGuest) -> Guest:
    server = _server(request)
    if guest is None:
        server.limit_rate(f"stranger {client_address(request)}")
        raise APIError(
            "you have left, or your key was closed; load the page again", 401, code="missing_api_key"
        )
    server.limit_rate(guest.rate_limit_key)
    return guest


CurrentGuest = Annotated[Guest, Depends(_require_guest)]
"""Whoever may use the page, and does not ask too often; for others the endpoint answers 401, or 429."""


class AnswerRequest(RequestBody):
    """The body of /chat/answer."""

    messages: list[ChatMessage] = Field(min_length=1)
    conversation: str | None = Field(default=None, pattern=r"^conv-[0-9a-f]{24}$")
    again: bool = False  # another answer to the same question: never two at once


class FeedbackRequest(RequestBody):
    """The body of /chat/feedback."""

    turn: str = Field(max_length=200)
    thumbs: Literal["up", "down"] | None = None
    reasons: list[Literal[REASONS]] = Field(default=[], max_length=len(REASONS))  # type: ignore[valid-type]
    report: str | None = Field(default=None, min_length=1, max_length=4000)


class PreferenceRequest(RequestBody):
    """The body of /chat/prefer: two turns, and which is better; none: about the same."""

    turns: list[str] = Field(min_length=2, max_length=2)
    better: Literal[0, 1] | None = None


class ConsentRequest(RequestBody):
    """The body of /chat/consent: yes or no to the text of this version."""

    given: bool
    version: str


@router.get("/")
def home(request: Request, guest: MaybeGuest) -> Response:
    """The page, or the question for a key."""
    response = _page(request, guest)
    for name in FORMER_COOKIES & request.cookies.keys():
        response.delete_cookie(name, httponly=True, secure=request.app.state.https, samesite="strict")
    return response


def _page(request: Request, guest: Guest | None) -> Response:
    if guest is None:
        return render(request, "key.html", problem=None)
    server = _server(request)
    consents = None if server.recorder is None else server.recorder.chat
    return render(
        request,
        "chat.html",
        reasons=REASONS,
        keyed=server.keys is not None,
        user=guest.user,
        consent=CONSENT.split("\n\n"),
        version="" if consents is None else consents.version,
        keeps=consents is not None,
        agreed=consents is not None and consents.agreement(guest.user) is not None,
        answered=consents is not None and consents.has_answered(guest.user),
    )


@router.post("/enter")
def enter(request: Request, form: Form) -> Response:
    """Take a key and begin a session: the browser gets a token of its own, never the key."""
    server, address = _server(request), client_address(request)
    if server.keys is None:
        return redirect("/")
    if seconds := server.rate_limiter.take(f"enter {address}"):  # guessing keys is slowed down
        response = render(request, "key.html", 429, problem="attempts")
        response.headers["retry-after"] = str(math.ceil(seconds))
        return response
    key = server.keys.find(str(form.get("key", "")).strip())
    if key is None:
        return render(request, "key.html", 403, problem="unknown")
    response = redirect("/")
    set_session_cookie(request, response, start_session(_chat(request).store, key), SESSION_SECONDS)
    return response


@router.post("/leave")
def leave(request: Request, visitor: Visit, form: Form) -> Response:
    """End the session of this browser, or, `everywhere`, all sessions of the same key."""
    end_session(_chat(request).store, visitor.token, everywhere="everywhere" in form)
    response = redirect("/")
    delete_session_cookie(request, response)
    return response


@router.post("/chat/answer")
async def answer(request: Request, guest: CurrentGuest) -> Response:
    """One answer, or two side by side, as events: {"answers": n, "conversation"}, {"answer", "text"},
    {"answer", "finish", "turn"}, {"done"}. Where rules had a say in the choice, an admin's event of the end has
    "near_rules" too."""
    server, chat = _server(request), _chat(request)
    body = parse_body(AnswerRequest, await read_body(request, server.max_request_bytes))
    side_by_side = not body.again and random.random() < chat.side_by_side
    agreement = None
    if server.recorder is not None:
        agreement = await run_in_threadpool(server.recorder.chat.agreement, guest.user)
    requester = Requester(guest.user, agreement, "chat")
    conversation = body.conversation or recorder.new_id("conv")
    exchanges = []
    for name in _choose_models(list(server.models), side_by_side):
        model = server.models[name]
        messages = to_records(body.messages)
        best_of = server.best_of if model.scores else 1
        generation = GenerationRequest(name, messages=messages, best_of=best_of)
        turn = recorder.new_id("turn")
        exchanges.append(Exchange(server, model, generation, requester, turn, conversation))

    def close(finished: bool) -> None:
        for exchange in exchanges:
            exchange.close(finished)

    try:
        for exchange in exchanges:
            await exchange.open()
    except BaseException:
        close(False)
        raise
    return EventStream(_events(server, exchanges, guest, conversation), close)


def _choose_models(names: list[str], side_by_side: bool) -> list[str]:
    """The models that answer, in the order of their answers. Side by side: the first two in random order, so
    that the page does not tell which is which; or the only one twice."""
    if not side_by_side:
        return names[:1]
    return random.sample((names * 2)[:2] if len(names) < 2 else names[:2], 2)


async def _events(
    server: ServerState, exchanges: list[Exchange], guest: Guest, conversation: str
) -> AsyncGenerator[str]:
    """The events of one question: the pieces of all answers in the order in which they come."""
    yield format_event({"answers": len(exchanges), "conversation": conversation})
    arrivals: asyncio.Queue[tuple[int, Piece | Exception]] = asyncio.Queue()

    async def forward(number: int, exchange: Exchange) -> None:
        try:
            async for piece in exchange.pieces():
                arrivals.put_nowait((number, piece))
        except Exception as error:
            arrivals.put_nowait((number, error))

    tasks = [asyncio.create_task(forward(number, exchange)) for number, exchange in enumerate(exchanges)]
    try:
        running = len(exchanges)
        while running:
            number, piece = await arrivals.get()
            if isinstance(piece, Exception):
                if (api_error := to_api_error(piece)) is None:
                    raise piece
                yield format_event(api_error.body())
                return
            if piece.text:
                yield format_event({"answer": number, "text": piece.text})
            if piece.finish is not None:
                running -= 1
                turn = await exchanges[number].record(piece.answer)
                handle = server.recorder.handle(turn, guest.user) if turn and server.recorder else None
                event: dict[str, object] = {"answer": number, "finish": piece.finish, "turn": handle}
                if guest.is_admin and piece.near_rules is not None:
                    event["near_rules"] = [{"rule": rule, "p_break": p} for rule, p in piece.near_rules]
                yield format_event(event)
        yield format_event({"done": True})
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@router.post("/chat/feedback")
async def feedback(request: Request, guest: CurrentGuest) -> Response:
    """Thumbs, reasons, or a report about a kept turn of this user."""
    server = _server(request)
    body = parse_body(FeedbackRequest, await read_body(request, server.max_request_bytes))
    turn_recorder, (turn,) = _turns(server, guest, [body.turn])
    opinion = {"thumbs": body.thumbs, "reasons": tuple(body.reasons), "report": body.report}
    await turn_recorder.record_feedback(_new_feedback(turn, guest).model_copy(update=opinion))
    return JSONResponse({"kept": True})


@router.post("/chat/prefer")
async def prefer(request: Request, guest: CurrentGuest) -> Response:
    """Which of two kept turns of this user is better; `collect.served` makes a comparison of it."""
    server = _server(request)
    body = parse_body(PreferenceRequest, await read_body(request, server.max_request_bytes))
    turn_recorder, turns = _turns(server, guest, body.turns)
    if turns[0] == turns[1]:
        raise APIError("turns: must be two different ones", param="turns")
    better, worse = turns if body.better != 1 else turns[::-1]
    relation = "same_as" if body.better is None else "preferred_over"
    await turn_recorder.record_feedback(_new_feedback(better, guest).model_copy(update={relation: (worse,)}))
    return JSONResponse({"kept": True})


@router.post("/chat/consent")
async def consent(request: Request, visitor: Visit, guest: CurrentGuest) -> Response:
    """Yes or no to keeping what one writes. Without a key the browser is remembered for a year, so that its
    user can come back and delete."""
    server = _server(request)
    body = parse_body(ConsentRequest, await read_body(request, server.max_request_bytes))
    if server.recorder is None or body.version != server.recorder.chat.version:
        raise APIError("this question has changed; load the page again", 409)
    if body.given:
        await server.recorder.agree(guest.user, "chat")
    else:
        await server.recorder.withdraw(guest.user, "chat")
    response = JSONResponse({"given": body.given})
    if server.keys is None:
        set_session_cookie(request, response, visitor.token, YEAR_SECONDS)
    return response


@router.post("/chat/forget")
async def forget(request: Request, guest: CurrentGuest) -> Response:
    """Delete everything of this user, and keep nothing more of theirs."""
    server = _server(request)
    parse_body(RequestBody, await read_body(request, server.max_request_bytes))
    if server.recorder is None:
        raise APIError("nothing is kept here", 404)
    turns, feedback = await server.recorder.forget(guest.user, "chat")
    return JSONResponse({"turns": turns, "feedback": feedback})


def _server(request: Request) -> ServerState:
    server = request.app.state.server
    assert isinstance(server, ServerState)
    return server


def _chat(request: Request) -> ChatState:
    chat = request.app.state.chat
    assert isinstance(chat, ChatState)
    return chat


def _turns(server: ServerState, guest: Guest, handles: list[str]) -> tuple[TurnRecorder, list[str]]:
    """Where turns are kept, and the turns of these handles. Raises APIError (404) for one that is not this
    user's."""
    if server.recorder is not None:
        turns = [turn for handle in handles if (turn := server.recorder.turn_of(handle, guest.user))]
        if len(turns) == len(handles):
            return server.recorder, turns
    raise APIError("this answer is not one of yours that is kept", 404, param="turn")


def _new_feedback(turn: str, guest: Guest) -> Feedback:
    return Feedback(id=recorder.new_id("feedback"), turn=turn, user=guest.user, time=recorder.timestamp())
