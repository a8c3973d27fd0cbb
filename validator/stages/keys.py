"""Key epochs: which secrets the DAO granted to an operator. The chain holds the grants; no disk does."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from validator.chain.types import Deployment
from validator.envelope import EnvelopeError, Grant, unwrap_secret
from validator.rounds.lifecycle import Fact

log = structlog.get_logger("keys")


def granted_secrets(
    facts: Iterable[Fact], deployment: Deployment, operator: str, hpke_secret: bytes, known: dict[int, bytes]
) -> dict[int, bytes]:
    """`known` and what further grants to `operator` hold, by key epoch. A grant that does not open is passed over."""
    secrets, published = dict(known), dict[int, bytes]()
    for fact in facts:
        if fact.name == "KeyEpochPublished":
            published[int(fact.args["epoch"])] = fact.args["publicKey"]
        if fact.name != "KeyGranted" or fact.args["operator"] != operator.lower():
            continue
        epoch = int(fact.args["epoch"])
        if epoch in secrets:
            continue
        grant = grant_of(deployment, epoch, operator)
        try:
            secrets[epoch] = unwrap_secret(fact.args["wrapped"], hpke_secret, grant, published[epoch])
        except EnvelopeError as error:
            log.warning("a key grant does not open", epoch=epoch, error=str(error))
    return secrets


def grant_of(deployment: Deployment, epoch: int, operator: str) -> Grant:
    """What a key grant is bound to: this DAO, this epoch, this operator."""
    return Grant(deployment.chain_id, deployment.rounds.lower(), epoch, operator.lower())
