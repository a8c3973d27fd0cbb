"""Does our signing history know what the chain shows that we signed? If not, nothing may be signed."""

from __future__ import annotations

from validator.journal import ProtectionError
from validator.journal.protection import Slot
from validator.stages.node import Node


def check(node: Node) -> None:
    """Raise `ProtectionError` if the chain holds an attestation of ours that the signing history lacks, or knows
    with other content.

    That is how a history that was emptied, or left behind on another machine, is noticed before it does harm.
    """
    identity = node.identity
    if identity is None:
        return
    attested = node.chronicle.facts("Attested")
    for fact in attested[node.history_checked :]:
        if fact.args["operator"] != identity.operator.lower():
            continue
        round_, attempt = int(fact.args["round"]), int(fact.args["attempt"])
        slot = Slot(node.deployment.chain_id, node.deployment.rounds, identity.operator, round_, attempt)
        if identity.protection.signed(slot) != fact.args["digest"]:
            raise ProtectionError(
                f"the chain shows our attestation of round {round_}, attempt {attempt}, the signing history does not: "
                "import the history of the machine that signed it (`validator keys protection-import`)"
            )
    node.history_checked = len(attested)
