"""Which nonce comes next: from what the journal knows and what the endpoints count, none of which is taken alone."""

from __future__ import annotations

from validator.chain.errors import RpcFault
from validator.chain.pool import Pool
from validator.chain.rpc import understood
from validator.chain.transactions import TransactionLog

# Nonces beyond what the journal knows that are believed: another program with this key, by hand at most.
MOST_UNKNOWN_NONCES = 64


def free_nonce(pool: Pool, log: TransactionLog, chain_id: int, address: str) -> int:
    """The lowest nonce of ``address`` that neither the chain nor the journal uses: gaps are filled first. RpcFault if
    the endpoints count far more transactions than the journal knows of.
    """
    taken = {intent.nonce for intent in log.unsettled(chain_id, address)}
    # The journal's own floor guards against an endpoint that lags behind, the lowest count against one that is ahead of
    # the truth.
    floor = log.next_nonce(chain_id, address)
    nonce = max(_lowest_count(pool, address), floor)
    known = max({floor, *(used + 1 for used in taken)})
    if known and nonce > known + MOST_UNKNOWN_NONCES:
        raise RpcFault(
            f"the endpoint counts {nonce} transactions of {address}, the journal {known}: another program uses this "
            "key (give the node a key of its own), or the endpoint is wrong"
        )
    while nonce in taken:
        nonce += 1
    return nonce


def _lowest_count(pool: Pool, address: str) -> int:
    """How many transactions of the account every endpoint has seen."""
    with understood(f"the nonce of {address}"):
        return min(int(count, 16) for count in pool.everywhere("eth_getTransactionCount", [address, "latest"]))
