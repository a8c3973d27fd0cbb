"""A stand-in for a Kubo RPC and a trustless gateway, on loopback, that can be told to misbehave."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from validator.content.block import Block
from validator.content.car import encode
from validator.content.cid import Cid
from validator.content.dagpb import decode_file
from validator.content.unixfs import build

RAW = "application/vnd.ipld.raw"


class StandIn:
    """Holds blocks and pins; `fault`, when set, answers instead. `seen` collects (path, headers) of each request."""

    def __init__(self) -> None:
        self.blocks: dict[str, bytes] = {}
        self.pins: set[str] = set()
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.fault: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.released = threading.Event()
        self.add_chunk = 1 << 20
        self.car_fault: Callable[[bytes], bytes] | None = None
        standin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def _answer(self) -> None:
                standin.seen.append((self.path, dict(self.headers)))
                body = _body(self)
                try:
                    if standin.fault is not None:
                        self.close_connection = True
                        standin.fault(self)
                    else:
                        standin.serve(self, body)
                except OSError:
                    self.close_connection = True  # the client hung up, as it should

            def log_message(self, *_: object) -> None:
                """Quiet."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Clients hang up on hostile answers: that is the point."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def hold(self, data: bytes) -> str:
        """Keep a file's blocks; returns the CID."""
        cid = ""
        for block in build(data):
            cid = str(block.cid)
            self.blocks[cid] = block.data
        return cid

    def serve(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        url = urlsplit(handler.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path.startswith("/ipfs/"):
            if query.get("format") == "car":
                self.send_car(
                    handler, url.path.removeprefix("/ipfs/"), "application/vnd.ipld.car; version=1; order=dfs"
                )
                return
            data = self.blocks.get(url.path.removeprefix("/ipfs/"))
            send(handler, 404 if data is None else 200, data or b"", RAW)
            return
        command, argument = url.path.removeprefix("/api/v0/"), query.get("arg", "")
        if command == "block/get":
            if argument in self.blocks:
                send(handler, 200, self.blocks[argument], "text/plain")
            else:
                rpc_error(handler, "block was not found locally (offline): ipld: could not find it")
        elif command == "dag/export":
            self.send_car(handler, argument, "application/octet-stream")
        elif command == "add":
            file = body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
            for block in build(file, self.add_chunk):
                self.blocks[str(block.cid)] = block.data
                cid = str(block.cid)
            self.pins.add(cid)
            reply(handler, {"Name": cid, "Hash": cid, "Size": str(len(file))})
        elif command == "pin/add":
            self.pins.add(argument)
            reply(handler, {"Pins": [argument]})
        elif command == "pin/rm":
            if argument not in self.pins:
                rpc_error(handler, "not pinned or pinned indirectly")
            else:
                self.pins.remove(argument)
                reply(handler, {"Pins": [argument]})
        elif command == "pin/ls":
            if argument not in self.pins:
                rpc_error(handler, f"path '{argument}' is not pinned")
            else:
                reply(handler, {"Keys": {argument: {"Type": "recursive"}}})
        elif command == "version":
            reply(handler, {"Version": "0.43.1"})
        else:
            send(handler, 404, b"404 page not found", "text/plain")

    def send_car(self, handler: BaseHTTPRequestHandler, text: str, kind: str) -> None:
        """The DAG in the order of a walk, in chunks; `car_fault` may change the bytes."""
        if text not in self.blocks:
            rpc_error(handler, "block was not found locally (offline): ipld: could not find it")
            return
        archive = b"".join(encode(Cid.parse(text), self.walk_blocks(Cid.parse(text))))
        archive = archive if self.car_fault is None else self.car_fault(archive)
        chunked(handler, kind=kind)
        for start in range(0, len(archive), 50_000):
            piece = archive[start : start + 50_000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    def walk_blocks(self, cid: Cid) -> Iterator[Block]:
        block = Block(cid.codec, self.blocks[str(cid)])
        yield block
        if cid.codec == "dag-pb":
            for child in decode_file(block.data).children:
                yield from self.walk_blocks(child.cid)

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding") != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length", "0")))
    body = bytearray()
    while size := int(handler.rfile.readline(), 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return bytes(body)


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, kind: str, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def reply(handler: BaseHTTPRequestHandler, value: object) -> None:
    send(handler, 200, json.dumps(value).encode(), "application/json")


def rpc_error(handler: BaseHTTPRequestHandler, message: str) -> None:
    send(handler, 500, json.dumps({"Message": message, "Code": 0, "Type": "error"}).encode(), "application/json")


def chunked(handler: BaseHTTPRequestHandler, status: int = 200, kind: str = RAW) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()


@cache
def bomb() -> bytes:
    """32 MiB of zeros in 140 kB."""
    return gzip.compress(bytes(32 << 20), 1)


def faults(standin: StandIn) -> dict[str, Callable[[BaseHTTPRequestHandler], None]]:
    """What a hostile or broken server does, by name."""

    def lie(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, b"something else", RAW)

    def cut_length(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", RAW)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"only this")

    def cut_chunk(handler: BaseHTTPRequestHandler) -> None:
        chunked(handler)
        handler.wfile.write(b"400\r\nonly this")

    def stream_error(handler: BaseHTTPRequestHandler) -> None:
        chunked(handler)  # Kubo's way to say "I failed half way": a sound ending and a trailer that http.client drops
        handler.wfile.write(b"5\r\nhalf \r\n0\r\nX-Stream-Error: disk\r\n\r\n")

    def announced_flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", RAW)
        handler.send_header("Content-Length", str(400 << 20))
        handler.end_headers()
        handler.wfile.write(b"x" * 65_536)

    def chunk_flood(handler: BaseHTTPRequestHandler) -> None:
        chunked(handler)
        handler.wfile.write(b"%x\r\n" % (400 << 20))
        for _ in range(6400):
            handler.wfile.write(b"x" * 65_536)

    def gzip_bomb(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, bomb(), RAW, Content_Encoding="gzip")

    def error_flood(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 500, bomb(), "application/json", Content_Encoding="gzip")

    def error_chunk_flood(handler: BaseHTTPRequestHandler) -> None:
        chunked(handler, 500)
        handler.wfile.write(b"%x\r\n" % (400 << 20))
        for _ in range(6400):
            handler.wfile.write(b"x" * 65_536)

    def redirect(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 302, b"", RAW, Location=standin.url + "/elsewhere")

    def drip(handler: BaseHTTPRequestHandler) -> None:
        chunked(handler)
        while not standin.released.wait(0.05):
            handler.wfile.write(b"1\r\nx\r\n")

    def drip_headers(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not standin.released.wait(0.05):
            handler.wfile.write(b"X")

    def endless_continue(handler: BaseHTTPRequestHandler) -> None:
        while not standin.released.wait(0.01):
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def endless_trailers(handler: BaseHTTPRequestHandler) -> None:
        chunked(handler)
        handler.wfile.write(b"1\r\nx\r\n0\r\n")
        while not standin.released.wait(0.01):
            handler.wfile.write(b"X-More: 1\r\n")

    def silence(handler: BaseHTTPRequestHandler) -> None:
        standin.released.wait(20)

    def bad_length(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: " + RAW.encode() + b"\r\nContent-Length: -5\r\n\r\nx")

    def two_lengths(handler: BaseHTTPRequestHandler) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: " + RAW.encode()
        handler.wfile.write(head + b"\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello")

    def no_http(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"\x00\xff\x13SSH-2.0-nope\r\n\r\n")

    def many_headers(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(5000)) + b"\r\n")

    return {name: value for name, value in locals().items() if callable(value)}
