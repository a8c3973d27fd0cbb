"""Trustless gateways: `GET /ipfs/<cid>?format=raw`, one block an answer, or `?format=car`, a whole DAG in one.

Source: https://specs.ipfs.tech/http-gateways/trustless-gateway/. The gateway is a stranger: its blocks are hashed.
Other validators (`validator.content.peers`) are read through the same lines.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from validator.content import car
from validator.content.addresses import Allowed, Forbidden
from validator.content.block import MAX_BLOCK, Block, GetBlock, verified
from validator.content.cid import Cid
from validator.content.errors import FetchError
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

RAW_BLOCK = "application/vnd.ipld.raw"


class GatewaySource:
    """One gateway, by its base URL. Reads only; several threads may share it.

    `kind`: the first word of its name. `allowed`: to which addresses it may connect; any, where the operator chose it.
    `archives`: whether to ask it for whole DAGs; it is no longer asked once it has shown that it cannot.
    """

    def __init__(
        self,
        url: str,
        patience: Patience | None = None,
        *,
        kind: str = "gateway",
        allowed: Allowed | None = None,
        archives: bool = True,
    ) -> None:
        parts = checked_url(url, secure=False)  # plain http is fine: blocks prove themselves and are public
        self._base = parts.geturl().rstrip("/")
        self._host, self._kind = parts.netloc + parts.path.rstrip("/"), kind
        self._patience = patience or Patience()
        self._archives = archives
        self._session = requests.Session()
        self._session.headers.update({"Accept-Encoding": "identity"})
        fence(self._session, allowed)

    @property
    def name(self) -> str:
        """Its kind and where it is."""
        return f"{self._kind}:{self._host}"

    @property
    def archives(self) -> bool:
        """Whether it is asked for whole DAGs."""
        return self._archives

    def get_block(self, cid: Cid) -> Block:
        """One verified block. Raises NotFound, FetchError or BadBlock."""
        return with_tries(lambda: self._fetch(cid), self._patience.tries)

    @contextmanager
    def dag(self, cid: Cid, size_limit: int) -> Iterator[GetBlock]:
        """Blocks for one walk of a file of at most `size_limit` bytes, by one request where the gateway can.

        Raises FetchError when it cannot: read it block by block then.
        """
        if not self._archives or cid.codec == "raw":
            yield self.get_block
            return
        deadline = time.monotonic() + FILE_SECONDS + size_limit / BYTES_PER_SECOND
        response = self._request(cid, "car", car.ACCEPT)
        if _kind_of(response) != car.MEDIA_TYPE:
            response.close()
            self._archives = False  # js-ipfs answers 200 with the plain file
            raise car.NotThatCar(f"{self.name} does not serve archives: it is asked for single blocks from now on")
        stream = pieces(response, car.size_limit(size_limit), deadline)
        try:
            blocks = car.CarBlocks(cid, stream, self.name, self.get_block)
            yield blocks.get_block
            blocks.finish()
        except car.NotThatCar:
            self._archives = False
            raise
        finally:
            stream.close()

    def read(self, cid: Cid, size_limit: int) -> bytes:
        """A whole file. Raises ContentError."""
        return read_dag(self, cid, size_limit)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _fetch(self, cid: Cid) -> Block:
        deadline = time.monotonic() + self._patience.block
        response = self._request(cid, "raw", RAW_BLOCK)
        if _kind_of(response) != RAW_BLOCK:
            kind = response.headers.get("Content-Type", "")
            response.close()
            raise FetchError(f"{self.name} does not serve raw blocks (it sent {kind[:40]!r}): use a trustless gateway")
        return verified(cid, read_bounded(response, MAX_BLOCK, deadline), self.name)

    def _request(self, cid: Cid, form: str, accept: str) -> requests.Response:
        try:
            return self._session.get(
                f"{self._base}/ipfs/{cid}",
                params={"format": form},
                headers={"Accept": accept},
                stream=True,
                timeout=(self._patience.connect, self._patience.read),
                allow_redirects=False,
            )
        except Forbidden as error:
            raise FetchError(f"{self.name} may not be asked: {error}") from None
        except TRANSPORT_ERRORS as error:
            if (cause := _forbidden(error)) is not None:
                raise FetchError(f"{self.name} may not be asked: {cause}") from None
            raise transport_errors(error, self.name) from None


def _kind_of(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "").split(";")[0].strip().lower()


def _forbidden(error: BaseException | None) -> Forbidden | None:
    """Our own refusal inside what the HTTP stack made of it."""
    for _ in range(8):
        if error is None or isinstance(error, Forbidden):
            return error
        inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else None
        error = getattr(error, "reason", None) or inner or error.__cause__ or error.__context__
        if not isinstance(error, BaseException):
            return None
    return None
