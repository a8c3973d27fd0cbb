"""Where a stranger's URL may lead: public addresses, unless the operator says otherwise.

A URL that an operator announced on chain is fetched by every other validator from inside its own network. Unchecked it
would reach routers, cloud metadata services and databases that listen to their neighbours only ("server-side request
forgery"). So names are resolved here, and the connection goes to the address that was checked.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from validator.content.errors import BadStore

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Allowed = Callable[[Address], bool]

MAX_URL = 256
"""Bytes; the limit of `ValidatorSet.announce`."""
RESOLVE_SECONDS = 3.0
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LEAST_PORT = 1024  # below it live mail, name and file servers; 80 and 443 are the web's


class Forbidden(OSError):
    """The address is not one that this connection may go to."""


def is_public(address: Address) -> bool:
    """Whether it is a machine on the public internet, also when an IPv6 address only wraps an IPv4 one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address.sixtofour is not None or address.teredo is not None or address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def is_loopback(host: str) -> bool:
    """Whether a host name can only mean this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def peer_url(text: str, *, private: bool) -> SplitResult:
    """A URL that another validator announced. Hostile until this returns it.

    `private` also permits plain http, addresses of this machine and of local networks, and any port: for networks whose
    validators stand together. Raises BadStore in one line that repeats nothing of the URL.
    """
    if not text.isascii() or not text.isprintable() or " " in text or not 0 < len(text) <= MAX_URL:
        raise BadStore(f"not a peer's URL: 1 to {MAX_URL} visible ASCII characters are expected")
    if "\\" in text or "%" in text:
        raise BadStore("not a peer's URL: programs disagree on what its characters mean")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise BadStore("not a peer's URL: expected https://HOST or https://HOST:PORT") from None
    if url.scheme not in ("https", "http") or not url.hostname or "@" in url.netloc or url.query or url.fragment:
        raise BadStore("not a peer's URL: expected https://HOST or https://HOST:PORT, without user, ? and #")
    if port == 0:
        raise BadStore("not a peer's URL: port 0 cannot be reached")
    if private:
        return url
    if url.scheme != "https":
        raise BadStore("a peer's URL must be https (set `private_peers` for a network of your own)")
    if port not in (None, 443) and (port or 0) < _LEAST_PORT:
        raise BadStore(f"a peer's URL must have port 443 or one from {_LEAST_PORT} on")
    _refuse_private_literal(url.hostname)
    return url


def choose(host: str, port: int, allowed: Allowed) -> Address:
    """The first address of `host` that is allowed. Raises Forbidden, or OSError when there is none at all."""
    found = resolve(host, port)
    for address in found:
        if allowed(address):
            return address
    raise Forbidden(f"{host} is not at a public address: it is not connected to")


def resolve(host: str, port: int, seconds: float = RESOLVE_SECONDS) -> list[Address]:
    """The addresses of a name, looked up for at most `seconds`. Raises OSError."""
    found: list[Address] = []
    failure: list[OSError] = []

    def look_up() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            failure.append(OSError(f"{host} has no address: {error}"))
            return
        found.extend(ipaddress.ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers[:16])

    # getaddrinfo knows no timeout, and the name server may be the stranger's own.
    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure or not found:
        raise failure[0] if failure else OSError(f"{host} was not resolved within {seconds:g} s")
    return list(found)


def _refuse_private_literal(host: str) -> None:
    """Names are checked when they are resolved; numbers at once. What only some programs take for one is refused."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        last = host.rstrip(".").rpartition(".")[2]
        if last.isdigit() or last.startswith("0x") or "." not in host.rstrip("."):
            raise BadStore("a peer's URL must name a public host") from None
        return
    if not is_public(address):
        raise BadStore("a peer's URL must name a public address (set `private_peers` for a network of your own)")
