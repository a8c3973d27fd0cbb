"""A DAO as it stands: who decides, what holds, who validates, what the pool has."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from validator.actions.connect import View
from validator.chain.rpc import understood


def overview(view: View) -> dict[str, Any]:
    """Everything at one block, as plain data: amounts in base units, digests and keys in hex."""
    with understood("its head"):
        block = int(view.w3.eth.block_number)
    dao, rounds = view.contracts.dao, view.contracts.rounds
    version, epoch, current = dao.manifest_version(block), dao.key_epoch(block), rounds.current_round(block)
    return {
        "block": block,
        "owner": dao.owner(block),
        "paused": dao.paused(block),
        "manifest": {"version": version, "digest": dao.manifest(version, block).hex() if version else None},
        "key": {"epoch": epoch, "public_key": "0x" + dao.key_of(epoch, block).hex() if epoch else None},
        "round": {"number": current, "phase": rounds.phase(current, block).name.lower()},
        "parameters_version": dao.parameters_version(block),
        "parameters": asdict(dao.parameters(block)),
        "validators": _validators(view, block),
        "pool": _pool(view, block),
    }


def _validators(view: View, block: int) -> list[dict[str, Any]]:
    members = view.contracts.validators
    found = {operator: members.validator(operator, block) for operator in members.operators(block)}
    return [
        {"operator": operator, "stake": member.stake, "weight": member.weight, "exit_at": member.exit_at}
        for operator, member in sorted(found.items(), key=lambda item: item[0].lower())
    ]


def _pool(view: View, block: int) -> dict[str, int]:
    pool = view.contracts.pool
    return {
        "funded": pool.funded(block),
        "available": pool.available(block),
        "earned": pool.earned_total(block),
        "claimed": pool.claimed_total(block),
        "fees_owed": pool.fees_owed(block),
    }
