"""The answers of the explorer, as the JSON API gives them and the pages show them.

Amounts and weights are decimal strings in JSON, because a uint256 does not fit its numbers; scores are integers in
1e-9 of the manifest's objective; times are Unix seconds; digests, hashes and addresses are lower-case hex with 0x.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema

Amount = Annotated[
    int,
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^-?[0-9]+$", "description": "integer in base units"}),
]
Hex = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^0x[0-9a-f]*$"})]


class Answer(BaseModel):
    """Base of every answer: made once, not changed."""

    model_config = ConfigDict(frozen=True)


class Problem(Answer):
    """Why there is no answer, in one line."""

    error: str


class Page(Answer):
    """Which part of a long list this is; `page` counts from 1, `total` counts entries."""

    page: int
    pages: int
    total: int


class RoundSummary(Answer):
    """One round in a list.

    `ends_at`: when its phase ends at the latest (null if no clock runs); `seconds_left` until then at the newest final
    block. `pool`: reward-token units offered, null until it is closed. `paid`: null until it is final.
    """

    round: int
    phase: str
    ends_at: int | None
    seconds_left: int | None
    contributions: int
    capacity: int | None
    pool: Amount | None
    paid: Amount | None
    attestations: int
    attempt: int


class Rounds(Answer):
    """All rounds, the newest first, as of the final block `block` of timestamp `time`."""

    chain_id: int
    contract: Hex
    block: int
    time: int
    page: Page
    rounds: list[RoundSummary]


class Contribution(Answer):
    """One contribution. What scoring found is null until its round is final.

    `records` were scored, `repeats` left out as known before; `raw` and `stderr` are the score and its standard error,
    `score` what of it is payable; `rank` its place by score in its round. `round` is null while no round is open.
    """

    id: int
    round: int | None
    contributor: Hex
    cid: str
    size: int
    key_epoch: int
    status: str | None = None
    words: str | None = None
    reason: str | None = None
    records: int | None = None
    repeats: int | None = None
    raw: int | None = None
    stderr: int | None = None
    score: int | None = None
    rank: int | None = None
    paid: Amount | None = None


class Attested(Answer):
    """One validator's signed answer, checked here.

    `digest` is the EIP-712 digest that we computed from the attested fields, `recovered` the address whose key signed
    it, `signer` the one that the operator had registered at the round's close. `good`: those agree, and the contract
    logged the same digest. `equal`: the digest is the final one.
    """

    operator: Hex
    weight: Amount
    digest: Hex
    signature: Hex
    signer: Hex | None
    recovered: Hex | None
    good: bool
    equal: bool


class Quorum(Answer):
    """Weight with good signatures on the final answer against the weight of the round's snapshot; more than two thirds
    are needed.
    """

    weight: Amount
    total: Amount
    reached: bool


class Turnout(Answer):
    """What one validator of the snapshot has done in the round's current attempt. `held`: contributions it reported."""

    operator: Hex
    weight: Amount
    reported: bool
    held: int
    committed: bool
    attested: bool


class Check(Answer):
    """One check of audit level 1, made by this server."""

    name: str
    ok: bool
    detail: str


class EvidenceLink(Answer):
    """The bundle that the quorum signed; `fault` says why it could not be had, `cid` is null then."""

    digest: Hex
    cid: str | None
    fault: str | None


class RoundDetail(RoundSummary):
    """Everything about one round. Ids are first_id <= id < end_id; roots and totals are those of the final answer.
    `tally`: how many contributions have which status, in the order of the statuses' codes; empty until it is final.
    `unscorable`: why the release that answers must not score this round, while it is under way; null when it may.
    """

    manifest: Hex
    first_id: int
    end_id: int
    seed: Hex | None
    beacon: Hex | None
    report_deadline: int | None
    commit_deadline: int | None
    attest_deadline: int | None
    inputs_root: Hex | None
    scores_root: Hex | None
    earnings_root: Hex | None
    earned_total: Amount | None
    final_digest: Hex | None
    evidence: EvidenceLink | None
    quorum: Quorum
    tally: dict[str, int]
    validators: list[Turnout]
    answers: list[Attested]
    checks: list[Check]
    unscorable: str | None
    page: Page
    items: list[Contribution]


class Proof(Answer):
    """A Merkle proof as the contracts take it: the leaf's fields, its hash, the siblings upwards, the root they end
    in. `holds`: walked here.
    """

    fields: dict[str, str]
    leaf: Hex
    proof: list[Hex]
    root: Hex
    holds: bool


class ChainCall(Answer):
    """A call of a contract, ready for a wallet: nothing but `to` and `data` has to be sent, and nothing is signed here.

    `chain_id` is the chain on which it means something; `data` is the ABI-encoded call.
    """

    chain_id: int
    to: Hex
    data: Hex


class OnChain(Answer):
    """What `ScoringRounds.verifyScore` answers to the leaf and its proof. `recorded`: the leaf also stands on chain.
    `call` puts the same question, for a reader who asks through an endpoint of their own.
    """

    verified: bool
    recorded: bool
    call: ChainCall


class Question(Answer):
    """A call that only asks, and what the chain answered this server: for a reader who believes it only when their own
    endpoint says the same. `answer` is ABI-encoded.
    """

    about: str
    call: ChainCall
    answer: Hex


class Holder(Answer):
    """Somebody to whom the DAO's steward gave the secret of a key epoch, on chain. `validates`: has weight now."""

    account: Hex
    validates: bool


class RelayTerms(Answer):
    """What this server does with a sealed envelope that is posted to `path`, if its operator wants it to: it puts it
    into its IPFS node, and lets go of what was not submitted within `hold_seconds`.
    """

    path: str
    hold_seconds: int


class Terms(Answer):
    """What a contribution takes now, and to whom it is sealed.

    `round`, `places` (contributions that still fit) and `rules` (the manifest's `payload` and `limits`) are the open
    round's; `deposit` is in wei. `key`: X25519 public key of the newest key epoch. `holders`: who was given its secret,
    besides the steward, who made it. `not_now`: why nothing would be accepted at the moment. `submit`: selector of
    `submit(digest, codec, size, keyEpoch)` of `registry`; `submitted`: topic of the event that tells the id. `latest`:
    the newest contribution of a final block; 0 before the first.
    """

    chain_id: int
    contract: Hex
    registry: Hex
    round: int | None
    places: int | None
    deposit: Amount
    key_epoch: int | None
    key: Hex | None
    holders: list[Holder]
    rules: dict[str, Any] | None
    fault: str | None
    not_now: str | None
    questions: list[Question]
    submit: Hex
    submitted: Hex
    latest: int
    relay: RelayTerms | None


class Relayed(Answer):
    """An envelope that this server has put into IPFS. `size` in bytes."""

    cid: str
    size: int


class ContributionDetail(Contribution):
    """Everything about one contribution. `why` says in sentences how it came to what it was paid; `proof` leads to the
    scores root, `input_proof`, of what was judged, to the inputs root.
    """

    digest: Hex
    codec: int
    phase: str | None
    deposit: Amount
    deposit_words: str
    scored: int | None
    why: list[str]
    fault: str | None
    proof: Proof | None
    input_proof: Proof | None
    on_chain: OnChain | None


class ContributorDetail(Answer):
    """One contributor. `due` is what a claim would pay now; `proof` is the one that the claim takes, and `claim` the
    whole call, null when nothing is due. All of them, and `earned`, are null when the evidence could not be had;
    `fault` says why.
    """

    address: Hex
    earned: Amount | None
    claimed: Amount
    due: Amount | None
    fault: str | None
    proof: Proof | None
    claim: ChainCall | None
    page: Page
    items: list[Contribution]


class ValidatorRow(Answer):
    """One operator. Participation counts closed rounds in whose snapshot it has weight; `equal`: rounds in which its
    answer was the final one. `state`: active, leaving, or left. `peer`: where it says it serves content, unchecked.
    """

    operator: Hex
    signer: Hex
    state: str
    stake: Amount
    weight: Amount
    exit_at: int | None
    rounds: int
    reported: int
    committed: int
    attested: int
    equal: int
    equivocations: int
    unrevealed: int
    slashed: Amount
    peer: str | None


class Validators(Answer):
    """The validator set; the heaviest first."""

    total_weight: Amount
    validators: list[ValidatorRow]


class ManifestDetail(Answer):
    """A version of the DAO's manifest; `document` is null when it could not be fetched, `fault` says why."""

    version: int
    versions: int
    digest: Hex
    cid: str
    document: dict[str, Any] | None
    fault: str | None
