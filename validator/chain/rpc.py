"""The way to a chain: a Web3 over one endpoint or several, with plain words for every failure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from web3 import Web3
from web3.exceptions import Web3Exception
from web3.middleware import ExtraDataToPOAMiddleware

from validator.chain.endpoint import mask as mask
from validator.chain.errors import RpcFault
from validator.chain.pool import STALE_BLOCKS, EndpointStatus, Pool


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Turn whatever web3 raises over an answer it cannot use, while reading ``what``, into RpcFault."""
    try:
        yield
    except (Web3Exception, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise RpcFault(f"the endpoint's answer about {what} makes no sense: {type(error).__name__}: {error}") from error


def survey(urls: Sequence[str], timeout: float = 10.0) -> tuple[EndpointStatus, ...]:
    """Ask every endpoint for its chain id and its head, in the order given. Never raises."""
    return Pool(urls, timeout).survey()


def connect(
    urls: str | Sequence[str], timeout: float = 10.0, chain_id: int | None = None, stale_blocks: int = STALE_BLOCKS
) -> Web3:
    """A Web3 over a `Pool` of one endpoint or several; ``timeout`` in seconds holds for each request as a whole.

    Raises RpcFault if no endpoint answers, WrongChain if one that answers is not on ``chain_id``, or if two disagree.
    """
    listed = [urls] if isinstance(urls, str) else list(urls)
    for url in listed:
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
            raise RpcFault(f"the RPC address {mask(url)} is not an http(s) URL")
    if len(set(listed)) != len(listed):
        raise RpcFault("the same RPC address is configured twice: one endpoint has one voice")
    pool = Pool(listed, timeout, stale_blocks=stale_blocks)
    pool.start(chain_id)
    w3 = Web3(pool)
    # It would ask for the chain id before every call; the pool knows it, and looks after it in its surveys.
    w3.middleware_onion.remove("validation")
    # Chains sealed by an authority put more into extraData than web3 lets through otherwise.
    w3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    return w3


def pool_of(w3: Web3) -> Pool:
    """The endpoints behind a Web3 that `connect` made."""
    assert isinstance(w3.provider, Pool), "internal error: a Web3 that connect() did not make"
    return w3.provider
