"""JSON-RPC over loopback HTTP, with batches; one lock around the chain."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from validator import strict_json
from validator.chain.devchain.methods import INVALID_PARAMS, RpcRefusal

BODY_LIMIT = 4 * 1024 * 1024
BATCH_LIMIT = 200
INVALID_REQUEST = -32600
PARSE_ERROR = -32700

Answer = Callable[[str, list[Any]], object]


class Server(ThreadingHTTPServer):
    """Serves ``answer`` on 127.0.0.1; every connection has its own daemon thread."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, answer: Answer) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer = answer
        self._connections: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, object]:
        """Accept a connection and remember it."""
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Forget a connection that has ended."""
        if isinstance(request, socket.socket):
            self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End kept-alive connections too: a stopped chain must not go on answering."""
        for connection in tuple(self._connections):
            with suppress(OSError):  # ended by the other side meanwhile
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write and no Nagle: headers and body in two packets cost every request a delayed acknowledgement (40 ms).
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout: ClassVar[float] = 60.0
    server: Server

    def do_POST(self) -> None:
        """Read one request or batch, bounded, and answer it."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_LIMIT:
            self.close_connection = True
            self._send(413, _error(None, INVALID_REQUEST, f"the request body must be at most {BODY_LIMIT} bytes"))
            return
        try:
            request = strict_json.loads(self.rfile.read(int(length)))
        except ValueError:
            self._send(200, _error(None, PARSE_ERROR, "the request is not JSON"))
            return
        if isinstance(request, list):
            if not 0 < len(request) <= BATCH_LIMIT:
                self._send(200, _error(None, INVALID_REQUEST, f"a batch holds 1 to {BATCH_LIMIT} requests"))
                return
            self._send(200, [self._one(item) for item in request])
        else:
            self._send(200, self._one(request))

    def _one(self, request: object) -> dict[str, Any]:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _error(None, INVALID_REQUEST, "a request is an object with a method")
        params = request.get("params") or []
        if not isinstance(params, list):
            return _error(request.get("id"), INVALID_PARAMS, "params must be a list")
        try:
            result = self.server.answer(request["method"], params)
        except RpcRefusal as refusal:
            return _error(request.get("id"), refusal.code, str(refusal), refusal.data)
        return {"jsonrpc": "2.0", "id": request.get("id"), "result": result}

    def _send(self, status: int, body: object) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: a demo's terminal belongs to the demo."""


def _error(identifier: object, code: int, message: str, data: str | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": identifier, "error": error}
