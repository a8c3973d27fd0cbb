"""The parsing worker for Vana's files: it opens them too, so that no packet of a stranger's is read outside of it.

A payload is `u16 length of the password | password | message`, the length in big endian. The password was taken out of
the granted key by the node, which alone holds the key for that. Keep this module light: never torch.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from validator.envelope.foreign import Unopenable
from validator.envelope.openpgp import open_message
from validator.payload.frames import read_frame, reader
from validator.payload.worker import Request, Status, parsed, tell
from validator.payload.worker import main as serve

UNOPENABLE = "unopenable"


def main() -> int:
    """Serve requests until standard input closes."""
    return serve(answer)


def frame(message: bytes, password: bytes) -> bytes:
    """What is sent to the worker."""
    return len(password).to_bytes(2, "big") + password + message


def answer(pipe: int, request: Request) -> None:
    """Read one file from `pipe`, open it, and say what it holds."""
    tell(pipe, *opened(request, bytes(read_frame(reader(pipe), 8, request.size))))


def opened(request: Request, framed: bytes) -> tuple[Status, bytes]:
    """Of a file that opens and parses: its records, and the SHA-256 of its plaintext as the message."""
    start = 2 + int.from_bytes(framed[:2], "big")
    try:
        plain = open_message(framed[start:], framed[2:start], request.plain)
        status, body = parsed(request, plain)
        said = hashlib.sha256(plain).hexdigest() if status.kind == "parsed" else status.message
        return replace(status, message=said), body
    except Unopenable as error:
        return Status(UNOPENABLE, error.reason, str(error)), b""
    except Exception as error:  # noqa: BLE001 - whatever it is, it is our fault, and the node must hear it
        return Status("fault", "", type(error).__name__), b""
