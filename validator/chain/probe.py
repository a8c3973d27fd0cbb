"""What an endpoint shows of itself when it is asked: chain, head, and a block that was final."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from validator.chain.errors import Reverted, RpcFault
from validator.chain.verdict import Sighting

MOST_HEIGHT = 1 << 62


def probe(ask: Callable[[str, list[Any]], Any], anchor: tuple[int, bytes] | None) -> Sighting | str:
    """A sighting by means of ``ask`` (a method and its parameters, to the raw result), or in words why there is none.

    ``anchor``: height and hash of a block that was scanned as final.
    """
    try:
        chain = _number(ask("eth_chainId", []))
        head = _number(ask("eth_blockNumber", []))
        held = _hash_at(ask("eth_getBlockByNumber", [hex(head), False]), head) is not None
        shown = None
        if anchor is not None and anchor[0] <= head:
            shown = _hash_at(ask("eth_getBlockByNumber", [hex(anchor[0]), False]), anchor[0])
    except (RpcFault, Reverted) as fault:
        return str(fault)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return f"answers with nonsense when asked for chain and head: {type(error).__name__}: {error}"
    return Sighting(chain, head, shown, held=held)


def _number(value: object) -> int:
    number = int(str(value), 16)
    if not str(value).startswith("0x") or not 0 <= number < MOST_HEIGHT:
        raise ValueError(f"{str(value)[:40]!r} is no height or chain id")
    return number


def _hash_at(block: Any, number: int) -> bytes | None:  # noqa: ANN401 - whatever the endpoint said
    if block is None:
        return None
    if _number(block["number"]) != number:
        raise ValueError(f"block {str(block['number'])[:40]} was sent for block {number}")
    return bytes.fromhex(str(block["hash"]).removeprefix("0x"))
