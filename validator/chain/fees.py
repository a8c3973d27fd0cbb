"""What to bid for gas (EIP-1559), and how bids rise while a transaction waits."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median_low

from web3 import Web3

from validator.chain.errors import FeeTooHigh, RpcFault, RpcRefusal
from validator.chain.finality import Finality
from validator.chain.rpc import pool_of, understood
from validator.chain.transactions import Fees

GWEI = 10**9
# Nodes replace a waiting transaction only for ten per cent more on both fees; an eighth more stays clear of rounding.
BUMP_NUMERATOR, BUMP_DENOMINATOR = 9, 8


@dataclass(frozen=True, slots=True)
class Policy:
    """How hard a sender tries. Fees in wei per gas, times in seconds.

    ``bump_seconds`` is how long a transaction may wait before its fees are raised, ``poll_seconds`` how often its
    receipt is asked for. An intent is settled in the journal when its block is final by ``finality``.
    """

    fee_cap: int = 500 * GWEI
    least_priority_fee: int = GWEI // 100
    bump_seconds: float = 36.0
    poll_seconds: float = 1.0
    finality: Finality = "finalized"


def quote(w3: Web3, policy: Policy) -> Fees:
    """What a transaction should bid now. FeeTooHigh if even the next block would cost more than the cap."""
    with understood("fees"):
        base = _base_fee(w3)
        try:
            suggested = int(w3.eth.max_priority_fee)
        except RpcRefusal:  # an endpoint without that method
            suggested = GWEI
    priority = min(max(suggested, policy.least_priority_fee), policy.fee_cap)
    if base + priority > policy.fee_cap:
        raise FeeTooHigh(
            f"gas costs {(base + priority) / GWEI:.3f} gwei, the cap is {policy.fee_cap / GWEI:.3f}: "
            "wait, or raise the cap"
        )
    # Twice the base fee holds for six full blocks in a row.
    return Fees(min(2 * base + priority, policy.fee_cap), priority)


def _base_fee(w3: Web3) -> int:
    """That of the newest block; the middle one of several endpoints', so that one alone cannot keep us from sending."""
    bases = [block.get("baseFeePerGas") for block in pool_of(w3).everywhere("eth_getBlockByNumber", ["latest", False])]
    known = [int(base, 16) for base in bases if base is not None]
    if not known:
        raise RpcFault("this chain has no base fee (EIP-1559), which this node needs")
    return median_low(known)


def raised(fees: Fees, fresh: Fees) -> Fees:
    """A bid that replaces one of ``fees`` in every mempool, and is no lower than ``fresh``."""
    return Fees(_higher(fees.max_fee, fresh.max_fee), _higher(fees.priority_fee, fresh.priority_fee))


def _higher(old: int, fresh: int) -> int:
    return max(fresh, old * BUMP_NUMERATOR // BUMP_DENOMINATOR + 1)
