"""Trustless gateways: `GET /ipfs/<cid>?format=raw`, one block an answer.

Source: https://specs.ipfs.tech/http-gateways/trustless-gateway/. The gateway is a stranger: its blocks are hashed.
"""

from __future__ import annotations

import time

import requests

from validator.content.block import MAX_BLOCK, Block, verified
from validator.content.cid import Cid
from validator.content.errors import FetchError
from validator.content.http import TRANSPORT_ERRORS, Patience, checked_url, fence, read_bounded, transport_errors
from validator.content.retry import with_tries
from validator.content.store import read_file

_RAW_BLOCK = "application/vnd.ipld.raw"


class GatewaySource:
    """One gateway, by its base URL. Reads only; several threads may share it."""

    def __init__(self, url: str, patience: Patience | None = None) -> None:
        parts = checked_url(url, secure=False)  # plain http is fine: blocks prove themselves and are public
        self._base = parts.geturl().rstrip("/")
        self._host = parts.netloc
        self._patience = patience or Patience()
        self._session = requests.Session()
        self._session.headers.update({"Accept": _RAW_BLOCK, "Accept-Encoding": "identity"})
        fence(self._session)

    @property
    def name(self) -> str:
        """`gateway:` and the host."""
        return f"gateway:{self._host}"

    def get_block(self, cid: Cid) -> Block:
        """One verified block. Raises NotFound, FetchError, BadBlock or TooLarge."""
        return with_tries(lambda: self._fetch(cid), self._patience.tries)

    def read(self, cid: Cid, size_limit: int) -> bytes:
        """A whole file. Raises ContentError."""
        return read_file(cid, self.get_block, size_limit)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _fetch(self, cid: Cid) -> Block:
        deadline = time.monotonic() + self._patience.block
        try:
            response = self._session.get(
                f"{self._base}/ipfs/{cid}",
                params={"format": "raw"},
                stream=True,
                timeout=(self._patience.connect, self._patience.read),
                allow_redirects=False,
            )
        except TRANSPORT_ERRORS as error:
            raise transport_errors(error, self.name) from None
        kind = response.headers.get("Content-Type", "")
        if kind.split(";")[0].strip().lower() != _RAW_BLOCK:
            response.close()
            raise FetchError(f"{self.name} does not serve raw blocks (it sent {kind[:40]!r}): use a trustless gateway")
        return verified(cid, read_bounded(response, MAX_BLOCK, deadline), self.name)
