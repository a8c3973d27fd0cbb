"""A file behind a plain http(s) URL, as contributors of other networks name it: bounded, and from public hosts only.

Nothing fixes what such a URL serves, so whoever uses this must say by a digest of its own what it has seen.
"""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import requests

from validator.content.addresses import is_public, peer_url
from validator.content.errors import BadStore
from validator.content.http import TRANSPORT_ERRORS, Patience, fence, read_bounded, transport_errors
from validator.content.store import BYTES_PER_SECOND, FILE_SECONDS

MOST_URL = 2048


def read_url(url: str, limit: int, *, private: bool = False, patience: Patience | None = None) -> bytes:
    """The body of at most `limit` bytes. No redirect is followed, and a host is reached only at a public address, by
    https, unless `private` allows this machine, local networks and plain http. Raises BadStore for a URL that is not
    asked for, FetchError, NotFound.
    """
    host = _checked(url, private=private)
    patience = patience or Patience()
    session = requests.Session()
    session.headers.update({"Accept-Encoding": "identity"})
    fence(session, None if private else is_public)
    deadline = time.monotonic() + FILE_SECONDS + limit / BYTES_PER_SECOND
    try:
        response = session.get(url, stream=True, timeout=(patience.connect, patience.read), allow_redirects=False)
        return read_bounded(response, limit, deadline)
    except TRANSPORT_ERRORS as error:
        raise transport_errors(error, host) from None
    finally:
        session.close()


def _checked(url: str, *, private: bool) -> str:
    """The host of a stranger's URL; a query is allowed here, where it names the file."""
    if len(url) > MOST_URL:
        raise BadStore(f"a URL of {len(url)} characters: at most {MOST_URL} are followed")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise BadStore("not a URL: expected https://HOST/PATH") from None
    if parts.fragment or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise BadStore("not a URL that every program reads alike: visible ASCII, without # and \\")
    return peer_url(f"{parts.scheme}://{parts.netloc}", private=private).netloc
