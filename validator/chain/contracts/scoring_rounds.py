"""ScoringRounds: the life of rounds, attestations and the quorum. The entry to a deployment."""

from __future__ import annotations

from typing import cast

from validator.chain.contracts.base import Contract
from validator.chain.types import Attestation, Ballot, BlockId, Call, Parameters, Phase, RoundInfo, ScoreLeaf


class ScoringRounds(Contract):
    """Rounds, from opening to finality. Weights are in stake-token units."""

    NAME = "ScoringRounds"

    def dao(self, block: BlockId = "latest") -> str:
        """Address of DataDAO."""
        return cast("str", self._read("dao", block=block))

    def registry(self, block: BlockId = "latest") -> str:
        """Address of ContributionRegistry."""
        return cast("str", self._read("registry", block=block))

    def validators(self, block: BlockId = "latest") -> str:
        """Address of ValidatorSet."""
        return cast("str", self._read("validators", block=block))

    def pool(self, block: BlockId = "latest") -> str:
        """Address of RewardPool."""
        return cast("str", self._read("pool", block=block))

    def domain_separator(self, block: BlockId = "latest") -> bytes:
        """The EIP-712 domain separator of attestations."""
        return cast("bytes", self._read("domainSeparator", block=block))

    def current_round(self, block: BlockId = "latest") -> int:
        """The open round; 0 before ``open``."""
        return cast("int", self._read("currentRound", block=block))

    def phase(self, round_number: int, block: BlockId = "latest") -> Phase:
        """Where ``round_number`` stands at the block's time."""
        return cast("Phase", self._read("phase", round_number, block=block))

    def round_info(self, round_number: int, block: BlockId = "latest") -> RoundInfo:
        """Everything about ``round_number``."""
        return cast("RoundInfo", self._read("roundInfo", round_number, block=block))

    def parameters_of(self, round_number: int, block: BlockId = "latest") -> Parameters:
        """The parameters that ``round_number`` latched."""
        return cast("Parameters", self._read("parametersOf", round_number, block=block))

    def submission_terms(self, block: BlockId = "latest") -> tuple[int, int, int]:
        """Of the open round: its number, the first id that no longer fits, the deposit in wei."""
        return cast("tuple[int, int, int]", self._read("submissionTerms", block=block))

    def submission_terms_call(self) -> Call:
        """The same question as a call that anyone can put to any endpoint."""
        return self._call("submissionTerms")

    def attestation_digest(self, attestation: Attestation, block: BlockId = "latest") -> bytes:
        """The EIP-712 digest of ``attestation``."""
        return cast("bytes", self._read("attestationDigest", attestation, block=block))

    def ballot(self, round_number: int, attempt: int, operator: str, block: BlockId = "latest") -> Ballot:
        """What ``operator`` has done in ``attempt``."""
        return Ballot(*self._read("ballot", round_number, attempt, operator, block=block))

    def weight_on(self, digest: bytes, block: BlockId = "latest") -> int:
        """The weight attested on ``digest``."""
        return cast("int", self._read("weightOn", digest, block=block))

    def verify_score(
        self, round_number: int, leaf: ScoreLeaf, proof: tuple[bytes, ...], block: BlockId = "latest"
    ) -> bool:
        """Whether ``leaf`` is in the scores tree of ``round_number``."""
        return cast("bool", self._read("verifyScore", round_number, leaf, proof, block=block))

    def verify_score_call(self, round_number: int, leaf: ScoreLeaf, proof: tuple[bytes, ...]) -> Call:
        """The same question as a call that anyone can put to any endpoint."""
        return self._call("verifyScore", round_number, leaf, proof)

    def score_of(self, contribution: int, block: BlockId = "latest") -> tuple[int, ScoreLeaf]:
        """The round that scored contribution id ``contribution``, and its leaf; reverts NotRecorded before."""
        return cast("tuple[int, ScoreLeaf]", self._read("scoreOf", contribution, block=block))

    def fee_terms(self, round_number: int, operator: str, block: BlockId = "latest") -> tuple[int, int, int, int]:
        """Fee of the round, ``operator``'s weight on the quorum's digest (else 0), all weight on it, total weight."""
        return cast("tuple[int, int, int, int]", self._read("feeTerms", round_number, operator, block=block))

    def open(self) -> Call:
        """Open round 1, once the DAO has a manifest and a key epoch."""
        return self._call("open")

    def close(self) -> Call:
        """Close the open round and open the next one."""
        return self._call("close")

    def draw_seed(self, round_number: int) -> Call:
        """Fix the seed and the deadlines of a closed round; from its seed block + 1 on."""
        return self._call("drawSeed", round_number)

    def report_availability(self, round_number: int, bitmap: bytes) -> Call:
        """Report what was fetched and verified: bit i (LSB first) for id ``first_id + i``."""
        return self._call("reportAvailability", round_number, bitmap)

    def commit(self, round_number: int, commitment: bytes, backup: bytes) -> Call:
        """Commit to an attestation; ``backup`` (at most 512 bytes) goes into the event only."""
        return self._call("commit", round_number, commitment, backup)

    def attest(self, attestation: Attestation, salt: bytes, operator: str, signature: bytes) -> Call:
        """Reveal ``operator``'s attestation; anyone may relay it."""
        return self._call("attest", attestation, salt, operator, signature)

    def finalise(self, attestation: Attestation) -> Call:
        """Finalise the round on ``attestation`` once more than two thirds of the weight stand on it."""
        return self._call("finalise", attestation)

    def retry(self, round_number: int) -> Call:
        """Give a stalled round its next attempt, or abandon it after the last."""
        return self._call("retry", round_number)

    def charge_unrevealed(self, round_number: int, attempt: int, operator: str) -> Call:
        """Charge ``operator`` for a commit that it did not reveal in ``attempt``."""
        return self._call("chargeUnrevealed", round_number, attempt, operator)

    def reclaim_deposit(self, round_number: int, contribution: int) -> Call:
        """Refund, as credit, a deposit that its round will not settle."""
        return self._call("reclaimDeposit", round_number, contribution)

    def prove_equivocation(
        self, operator: str, first: Attestation, first_signature: bytes, second: Attestation, second_signature: bytes
    ) -> Call:
        """Prove that ``operator``'s key signed two different attestations for one round and attempt."""
        return self._call("proveEquivocation", operator, first, first_signature, second, second_signature)

    def record_score(self, round_number: int, leaf: ScoreLeaf, proof: tuple[bytes, ...]) -> Call:
        """Store a leaf of a final round for ``scoreOf`` and settle its deposit."""
        return self._call("recordScore", round_number, leaf, proof)
