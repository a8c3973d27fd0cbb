"""What holds for every answer: only GET and HEAD but where the relay takes envelopes, no script but our own files,
nothing kept about the reader.

Plain ASGI, so it also wraps what the framework answers by itself.
"""

from __future__ import annotations

import json

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger("web")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
ASKING = frozenset({"/contribute"})
"""Pages whose scripts ask this server, and nobody else; those of all others connect nowhere."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
MOST_PATH = 512
"""Bytes of a path and of a query that are looked at; the longest of ours is far shorter."""


class Guard:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp, posts: frozenset[str] = frozenset()) -> None:
        """`posts`: the paths that also answer POST, and judge its body themselves."""
        self._app, self._allowed = app, frozenset(("POST", path) for path in posts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _with_headers(send, POLICY + ("; connect-src 'self'" if scope["path"] in ASKING else ""))
        if scope["method"] not in ("GET", "HEAD") and (scope["method"], scope["path"]) not in self._allowed:
            await _refuse(send, 405, "this server only answers GET and HEAD", {"allow": "GET, HEAD"})
            return
        if max(len(scope["raw_path"]), len(scope["query_string"])) > MOST_PATH:
            await _refuse(send, 414, f"path and query have at most {MOST_PATH} bytes each")
            return
        if scope["method"] == "HEAD":
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:  # a bug must not show its insides to a reader, nor end a node that validates beside us
            log.exception("unexpected fault; please report it", path=scope["path"])
            if not started:
                await _refuse(send, 500, "a fault in this program; its log says more")


def _with_headers(send: Send, policy: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Content-Security-Policy"] = policy
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-cache")
        await send(message)

    return sending


def _without_body(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return sending


async def _refuse(send: Send, status: int, words: str, headers: dict[str, str] | None = None) -> None:
    body = json.dumps({"error": words}).encode()
    fields = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
