"""The peer gateway on a socket of its own: a small ASGI application and its bounds.

It listens apart from the explorer, because it is for other validators while the explorer is for its operator. Bounds:
so many connections, so many from one address, so long for each, so many bytes of request. A block is 2 MiB at most and
a slow reader holds no more than two, so all of them together hold 128 MiB.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from validator.content import LayeredStore
from validator.content.serving import PinnedBlocks, answer
from validator.errors import ValidatorError
from validator.settings import Settings
from validator.web.serve import listen

MOST_CONNECTIONS = 32
MOST_PER_ADDRESS = 8
CONNECTION_SECONDS = 60.0
"""A connection is cut after this, whatever it is doing: who is slow on purpose holds a place no longer."""
REQUEST_BYTES = 8192
READERS = 4
KEEP_ALIVE_SECONDS = 15

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class PeerError(ValidatorError):
    """The peer gateway cannot be served as configured."""


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with a limit on connections, in all and an address, and on how long each may last.

    uvicorn's own limit counts connections too, but has no timeout for one that never finishes its request.
    """

    open_by_address: ClassVar[Counter[str]] = Counter()

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as asyncio has it
        """Take the connection, or drop it at once."""
        super().connection_made(transport)
        address = str((self.client or ("",))[0])
        counts = self.open_by_address
        self._counted = address if counts.total() < MOST_CONNECTIONS and counts[address] < MOST_PER_ADDRESS else None
        if self._counted is None:
            transport.abort()
            return
        counts[address] += 1
        self._end = self.loop.call_later(CONNECTION_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        if self._counted is not None:
            self._end.cancel()
            self.open_by_address[self._counted] -= 1
            if self.open_by_address[self._counted] <= 0:
                del self.open_by_address[self._counted]
        super().connection_lost(exc)


def make_peer_app(blocks: PinnedBlocks) -> Callable[[Message, Receive, Send], Awaitable[None]]:
    """The application: one answer a request, the request's body left unread."""
    readers = asyncio.Semaphore(READERS)

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
        async with readers:
            said = await asyncio.to_thread(answer, blocks, scope["method"], path, query, headers)
        raw = [(key.encode("ascii"), value.encode("ascii")) for key, value in said.headers.items()]
        await send({"type": "http.response.start", "status": said.status, "headers": raw})
        await send({"type": "http.response.body", "body": said.body})

    return app


def serve_peer(store: object, settings: Settings) -> None:
    """Serve the pins of the embedded store in `store` on a thread that ends with the process. Returns at once.

    Raises ServeError when the address cannot be had, PeerError without an embedded store.
    """
    local = store.local if isinstance(store, LayeredStore) else None
    if local is None:
        raise PeerError(
            "peer_port serves the pins of an embedded store, and `content` names none: add local:PATH, or announce the "
            "gateway of the Kubo daemon instead"
        )
    listener = listen(settings.peer_host, settings.peer_port, what="the peer gateway", option="VALIDATOR_PEER_PORT")
    config = uvicorn.Config(
        make_peer_app(PinnedBlocks(local)),
        http=BoundedProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=REQUEST_BYTES,
    )
    threading.Thread(target=uvicorn.Server(config).run, args=([listener],), name="peer", daemon=True).start()
