"""The one path that takes something: a sealed envelope, read piece by piece within the relay's bounds."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from validator.web.models import Problem, Relayed
from validator.web.relay import KIND, PATH, UPLOAD_RATE, UPLOAD_SECONDS, Refusal, Relay

PROBLEMS: dict[int | str, dict[str, Any]] = {
    403: {"model": Problem, "description": "Not from this server's own page."},
    408: {"model": Problem, "description": "The envelope did not come in time, or not whole."},
    409: {"model": Problem, "description": "Nothing can be contributed now."},
    411: {"model": Problem, "description": "No Content-Length."},
    413: {"model": Problem, "description": "More bytes than the DAO accepts."},
    415: {"model": Problem, "description": f"Not {KIND}."},
    422: {"model": Problem, "description": "Not an envelope for this DAO's key."},
    429: {"model": Problem, "description": "Too many uploads of late."},
    503: {"model": Problem, "description": "Too many uploads now, or the chain cannot be read."},
    507: {"model": Problem, "description": "The relay is full."},
}
BODY = {"requestBody": {"required": True, "content": {KIND: {"schema": {"type": "string", "format": "binary"}}}}}


def make_uploads(relay: Relay) -> APIRouter:
    """The route of the relay."""
    router = APIRouter(responses=PROBLEMS)

    @router.post(
        PATH, status_code=201, openapi_extra=BODY, summary="Put a sealed envelope into this server's IPFS node"
    )
    async def post(request: Request) -> Relayed:
        address = request.client.host if request.client is not None else ""
        admission = relay.admitted(request.headers, address)
        size = await _enter(admission)
        try:
            data = await _body(request, relay, size)
            return await run_in_threadpool(relay.store, data)
        finally:
            admission.__exit__(None, None, None)

    return router


async def _enter(admission: AbstractContextManager[int]) -> int:
    """Enter in a thread, which cannot be called back: when nobody waits for it any more, it gives its place back."""
    entering = asyncio.ensure_future(run_in_threadpool(admission.__enter__))
    try:
        return await asyncio.shield(entering)
    except asyncio.CancelledError:
        entering.add_done_callback(lambda done: done.exception() or admission.__exit__(None, None, None))
        raise


async def _body(request: Request, relay: Relay, size: int) -> bytearray:
    """Exactly `size` bytes, the envelope's head judged as soon as it is here. Raises Refusal."""
    data, is_judged = bytearray(), False
    try:
        async with asyncio.timeout(UPLOAD_SECONDS + size / UPLOAD_RATE):
            async for piece in request.stream():
                data += piece
                if len(data) > size:
                    raise Refusal(413, "more bytes came than were announced")
                is_judged = is_judged or await run_in_threadpool(relay.check_head, data, size)
    except TimeoutError:
        raise Refusal(408, "the envelope did not come in time") from None
    except ClientDisconnect:
        raise Refusal(408, "the envelope did not come whole") from None
    if len(data) != size or not is_judged:
        raise Refusal(422, "not an envelope that this relay takes: it is cut")
    return data
