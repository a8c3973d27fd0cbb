"""The Kubo RPC through ipfshttpclient 0.7, fenced: this module alone knows that library.

Never used of it: `connect()` (refuses today's daemons), `get()` (unpacks a tar without checks), `cat` and
`stream=True` (not bounded: a gzip bomb arrives as one piece). Used: its addresses, sessions, multipart bodies and
request building; every answer goes through `http.read_bounded`. What the daemon says is never believed: blocks are
hashed, CIDs compared with ours. A file comes as one `dag/export`, or block by block where that fails.
"""

from __future__ import annotations

import importlib
import ipaddress
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import SplitResult

import requests

from validator import strict_json
from validator.content import car
from validator.content.block import MAX_BLOCK, Block, GetBlock, verified
from validator.content.cid import Cid
from validator.content.errors import BadCid, BadStore, FetchError, NotFound
from validator.content.http import (
    TRANSPORT_ERRORS,
    Patience,
    checked_url,
    fence,
    pieces,
    read_bounded,
    transport_errors,
)
from validator.content.retry import with_tries
from validator.content.store import BYTES_PER_SECOND, FILE_SECONDS, read_dag
from validator.content.unixfs import CHUNK, WIDTH, root

_PATCH = "PY_IPFS_HTTP_CLIENT_PATCH_REQUESTS"
_BACKEND = "PY_IPFS_HTTP_CLIENT_PREFER_HTTPX"
_ANSWER_BYTES = 65_536

Auth = tuple[str, str] | str
"""(user, password) for basic authentication, or a bearer token."""


class KuboStore:
    """A Kubo (or js-ipfs) daemon by its RPC URL, such as `http://127.0.0.1:5001`. Several threads may share it.

    Plain http is refused but to this machine. Makes no call until it is used.
    """

    def __init__(self, url: str, auth: Auth | None = None, patience: Patience | None = None) -> None:
        parts = checked_url(url, secure=True)
        self._host, self._patience = parts.netloc, patience or Patience()
        headers = {"Accept-Encoding": "identity"}
        if isinstance(auth, str):
            headers["Authorization"] = f"Bearer {auth}"
        self._library = _load()
        client = self._library.Client(
            _multiaddr(parts),
            parts.path.strip("/") + "/api/v0" if parts.path.strip("/") else "api/v0",
            session=True,
            auth=auth if isinstance(auth, tuple) else None,
            headers=headers,
            timeout=(self._patience.connect, self._patience.read),
        )
        self._client, self._transport = client, client._client
        fence(self._transport._session)

    @property
    def name(self) -> str:
        """`kubo:` and the host."""
        return f"kubo:{self._host}"

    @property
    def archives(self) -> bool:
        """Whether it is asked for whole DAGs."""
        return True

    def version(self) -> str:
        """The daemon's version, for the log. Raises FetchError."""
        return str(self._json("version", []).get("Version", "unknown"))[:40]

    def get_block(self, cid: Cid) -> Block:
        """One verified block.

        The daemon may ask its peers for it. Raises NotFound, FetchError or BadBlock.
        """
        return with_tries(
            lambda: verified(cid, self._call("block/get", [str(cid)], MAX_BLOCK), self.name), self._patience.tries
        )

    @contextmanager
    def dag(self, cid: Cid, size_limit: int) -> Iterator[GetBlock]:
        """Blocks for one walk of a file of at most `size_limit` bytes, by one `dag/export`.

        Raises FetchError when the daemon breaks off, as it does when it lacks a block: read it block by block then.
        """
        if cid.codec == "raw":
            yield self.get_block
            return
        self.get_block(cid)  # an export of what nobody has would wait for as long as a whole file may take
        seconds = FILE_SECONDS + size_limit / BYTES_PER_SECOND
        deadline = time.monotonic() + seconds
        options = {"progress": "false", "timeout": f"{seconds:.0f}s"}
        response = self._request("dag/export", [str(cid)], options, seconds=seconds)
        stream = pieces(response, car.size_limit(size_limit), deadline)
        try:
            blocks = car.CarBlocks(cid, stream, self.name, self.get_block)
            yield blocks.get_block
            blocks.finish()
        finally:
            stream.close()

    def read(self, cid: Cid, size_limit: int) -> bytes:
        """A whole file. Raises ContentError."""
        return read_dag(self, cid, size_limit)

    def put(self, data: bytes) -> Cid:
        """Add and pin a file with our own cut, whatever the daemon's defaults.

        Raises FetchError if it made something else.
        """
        wanted = root(data)
        options = {
            "cid-version": "1",
            "raw-leaves": "true",
            "chunker": f"size-{CHUNK}",
            "max-file-links": str(WIDTH),
            "pin": "true",
            "progress": "false",
            "cid-base": "base32",
        }
        body, headers = self._library.multipart.stream_bytes(data, chunk_size=65_536)
        seconds = FILE_SECONDS + len(data) / BYTES_PER_SECOND
        answer = self._json("add", [], options, body=body, headers=headers, seconds=seconds)
        if _cid_in(answer, "Hash") != wanted:
            raise FetchError(f"{self.name} stored the file under another CID than {wanted}: its import options differ")
        return wanted

    def pin(self, cid: Cid) -> None:
        """Pin the whole DAG, which makes the daemon fetch what it lacks. Raises FetchError or NotFound."""
        self._json("pin/add", [str(cid)], {"recursive": "true"}, seconds=FILE_SECONDS)

    def unpin(self, cid: Cid) -> None:
        """No longer keep it; not an error when it was not pinned."""
        try:
            self._json("pin/rm", [str(cid)], {"recursive": "true"})
        except (FetchError, NotFound) as error:
            if "not pinned" not in str(error):
                raise

    def has(self, cid: Cid) -> bool:
        """Whether the daemon holds a recursive pin of it, which is its promise to hold every block."""
        try:
            answer = self._json("pin/ls", [str(cid)], {"type": "recursive"})
        except (FetchError, NotFound) as error:
            if "is not pinned" in str(error):
                return False
            raise
        keys = answer.get("Keys")
        return isinstance(keys, dict) and any(_same(key, cid) for key in keys)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _json(
        self,
        path: str,
        arguments: list[str],
        options: Mapping[str, str] | None = None,
        **how: Any,  # noqa: ANN401 - handed on to _call
    ) -> dict[str, Any]:
        answer = self._call(path, arguments, _ANSWER_BYTES, options, **how)
        try:
            parsed = strict_json.loads(answer)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise FetchError(f"{self.name} did not answer {path} with one JSON object: is this a Kubo RPC?")
        return parsed

    def _call(
        self,
        path: str,
        arguments: list[str],
        limit: int,
        options: Mapping[str, str] | None = None,
        *,
        body: Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> bytes:
        """One POST, answered by at most `limit` bytes within `seconds`."""
        seconds = seconds or self._patience.block
        deadline = time.monotonic() + seconds
        response = self._request(path, arguments, options, body=body, headers=headers, seconds=seconds)
        return read_bounded(response, limit, deadline)

    def _request(
        self,
        path: str,
        arguments: list[str],
        options: Mapping[str, str] | None = None,
        *,
        body: Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float,
    ) -> requests.Response:
        """One POST, its answer not read yet. The only way out of this module."""
        read = max(self._patience.read, seconds if body is not None or path == "pin/add" else 0.0)
        # The daemon waits for peers without end unless told: it must give up before we do, to say why.
        asked = {"timeout": f"{max(read - 0.5, 0.5):.1f}s", **(options or {})}
        with self._translated():
            closables, _ = self._transport._request(
                "POST",
                path,
                [*asked.items(), *(("arg", argument) for argument in arguments)],
                auth=None,
                data=body,
                headers=headers,
                timeout=(self._patience.connect, read),
                chunk_size=65_536,
            )
        return cast("requests.Response", closables[0])

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (*TRANSPORT_ERRORS, self._library.exceptions.Error) as error:
            raise transport_errors(error, self.name) from None


def _load() -> Any:  # noqa: ANN401 - an untyped library
    """Import ipfshttpclient with plain `requests`: its own patch breaks with urllib3 2.

    The environment is left as it was.
    """
    before = {name: os.environ.get(name) for name in (_PATCH, _BACKEND)}
    os.environ.update({_PATCH: "no", _BACKEND: "no"})
    try:
        library = importlib.import_module("ipfshttpclient")
        backend = importlib.import_module("ipfshttpclient.http_requests")
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    if backend.PATCH_REQUESTS or library.http.ClientSync is not backend.ClientSync:
        raise BadStore(f"ipfshttpclient was imported before with other settings: set {_PATCH}=no and start again")
    return library


def _multiaddr(url: SplitResult) -> str:
    host = url.hostname or ""
    try:
        kind = f"ip{ipaddress.ip_address(host).version}"
    except ValueError:
        kind = "dns"
    return f"/{kind}/{host}/tcp/{url.port or (443 if url.scheme == 'https' else 80)}/{url.scheme}"


def _cid_in(answer: Mapping[str, Any], field: str) -> Cid | None:
    try:
        return Cid.parse(str(answer.get(field, "")))
    except BadCid:
        return None


def _same(text: object, cid: Cid) -> bool:
    return _cid_in({"cid": text}, "cid") == cid
