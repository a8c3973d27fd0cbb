"""HTTP without trust: every answer is bounded in bytes and in time before it is looked at.

Shared by the Kubo RPC and the gateways. What `requests` alone would do: hand over a gzip bomb in one piece, follow a
redirect into the local network, read the proxy and `.netrc` from the environment, and wait for ever on a server that
sends one byte every few seconds.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import SplitResult, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from validator.content.addresses import Allowed, choose, is_loopback
from validator.content.errors import BadStore, Deadline, FetchError, Flood, NotFound

_PIECE = 65_536
_MESSAGE_BYTES = 4096
_ABSENT = ("not found", "could not find", "deadline exceeded", "request timed out")


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: to connect, between two received pieces, for one whole answer. And tries for one block."""

    connect: float = 3.0
    read: float = 10.0
    block: float = 20.0
    tries: int = 3


def fence(session: requests.Session, allowed: Allowed | None = None) -> None:
    """Make a session safe for strangers: no proxies or .netrc, no redirects, cookies or endless headers.

    `allowed`, where given, says to which addresses a connection may be made; asked of the very address that is then
    used, so that a name cannot mean another machine a moment later.
    """
    session.trust_env = False
    session.max_redirects = 0
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # a stranger's cookies would grow for months
    session.hooks["response"] = [_refuse]
    for scheme in ("http://", "https://"):
        session.mount(scheme, _ImpatientAdapter(allowed))


def read_bounded(response: requests.Response, limit: int, deadline: float) -> bytes:
    """The body, if it has at most `limit` bytes and ends before `deadline` (time.monotonic seconds).

    Raises Flood, Deadline, or FetchError for a cut or compressed answer. The response is closed in any case.
    """
    return b"".join(pieces(response, limit, deadline))


def pieces(response: requests.Response, limit: int, deadline: float) -> Generator[bytes, None, None]:
    """The same bytes as they arrive, for answers that are looked at on the way. Close it to hang up early."""
    with response:
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise FetchError(f"{_host(response)} sent a compressed answer ({encoding[:20]!r}) that nobody asked for")
        length = response.headers.get("Content-Length", "0")
        if not length.isascii() or not length.isdigit() or len(length) > 19 or int(length) > limit:
            raise Flood(f"{_host(response)} wants to send {length[:20]} bytes: at most {limit} are allowed")
        yield from _read(response, limit, deadline)


def transport_errors(error: Exception, source: str) -> FetchError:
    """Our word for what the HTTP stack raised."""
    return FetchError(
        f"{source} did not answer properly: {type(error).__name__}; check that it runs and can be reached"
    )


TRANSPORT_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
"""What an HTTP exchange may raise. http.client's errors arrive wrapped in one of these."""


def checked_url(text: str, *, secure: bool) -> SplitResult:
    """A base URL that may be used.

    `secure` refuses plain http but to this machine. Raises BadStore; never echoes secrets.
    """
    try:
        url = urlsplit(text)
        port_is_valid = url.port is None or url.port > 0
    except ValueError:
        raise BadStore("the store address is not a URL: expected http://HOST:PORT or https://HOST") from None
    if url.scheme not in ("http", "https") or not url.hostname or not port_is_valid:
        raise BadStore("the store address is not a URL: expected http://HOST:PORT or https://HOST")
    if url.username is not None or url.password is not None:
        raise BadStore(f"the address of {url.hostname} holds a password: give it by its own setting, not in the URL")
    if url.query or url.fragment:
        raise BadStore(f"the address of {url.hostname} must end with its path: no ? and no #")
    if secure and url.scheme == "http" and not is_loopback(url.hostname):
        raise BadStore(
            f"plain http to {url.hostname} would show the RPC credentials to everybody: use https or 127.0.0.1"
        )
    return url


def _read(response: requests.Response, limit: int, deadline: float) -> Iterator[bytes]:
    size = 0
    # The timer ends what the clock cannot: endless chunk headers or trailers, which http.client reads without
    # returning.
    with _cut_at(deadline - time.monotonic(), response.raw.shutdown):
        try:
            # read1 is one recv: the clock is looked at after each piece, however small.
            while piece := response.raw.read1(_PIECE, decode_content=False):
                size += len(piece)
                if size > limit:
                    raise Flood(f"{_host(response)} sent more than {limit} bytes")
                if time.monotonic() > deadline:
                    break
                yield piece
        except TRANSPORT_ERRORS as error:
            if time.monotonic() <= deadline:
                raise transport_errors(error, _host(response)) from None
    if time.monotonic() > deadline:
        raise Deadline(f"{_host(response)} did not finish its answer in time")


def _refuse(response: requests.Response, **_: object) -> None:
    """Runs before requests looks at a redirect or ipfshttpclient at an error body: both would read without bound."""
    if response.status_code == 200:
        return
    with response:
        if 300 <= response.status_code < 400:
            raise FetchError(f"{_host(response)} redirects elsewhere, which is not followed: give the final address")
        try:
            body = read_bounded(response, _MESSAGE_BYTES, time.monotonic() + 2.0)
        except FetchError:
            body = b""
        said = "".join(letter for letter in body.decode("ascii", "replace") if letter.isprintable())[:200]
        # A daemon that was told how long to look for a block says so in its own words when it has not found it by then.
        absent = response.status_code == 404 or any(words in said for words in _ABSENT)
        kind = NotFound if absent else FetchError
        raise kind(f"{_host(response)} answered with HTTP status {response.status_code}: {said!r}")


def _host(response: requests.Response) -> str:
    return urlsplit(response.url or "").netloc or "the source"


@contextmanager
def _cut_at(seconds: float, shutdown: Callable[[], object]) -> Iterator[threading.Event]:
    """Shut a socket down from another thread when the time is over, so that a blocked read returns.

    The event is set then: what was read may be cut, and http.client takes a cut for the end.
    """
    expired = threading.Event()

    def cut() -> None:
        expired.set()
        try:
            shutdown()
        except (OSError, ValueError, RuntimeError):
            return  # the exchange ended in the same instant: nothing is left to cut

    timer = threading.Timer(max(seconds, 0.0), cut)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()


class _Impatient:
    """The status line and all headers must come within the read timeout together, not each line on its own."""

    timeout: float | None
    sock: socket.socket

    def getresponse(self) -> Any:  # noqa: ANN401 - urllib3's own response class
        # The plain socket's shutdown, also under TLS: SSLSocket.shutdown would pull its state from under the reader.
        shutdown = partial(socket.socket.shutdown, self.sock, socket.SHUT_RDWR)
        with _cut_at(self.timeout or Patience().read, shutdown) as expired:
            response = super().getresponse()  # type: ignore[misc]
            if expired.is_set():
                response.close()
                raise TimeoutError("the headers did not end in time")
            return response


class _Guarded:
    """Connects to the first address of its host that is allowed, and to no other."""

    allowed: Allowed
    _dns_host: str
    host: str
    port: int

    def _new_conn(self) -> socket.socket:
        name = self._dns_host
        self._dns_host = str(choose(name, self.port, self.allowed))
        try:
            made: socket.socket = super()._new_conn()  # type: ignore[misc]
        finally:
            self._dns_host = name  # TLS goes on asking for a certificate of the name
        return made


class _ImpatientHttp(_Impatient, HTTPConnection):
    pass


class _ImpatientHttps(_Impatient, HTTPSConnection):
    pass


class _ImpatientAdapter(HTTPAdapter):
    """An adapter whose connections are impatient, and go only where `allowed` lets them."""

    def __init__(self, allowed: Allowed | None = None) -> None:
        self._allowed = allowed
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as requests has it
        super().init_poolmanager(*args, **kwargs)
        http: type[HTTPConnection] = _ImpatientHttp
        https: type[HTTPSConnection] = _ImpatientHttps
        if self._allowed is not None:
            rule = {"allowed": staticmethod(self._allowed)}
            http = type("_GuardedHttp", (_Guarded, _ImpatientHttp), rule)
            https = type("_GuardedHttps", (_Guarded, _ImpatientHttps), rule)
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("_HttpPool", (HTTPConnectionPool,), {"ConnectionCls": http}),
            "https": type("_HttpsPool", (HTTPSConnectionPool,), {"ConnectionCls": https}),
        }
