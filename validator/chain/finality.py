"""Which blocks count: the chain's own finality tag, or a depth below the head where a chain has none."""

from __future__ import annotations

from typing import Literal

from web3 import Web3
from web3.exceptions import BlockNotFound

from validator.chain.rpc import understood

Finality = Literal["finalized"] | int
"""The tag, or how many blocks below the head a block must be."""


def heights(w3: Web3, finality: Finality) -> tuple[int, int]:
    """The heights of the newest and of the last final block. RpcFault if the endpoint does not know."""
    with understood("its newest and last final block"):
        head = int(w3.eth.block_number)
        if isinstance(finality, int):
            return head, max(0, head - finality)
        try:
            finalised = int(w3.eth.get_block(finality)["number"])
        except BlockNotFound:
            # A young chain has finalised nothing yet; genesis needs no votes.
            finalised = 0
        return max(head, finalised), finalised
