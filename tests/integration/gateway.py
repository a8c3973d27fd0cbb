"""A trustless gateway over an embedded store, as it should be, or with one thing wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from validator.content import Cid

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]
"""What is done to a request, when there is a block that would have been the answer."""


@contextmanager
def gateway(store: Path, answer: Answer | None = None) -> Iterator[str]:
    """The URL of a gateway that answers with the blocks of `store`, or as `answer` does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith("/ipfs/"):
                self.send_error(404)
                return
            digest = Cid.parse(self.path.split("?")[0].removeprefix("/ipfs/")).digest.hex()
            path = store / "blocks" / digest[:2] / digest
            if not path.exists():
                self.send_error(404)
                return
            with suppress(OSError):  # who asked may have had enough
                (answer or serve)(self, path.read_bytes())

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def serve(request: BaseHTTPRequestHandler, block: bytes) -> None:
    """A block, whole."""
    request.send_response(200)
    request.send_header("Content-Type", "application/vnd.ipld.raw")
    request.send_header("Content-Length", str(len(block)))
    request.end_headers()
    request.wfile.write(block)


def has_none(request: BaseHTTPRequestHandler, block: bytes) -> None:
    """Nothing is ever found."""
    request.send_error(404)


def sends_elsewhere(request: BaseHTTPRequestHandler, block: bytes) -> None:
    """To where the very block is served: whoever follows gets it."""
    if request.path.endswith("&moved"):
        return serve(request, block)
    request.send_response(302)
    request.send_header("Location", f"{request.path}&moved")
    request.end_headers()
    return None


def changes_a_byte(request: BaseHTTPRequestHandler, block: bytes) -> None:
    """The same but for its last byte."""
    serve(request, block[:-1] + bytes([block[-1] ^ 1]))


def never_ends(request: BaseHTTPRequestHandler, block: bytes) -> None:
    """The block, and then zeros as fast as they are taken."""
    request.send_response(200)
    request.end_headers()
    request.wfile.write(block)
    while True:
        request.wfile.write(bytes(2**20))


def drips(request: BaseHTTPRequestHandler, block: bytes) -> None:
    """A byte every now and then, so that no single read waits for long."""
    request.send_response(200)
    request.send_header("Content-Length", str(len(block)))
    request.end_headers()
    for byte in block:
        request.wfile.write(bytes([byte]))
        threading.Event().wait(0.5)
