"""One class a contract; one method a function: a read at a block, or a Call to be sent."""

from __future__ import annotations

from dataclasses import dataclass

from web3 import Web3

from validator.chain.contracts.data_dao import DataDAO
from validator.chain.contracts.registry import ContributionRegistry
from validator.chain.contracts.reward_pool import RewardPool
from validator.chain.contracts.scoring_rounds import ScoringRounds
from validator.chain.contracts.token import Token
from validator.chain.contracts.validator_set import ValidatorSet
from validator.chain.types import Deployment

__all__ = [
    "Contracts",
    "ContributionRegistry",
    "DataDAO",
    "RewardPool",
    "ScoringRounds",
    "Token",
    "ValidatorSet",
    "contracts_of",
]


@dataclass(frozen=True, slots=True)
class Contracts:
    """The wrappers of one deployment."""

    dao: DataDAO
    rounds: ScoringRounds
    registry: ContributionRegistry
    validators: ValidatorSet
    pool: RewardPool
    stake_token: Token
    reward_token: Token


def contracts_of(w3: Web3, deployment: Deployment) -> Contracts:
    """Wrappers over ``w3`` for every contract of ``deployment``."""
    return Contracts(
        dao=DataDAO(w3, deployment.dao),
        rounds=ScoringRounds(w3, deployment.rounds),
        registry=ContributionRegistry(w3, deployment.registry),
        validators=ValidatorSet(w3, deployment.validators),
        pool=RewardPool(w3, deployment.pool),
        stake_token=Token(w3, deployment.stake_token),
        reward_token=Token(w3, deployment.reward_token),
    )
