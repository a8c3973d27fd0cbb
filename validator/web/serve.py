"""The explorer on a socket: by itself, or on a thread beside a running node."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from typing import Protocol

import structlog
import uvicorn
from fastapi import FastAPI

from validator.actions.connect import View, finality_of, view_of
from validator.errors import ValidatorError
from validator.settings import Settings
from validator.stages.node import Node
from validator.web.app import make_app
from validator.web.health import Pulse, Vitals
from validator.web.source import Source

log = structlog.get_logger("web")

DEFAULT_PORT = 8780
BACKLOG, MOST_CONNECTIONS, KEEP_ALIVE_SECONDS = 128, 256, 5


class ServeError(ValidatorError):
    """The address to listen on cannot be had."""


class Running(Protocol):
    """What the server needs of a running daemon (`validator.daemon.Daemon`)."""

    @property
    def node(self) -> Node:
        """The node's open resources."""

    @property
    def health(self) -> Pulse:
        """Its pulse."""


def serve(view: View, settings: Settings) -> None:
    """Serve the explorer until SIGTERM or Ctrl-C. Must be called from the main thread. Raises ServeError."""
    listener = listen(settings.host, settings.port or DEFAULT_PORT)
    with suppress(KeyboardInterrupt):  # uvicorn raises it again after it has stopped as asked
        server(make_app(Source(view))).run(sockets=[listener])


def serve_beside(daemon: Running, settings: Settings) -> None:
    """Serve the explorer, and the node's /health, /ready and /metrics, on a thread that ends with the process.

    Returns at once. Raises ServeError before the node has begun to work.
    """
    node = daemon.node
    source = Source(view_of(node.w3, node.deployment, node.store, finality_of(settings)))
    app = make_app(source, Vitals(daemon.health, settings.poll_seconds))
    listener = listen(settings.host, settings.port)
    # Off the main thread uvicorn leaves signals alone: they are the daemon's.
    threading.Thread(target=server(app).run, args=([listener],), name="web", daemon=True).start()


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
