"""A crowd that fills a round on anvil in one go: a hundred accounts in turn, many submissions to a block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from eth_utils.address import to_checksum_address

from tests.faults.anvil import Anvil
from tests.faults.checks import ask
from tests.faults.stage import wait
from tests.integration.test_anvil import rpc
from tests.support import World
from validator.content import Cid
from validator.envelope import Context, seal

ACCOUNTS, BATCH = 100, 100
OPTIONS = ("--gas-limit", "1000000000")
"""What an anvil needs that takes hundreds of submissions into a block."""


def submit_all(
    world: World,
    chain: Anvil,
    count: int,
    payload: Callable[[], bytes],
    accounts: Sequence[str] = (),
    *,
    sealed: bool = True,
    patience: float = 900.0,
) -> int:
    """Seal (unless told not to), store and submit `count` payloads by `accounts` in turn; anvil signs for them. Returns
    bytes of all envelopes.
    """
    deployment, registry = world.wallet.deployment, world.wallet.registry
    dao_key, (_, _, deposit) = world.wallet.contracts.dao.key_of(1), world.wallet.contracts.rounds.submission_terms()
    whose = list(accounts) or [key.address for key in chain.keys[:ACCOUNTS]]
    first = registry.count()
    nonces = [world.w3.eth.get_transaction_count(to_checksum_address(account)) for account in whose]
    calls, size = list[dict[str, Any]](), 0
    for index in range(count):
        turn, account = divmod(index, len(whose))
        context = Context(deployment.chain_id, deployment.rounds.lower(), 1, whose[account].lower())
        envelope = seal(payload(), [dao_key], context) if sealed else payload()
        size += len(envelope)
        cid: Cid = world.wallet.store.put(envelope)
        call = registry.submit(cid.digest, cid.codec_byte, len(envelope), 1, deposit)
        given = {"from": whose[account], "to": call.to, "data": "0x" + call.data.hex(), "value": hex(call.value)}
        calls.append({**given, "gas": hex(300_000), "nonce": hex(nonces[account] + turn)})
    # Many to a block: from now on one comes every second. To switch mining by transactions off and on again would end
    # the mining by the clock, and with it the chain's time.
    rpc(chain.w3, "evm_setIntervalMining", 1)
    for start in range(0, len(calls), BATCH):
        ask(chain.url, [("eth_sendTransaction", call) for call in calls[start : start + BATCH]])
    wait(lambda: registry.count() == first + count, patience)
    return size
