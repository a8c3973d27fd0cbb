"""Where the gas of the calls goes that miss their target: `python -m tests.contracts.decompose`, as in docs/gas.md.

Each call as a transaction of its own on py-evm, in a DAO's second round, the trees 10 levels deep.
"""

from __future__ import annotations

from collections import Counter

from eth_utils.crypto import keccak

from tests.contracts.machine import COIN, Contract
from tests.contracts.world import HOUR, OWNER, PARAMETERS, World, address, other
from validator.chain.types import Attestation
from validator.rounds.merkle import EARNING_LEAF, leaf_hash

NAMES = ("v0", "v1", "v2", "v3")
DEPTH = 10
KINDS = {
    "transaction": ("intrinsic: transaction",),
    "calldata": ("intrinsic: calldata",),
    "storage written": ("SSTORE", "Implicit"),
    "storage read": ("SLOAD",),
    "events": ("LOG1", "LOG2", "LOG3", "LOG4", "Log"),
    "signatures": ("ECRecover",),
    "hashes": ("SHA3",),
    "accounts called": ("CALL", "STATICCALL", "EXTCODEHASH", "EXTCODESIZE"),
}
"""What py-evm names the reasons for which it takes gas. A call's own includes what it hands on: the rest is its."""


def path_around(leaf: bytes) -> tuple[bytes, list[bytes]]:
    """Root and proof of a leaf in a tree of which only its path exists."""
    path = [keccak(bytes([level])) for level in range(DEPTH)]
    for sibling in path:
        leaf = keccak(min(leaf, sibling) + max(leaf, sibling))
    return leaf, path


def attested(world: World, root: bytes) -> Attestation:
    """A round played up to its quorum."""
    world.submit(address("alice"), world.machine.now.to_bytes(8, "big"))
    world.machine.now += HOUR
    number = world.close()
    world.draw(number)
    a = world.attestation(number, 100 * COIN, keccak(b"scores"), root)
    for act in (
        lambda name: world.report(number, address(name)),
        lambda name: world.commit(a, address(name)),
        lambda name: world.attest(a, name),
    ):
        for name in NAMES:
            act(name)
    return a


def split(used: int, spent: Counter[str]) -> dict[str, int]:
    """Gas by kind; whatever has no kind is the contracts' own computing."""
    parts = {kind: sum(spent[reason] for reason in reasons) for kind, reasons in KINDS.items()}
    known = {reason for reasons in KINDS.values() for reason in reasons}
    parts["computing"] = sum(amount for reason, amount in spent.items() if reason not in known)
    parts["accounts called"] = used - sum(amount for kind, amount in parts.items() if kind != "accounts called")
    return {**parts, "in all": used}


def main() -> None:
    """Plays two rounds and prints the table."""
    world = World.found(PARAMETERS, 10_000 * COIN)
    for name in NAMES:
        world.join(name, 100 * COIN)
    world.rounds.call("open", OWNER)
    alice, reporter = address("alice"), address("reporter")
    world.stake.call("mint", reporter, reporter, 1)
    columns: dict[str, dict[str, int]] = {}

    def measure(title: str, contract: Contract, function: str, sender: str, *arguments: object) -> None:
        used, spent = world.machine.transact(sender, contract.address, contract.data(function, *arguments))
        columns[title] = split(used, spent)

    for number, cumulative in ((1, 30 * COIN), (2, 60 * COIN)):
        root, path = path_around(leaf_hash(EARNING_LEAF, [alice, cumulative]))
        a = attested(world, root)
        measure(f"finalise, round {number}", world.rounds, "finalise", OWNER, a)
        title = "claim, new holder" if number == 1 else "claim, later"
        measure(title, world.pool, "claim", OWNER, alice, cumulative, path)
    b = other(a)
    signatures = [world.signature("v0", one) for one in (a, b)]
    proof = (address("v0"), a, signatures[0], b, signatures[1])
    measure("proveEquivocation", world.rounds, "proveEquivocation", reporter, *proof)

    print("| gas for | " + " | ".join(columns) + " |\n|---" + "|---:" * len(columns) + "|")
    for kind in (*KINDS, "computing", "in all"):
        print(f"| {kind} | " + " | ".join(f"{column[kind]:,}" for column in columns.values()) + " |")


if __name__ == "__main__":
    main()
