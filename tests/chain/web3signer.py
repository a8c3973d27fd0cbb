"""A signer by Web3Signer's published eth1 API, as a program. Usage: web3signer.py SECRETS [TLS FOLDER [PORT]]

It holds the SECRETS (hex, comma-separated) and prints its port when it listens. Under `/FAULT` in place of `/` it
misbehaves as the fault's name says. Every request it serves is one line on its standard output, so that tests see what
was sent. With a folder it speaks TLS with `server.pem` there, and asks clients for a certificate signed by `ca.pem` if
the folder has `mutual`.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from eth_keys import keys
from eth_utils.crypto import keccak

TOKEN = "s3cret-token"
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
KEYS = [keys.PrivateKey(bytes.fromhex(secret)) for secret in sys.argv[1].split(",")]
NAMES = ["0x" + key.public_key.to_bytes().hex() for key in KEYS]


class Signer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def parse_request(self) -> bool:
        parsed = super().parse_request()
        if parsed:
            fault, slash, rest = self.path[1:].partition("/")
            self.fault = fault if fault not in ("upcheck", "api") else "none"
            self.path = self.path if self.fault == "none" else slash + rest
        return parsed

    def do_GET(self) -> None:
        if self.path == "/upcheck":
            self.answer(200, b"OK", "text/plain; charset=utf-8")
        elif self.path == "/api/v1/eth1/publicKeys":
            self.answer(200, json.dumps(NAMES[1:] if self.fault == "no-key" else NAMES).encode(), "application/json")
        else:
            self.answer(404, b"", "text/plain")

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if self.fault == "token" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, b"", "text/plain")
        name = self.path.removeprefix("/api/v1/eth1/sign/")
        if name not in NAMES:
            return self.answer(404, b"", "text/plain")
        body = json.loads(raw)
        if set(body) != {"data"} or not body["data"].startswith("0x"):
            return self.answer(400, b"", "text/plain")
        key = KEYS[1 - NAMES.index(name)] if self.fault == "other-key" else KEYS[NAMES.index(name)]
        data = bytes.fromhex(body["data"][2:])
        return self.sign(key, data + b"!" if self.fault == "other-data" else data)

    def sign(self, key: keys.PrivateKey, data: bytes) -> None:
        made = key.sign_msg_hash(keccak(data))
        r, s, v = made.r, made.s, made.v + 27
        if self.fault == "high-s":
            s, v = ORDER - s, 55 - v
        if self.fault == "silent":
            threading.Event().wait(20)
        text = "0x" + r.to_bytes(32, "big").hex() + s.to_bytes(32, "big").hex() + f"{v:02x}"
        bodies = {"short": b"0x1234", "endless": b"0" * (8 << 20), "words": b"<h1>hello</h1>"}
        self.answer(200, bodies.get(self.fault, text.encode()), "text/plain; charset=utf-8")

    def answer(self, status: int, body: bytes, kind: str) -> None:
        print(self.command, self.path[:22], status, flush=True)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up, or a handshake that fails, is what some tests are about."""


tls, port = (*sys.argv[2:], "", "0")[:2]
server = Server(("127.0.0.1", int(port or 0)), Signer)
if tls:
    folder = Path(tls)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    if (folder / "mutual").exists():
        context.load_verify_locations(folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(f"listening {server.server_port}", flush=True)
server.serve_forever(0.05)
