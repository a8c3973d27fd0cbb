"""A DAO with three validators, played through the wrappers as a node, a contributor and an owner would."""

from __future__ import annotations

from dataclasses import dataclass, replace

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from tests.chain.support import MemoryLog, sender_of
from validator.chain.contracts import Contracts, contracts_of
from validator.chain.deploy import deploy, deploy_token
from validator.chain.devchain import DevChain
from validator.chain.rpc import connect
from validator.chain.sender import Sender
from validator.chain.signer import LocalSigner
from validator.chain.typed_data import attestation_data, attestation_digest, commit_hash
from validator.chain.types import Attestation, Call, Deployment, Parameters, ScoreLeaf

DEPOSIT = 10**15
STAKE = 100
ROUND_TOTAL = 700
PARAMETERS = Parameters(
    open_seconds=0,
    report_seconds=60,
    commit_seconds=60,
    attest_seconds=60,
    max_contributions=8,
    max_attempts=2,
    exit_seconds=400,
    slash_bps=5_000,
    reporter_bps=1_000,
    deposit=DEPOSIT,
    round_budget=1_000,
    validator_fee=300,
    min_stake=STAKE,
    max_weight=1_000,
    unrevealed_fee=5,
)


@dataclass
class Play:
    """Key 0 owns the DAO, keys 1 to 3 validate, key 4 contributes."""

    chain: DevChain
    senders: list[Sender]
    logs: list[MemoryLog]
    deployment: Deployment
    contracts: Contracts
    sent: int = 0

    def copy(self) -> Play:
        """The same DAO with senders whose journals are copies."""
        logs = [MemoryLog(list(log.entries)) for log in self.logs]
        senders = [sender_of(self.chain, index, log) for index, log in enumerate(logs)]
        return replace(self, senders=senders, logs=logs)

    @property
    def operators(self) -> list[Sender]:
        return self.senders[1:4]

    def send(self, index: int, call: Call) -> None:
        self.sent += 1
        self.senders[index].send(call, f"play/{self.sent}")

    def submit(self, digest: bytes) -> int:
        contributor = self.senders[4].address
        self.send(4, self.contracts.registry.submit(digest, 0, 1_000, 1, DEPOSIT))
        return self.contracts.registry.id_of(contributor, digest)

    def draw(self, round_number: int) -> bytes:
        self.chain.mine(3)
        self.send(4, self.contracts.rounds.draw_seed(round_number))
        return self.contracts.rounds.round_info(round_number).seed

    def signer(self, index: int) -> LocalSigner:
        return LocalSigner(self.chain.keys[index].secret)

    def commit(self, index: int, attestation: Attestation, salt: bytes) -> None:
        rounds, operator = self.deployment.rounds, self.senders[index].address
        digest = attestation_digest(self.deployment.chain_id, rounds, attestation)
        sealed = commit_hash(
            self.deployment.chain_id, rounds, attestation.round, attestation.attempt, operator, digest, salt
        )
        self.send(index, self.contracts.rounds.commit(attestation.round, sealed, b"backup"))

    def attest(self, index: int, attestation: Attestation, salt: bytes) -> None:
        data = attestation_data(self.deployment.chain_id, self.deployment.rounds, attestation)
        signature = self.signer(index).sign_typed_data(data)
        self.send(index, self.contracts.rounds.attest(attestation, salt, self.senders[index].address, signature))


def set_up(chain: DevChain, **parameters: int) -> Play:
    """Deployed, funded, published, three validators joined, round 1 open."""
    logs = [MemoryLog() for _ in range(5)]
    senders = [sender_of(chain, index, log) for index, log in enumerate(logs)]
    w3, owner = connect(chain.url), senders[0]
    stake = deploy_token(w3, owner, "Stake", "STK")
    reward = deploy_token(w3, owner, "Reward", "RWD")
    deployment = deploy(w3, owner, owner.address, replace(PARAMETERS, **parameters), stake, reward)
    play = Play(chain, senders, logs, deployment, contracts_of(w3, deployment))
    of = play.contracts
    play.send(0, of.reward_token.mint(owner.address, 10_000))
    play.send(0, of.reward_token.approve(deployment.pool, 10_000))
    play.send(0, of.pool.fund(10_000))
    play.send(0, of.dao.publish_manifest(b"\x01" * 32))
    play.send(0, of.dao.publish_key_epoch(b"\x02" * 32))
    play.send(0, of.rounds.open())
    for index in (1, 2, 3):
        operator = senders[index].address
        play.send(0, of.dao.admit(operator, True))
        play.send(0, of.stake_token.mint(operator, STAKE))
        play.send(index, of.stake_token.approve(deployment.validators, STAKE))
        play.send(index, of.validators.join(STAKE, operator, bytes([index]) * 32, b""))
    return play


def attestation_for(play: Play, round_number: int, leaf: ScoreLeaf) -> Attestation:
    """What honest validators would sign if ``leaf`` were the only contribution."""
    info = play.contracts.rounds.round_info(round_number)
    return Attestation(
        round=round_number,
        attempt=info.attempt,
        manifest=info.manifest,
        seed=info.seed,
        inputs_root=b"\x11" * 32,
        scores_root=score_leaf_hash(leaf),
        earnings_root=earnings_leaf_hash(leaf.contributor, leaf.payable),
        round_total=leaf.payable,
        earned_total=leaf.payable,
        count=1,
        evidence=b"\x22" * 32,
    )


def score_leaf_hash(leaf: ScoreLeaf) -> bytes:
    """The root of a tree of one leaf is the leaf's hash."""
    kinds = ["uint64", "address", "uint8", "uint128", "int128", "uint128"]
    values = [leaf.id, leaf.contributor, leaf.status, leaf.payable, leaf.raw, leaf.stderr]
    return keccak(keccak(encode(kinds, values)))


def earnings_leaf_hash(account: str, cumulative: int) -> bytes:
    return keccak(keccak(encode(["address", "uint256"], [account, cumulative])))


def other(attestation: Attestation) -> Attestation:
    """The same round and attempt with another answer."""
    return replace(attestation, evidence=b"\x99" * 32)
