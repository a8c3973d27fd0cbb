"""One HTTP POST with a deadline on the whole of it and a limit on the answer, whatever the other side does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

RESPONSE_LIMIT = 32 * 1024 * 1024
_CHUNK = 64 * 1024
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


class TransportFault(Exception):
    """No answer in time, or none at all. The message names no address: it may hold a secret."""


class TooLarge(TransportFault):
    """The answer is larger than allowed."""


class _HangUp:
    """Cuts a connection whose headers do not end in time: a timeout of a socket only bounds each single read."""

    sock: Any
    timeout: Any

    def getresponse(self) -> Any:  # noqa: ANN401 - urllib3's response
        timer = threading.Timer(float(self.timeout), self._cut)
        timer.daemon = True
        timer.start()
        try:
            return super().getresponse()  # type: ignore[misc]
        finally:
            timer.cancel()

    def _cut(self) -> None:
        with suppress(OSError, AttributeError):  # it has just ended by itself
            self.sock.shutdown(socket.SHUT_RDWR)


class _Connection(_HangUp, HTTPConnection):
    pass


class _SecureConnection(_HangUp, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class Transport:
    """Posts JSON. Keeps connections alive; follows no redirect, uses no proxy and unpacks no compressed answer.

    ``timeout`` is in seconds, for connecting and answering together. Safe to use from several threads.
    """

    def __init__(
        self, timeout: float, *, limit: int | None = None, ca_file: str | None = None, certificate: str | None = None
    ) -> None:
        """``limit`` of an answer in bytes, RESPONSE_LIMIT if not given. For https: ``ca_file`` holds the authorities to
        trust instead of the system's, ``certificate`` our own certificate and its key (both PEM).
        """
        self.timeout = timeout
        self._limit = RESPONSE_LIMIT if limit is None else limit
        self._http = urllib3.PoolManager(maxsize=8, retries=False, ca_certs=ca_file, cert_file=certificate)
        self._http.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def post(self, url: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer to ``body``. TransportFault says what went wrong, TooLarge is one of them."""
        return self.request("POST", url, body, {})

    def request(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """The same for any method, with further headers."""
        deadline = time.monotonic() + self.timeout
        try:
            response = self._http.request(
                method,
                url,
                body=body,
                headers={**_HEADERS, **headers},
                timeout=urllib3.Timeout(total=self.timeout),
                preload_content=False,
                redirect=False,
            )
            try:
                return response.status, self._read(response, deadline)
            except BaseException:
                # What is left of the answer must not be taken for the next one's.
                response.close()
                raise
            finally:
                response.release_conn()
        except (HTTPError, OSError, ValueError) as error:
            raise TransportFault(_cause(error) or f"no answer within {self.timeout:g} s") from error

    def _read(self, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
        chunks: list[bytes] = []
        size = 0
        # read1 returns what has arrived; read would wait for a whole chunk, drip by drip.
        while chunk := response.read1(_CHUNK, decode_content=False):
            size += len(chunk)
            if size > self._limit:
                raise TooLarge(f"the answer is larger than {self._limit} bytes")
            if time.monotonic() > deadline:
                raise TransportFault(f"the answer took longer than {self.timeout:g} s")
            chunks.append(chunk)
        return b"".join(chunks)


def _cause(error: BaseException) -> str | None:
    """What failed, without the address that urllib3 puts into its messages; None for a want of time."""
    name = type(getattr(error, "reason", None) or error).__name__
    if "Timeout" in name:
        return None
    known = {
        "NewConnectionError": "connection refused",
        "NameResolutionError": "unknown host",
        "SSLError": "its certificate is not trusted, or it does not trust ours",
    }
    return known.get(name, f"the connection failed ({name})")
