"""The explorer on a socket: by itself, or on a thread beside a running node."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import structlog
import uvicorn
from fastapi import FastAPI

from validator.actions.connect import View, finality_of, view_of
from validator.chain.pool import EndpointStatus, Pool
from validator.errors import ValidatorError
from validator.settings import Settings
from validator.stages.node import Node
from validator.web.app import make_app
from validator.web.health import Pulse, Vitals
from validator.web.metrics import Machine
from validator.web.relay import open_relay
from validator.web.source import Source

log = structlog.get_logger("web")

DEFAULT_PORT = 8780
BACKLOG, MOST_CONNECTIONS, KEEP_ALIVE_SECONDS = 128, 256, 5


class ServeError(ValidatorError):
    """The address to listen on cannot be had."""


class Running(Protocol):
    """What the server needs of a running daemon (`validator.daemon.Daemon`)."""

    @property
    def tickers(self) -> Sequence[Ticking]:
        """One a DAO."""

    @property
    def memory(self) -> Bound:
        """What the process may use."""


class Ticking(Protocol):
    """One DAO's node (`validator.ticker.Ticker`)."""

    @property
    def name(self) -> str:
        """Its contract."""

    @property
    def node(self) -> Node:
        """Its open resources; raises ValidatorError while they cannot be opened."""

    @property
    def health(self) -> Pulse:
        """Its pulse."""

    @property
    def opened(self) -> Node | None:
        """Its open resources, if they are."""


class Bound(Protocol):
    """A bound on memory (`validator.memory.Memory`), in bytes."""

    @property
    def limit(self) -> int:
        """What may be used."""

    def used(self) -> int:
        """What is used."""


def serve(view: View, settings: Settings) -> None:
    """Serve the explorer, with the relay if the settings ask for it, until SIGTERM or Ctrl-C. Must be called from the
    main thread. Raises ServeError, RelayError or HeldError.
    """
    source = Source(view)
    app = make_app(source, relay=open_relay(source, settings))
    listener = listen(settings.host, settings.port or DEFAULT_PORT)
    with suppress(KeyboardInterrupt):  # uvicorn raises it again after it has stopped as asked
        server(app).run(sockets=[listener])


def serve_beside(daemon: Running, settings: Settings) -> None:
    """Serve the explorer, and the process's /live, /health, /ready and /metrics, on a thread that ends with it. Of
    several DAOs the first has the port, with what concerns all of them, and each further one's explorer the next port.

    Returns at once. A DAO that cannot be read now has no explorer; raises ValidatorError if none can, or ServeError.
    """
    if settings.relay:
        log.warning("no relay beside a node: who signs takes no uploads; `validator web` offers it from another home")
    nodes = {ticker.name: _vitals(ticker, settings) for ticker in daemon.tickers}
    machine = Machine(daemon.tickers[0].health.started, daemon.memory.used, daemon.memory.limit, settings.path(""))
    for number, view in enumerate(_views(daemon.tickers, settings)):
        app = make_app(Source(view), nodes, machine) if number == 0 else make_app(Source(view))
        listener = listen(settings.host, settings.port + number)
        # Off the main thread uvicorn leaves signals alone: they are the daemon's.
        threading.Thread(target=server(app).run, args=([listener],), name="web", daemon=True).start()


def _views(tickers: Sequence[Ticking], settings: Settings) -> list[View]:
    """The DAOs as anyone sees them, over their nodes' own connections."""
    views: list[View] = []
    faults: list[ValidatorError] = []
    for ticker in tickers:
        try:
            node = ticker.node
        except ValidatorError as fault:
            log.warning("no explorer for a DAO that cannot be opened", dao=ticker.name, error=str(fault))
            faults.append(fault)
        else:
            views.append(view_of(node.w3, node.deployment, node.store, finality_of(settings)))
    if not views:
        raise faults[0]
    return views


def _vitals(ticker: Ticking, settings: Settings) -> Vitals:
    def endpoints() -> tuple[EndpointStatus, ...]:
        provider = ticker.opened.w3.provider if ticker.opened is not None else None
        return provider.status() if isinstance(provider, Pool) else ()

    return Vitals(ticker.health, settings.poll_seconds, stale_seconds=settings.chain_stale_seconds, endpoints=endpoints)


def listen(host: str, port: int, what: str = "the explorer", option: str = "--port") -> socket.socket:
    """A listening socket, made by the caller's thread so that a taken port is refused where it can still be said."""
    try:
        kind = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.create_server((host, port), family=kind, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        words = f"cannot listen on {host} port {port}: {reason}; choose another with {option}"
        raise ServeError(words) from None
    log.info(f"{what} listens", url=f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}")
    return listener


def server(app: FastAPI) -> uvicorn.Server:
    """A server of `app` with our bounds, not yet running; its `run` takes the listening socket."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=2,
        limit_concurrency=MOST_CONNECTIONS,
    )
    return uvicorn.Server(config)
