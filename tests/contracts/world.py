"""A DAO on a `Machine`: deployed, funded, with validators, and the steps of a round as one call each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from eth_abi.abi import encode
from eth_keys.datatypes import PrivateKey
from eth_utils.crypto import keccak
from web3.utils.address import get_create_address

from tests.contracts.machine import COIN, Contract, Machine
from validator.chain.types import Attestation, Parameters, RoundInfo, ScoreLeaf

SALT = keccak(b"salt")
MANIFEST = keccak(b"manifest")
HOUR, DAY = 3600, 86_400

PARAMETERS = Parameters(
    open_seconds=HOUR,
    report_seconds=600,
    commit_seconds=1200,
    attest_seconds=1800,
    max_contributions=5,
    max_attempts=2,
    exit_seconds=7 * DAY,
    slash_bps=5_000,
    reporter_bps=2_000,
    deposit=COIN // 100,
    round_budget=1000 * COIN,
    validator_fee=40 * COIN,
    min_stake=10 * COIN,
    max_weight=250 * COIN,
    unrevealed_fee=3 * COIN,
)


@cache
def key(name: str) -> PrivateKey:
    """The key of a named party."""
    return PrivateKey(keccak(text=name))


@cache
def address(name: str) -> str:
    """The account of a named party."""
    return key(name).public_key.to_checksum_address()


OWNER = address("owner")


@dataclass
class World:
    """Contracts and the machine they run on."""

    machine: Machine
    dao: Contract
    rounds: Contract
    registry: Contract
    validators: Contract
    pool: Contract
    stake: Contract
    reward: Contract

    @classmethod
    def found(cls, parameters: Parameters = PARAMETERS, funding: int = 0) -> World:
        """Deploys, publishes manifest and key epoch, funds the pool."""
        machine = Machine()
        deployer = machine.rich(address("deployer"))
        stake = machine.create("DevToken", deployer, "Stake", "STK")
        reward = machine.create("DevToken", deployer, "Reward", "RWD")
        at = [_created(deployer, 2 + step) for step in range(5)]
        dao = machine.create("DataDAO", deployer, OWNER, parameters)
        rounds = machine.create("ScoringRounds", deployer, at[0], at[2], at[3], at[4])
        registry = machine.create("ContributionRegistry", deployer, at[0], at[1])
        validators = machine.create("ValidatorSet", deployer, at[0], at[1], stake.address)
        pool = machine.create("RewardPool", deployer, at[1], reward.address)
        world = cls(machine, dao, rounds, registry, validators, pool, stake, reward)
        dao.call("publishManifest", OWNER, MANIFEST)
        dao.call("publishKeyEpoch", OWNER, keccak(b"epoch"))
        if funding:
            world.fund(funding)
        return world

    # Parties

    def fund(self, amount: int) -> None:
        funder = address("funder")
        self.reward.call("mint", funder, funder, amount)
        self.reward.call("approve", funder, self.pool.address, amount)
        self.pool.call("fund", funder, amount)

    def give_stake(self, operator: str, amount: int) -> None:
        self.stake.call("mint", operator, operator, amount)
        self.stake.call("approve", operator, self.validators.address, amount)

    def join(self, name: str, amount: int) -> str:
        """The operator signs for itself."""
        operator = address(name)
        self.dao.call("admit", OWNER, operator, True)
        self.give_stake(operator, amount)
        self.validators.call("join", operator, amount, operator, keccak(text=name), b"")
        return operator

    def submit(self, contributor: str, content: bytes) -> int:
        self.machine.rich(contributor)
        deposit = self.rounds.read("submissionTerms")[2]
        return int(self.registry.call("submit", contributor, keccak(content), 0, 1024, 1, value=deposit))

    # Answers

    def info(self, number: int) -> RoundInfo:
        info: RoundInfo = self.rounds.read("roundInfo", number)
        return info

    def attestation(self, number: int, total: int, scores: bytes, earnings: bytes) -> Attestation:
        """Of the current attempt of a round, paying ``total``."""
        info = self.info(number)
        return Attestation(
            round=number,
            attempt=info.attempt,
            manifest=info.manifest,
            seed=info.seed,
            inputs_root=keccak(b"inputs"),
            scores_root=scores,
            earnings_root=earnings,
            round_total=total,
            earned_total=int(self.pool.read("earnedTotal")) + total,
            count=info.end_id - info.first_id,
            evidence=keccak(b"evidence"),
        )

    def digest(self, attestation: Attestation) -> bytes:
        digest: bytes = self.rounds.read("attestationDigest", attestation)
        return digest

    def commit_hash(self, a: Attestation, operator: str) -> bytes:
        kinds = ["uint256", "address", "uint64", "uint32", "address", "bytes32", "bytes32"]
        values = [1337, self.rounds.address, a.round, a.attempt, operator, self.digest(a), SALT]
        return keccak(encode(kinds, values))

    def signature(self, name: str, a: Attestation) -> bytes:
        signed = key(name).sign_msg_hash(self.digest(a)).to_bytes()
        return signed[:64] + bytes([signed[64] + 27])

    # Steps

    def close(self) -> int:
        number = int(self.rounds.read("currentRound"))
        self.rounds.call("close", OWNER)
        return number

    def draw(self, number: int) -> None:
        self.machine.block += 3
        self.rounds.call("drawSeed", OWNER, number)

    def report(self, number: int, operator: str) -> None:
        info = self.info(number)
        count = info.end_id - info.first_id
        bitmap = (2**count - 1).to_bytes((count + 7) // 8, "little")
        self.rounds.call("reportAvailability", operator, number, bitmap)

    def commit(self, a: Attestation, operator: str) -> None:
        self.rounds.call("commit", operator, a.round, self.commit_hash(a, operator), b"")

    def attest(self, a: Attestation, name: str) -> None:
        self.rounds.call("attest", OWNER, a, SALT, address(name), self.signature(name, a))


def other(a: Attestation) -> Attestation:
    """The same round and attempt, another answer."""
    return replace(a, evidence=keccak(b"other"))


def score_leaf(leaf: ScoreLeaf) -> bytes:
    """The leaf as a hash, which is also the root of a tree of it alone."""
    kinds = ["uint64", "address", "uint8", "uint128", "int128", "uint128"]
    values = [leaf.id, leaf.contributor, leaf.status, leaf.payable, leaf.raw, leaf.stderr]
    return keccak(keccak(encode(kinds, values)))


def _created(deployer: str, nonce: int) -> str:
    return str(get_create_address(deployer, nonce))  # type: ignore[arg-type]
