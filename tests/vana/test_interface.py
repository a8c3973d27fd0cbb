"""What goes over the wire is Vana's published interface, to the byte; what has drifted from it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.crypto import keccak

from tests.vana.support import MAINTAINER, OWNER, VanaWorld
from validator.chain.abi import type_of
from validator.chain.artifacts import load
from validator.chain.devchain import DevChain
from validator.chain.errors import RpcFault
from validator.chain.types import Event
from validator.chain.vana import Contracts, NotVana, Place, ProofData, VanaEvents, VanaKey, check_versions, proof_digest
from validator.chain.vana.events import REGISTRY, TEE_POOL, topic_of
from validator.chain.vana.proof import packed
from validator.stages.vana.discover import counted, of_ours

SELECTORS = {
    "VanaDataRegistry": {
        "files": "f4c714b4",
        "filePermissions": "60f1c43a",
        "fileIdByUrl": "f4fb9e47",
        "filesCount": "dfb5e9ba",
        "fileProofs": "dbda68db",
        "addProof": "c26045f7",
        "addFileWithPermissions": "afbfc156",
        "addFileWithPermissionsAndSchema": "b2319dcd",
    },
    "VanaTeePool": {
        "jobs": "180aedf3",
        "fileJobIds": "4c0eb9c9",
        "isTee": "a7016f70",
        "tees": "961884aa",
        "teeJobIdsPaginated": "9f1b7a3c",
        "addProof": "c26045f7",
        "claim": "4e71d92d",
        "requestContributionProof": "d2ef73d9",
    },
    "VanaDataLiquidityPool": {
        "proofInstruction": "084a09da",
        "publicKey": "63ffab31",
        "fileRewardFactor": "ab049ffd",
        "requestReward": "5062bc5a",
    },
}
"""As published, by the compiled originals."""
TOPICS = {
    "FileAddedV2": "4700587a90f43e584ef58af08d40dd9622ca3ee15baa07dc9d58ecf43b598324",
    "FileAdded": "2980b13036c0d9df6b71ea9e9c09536efd24d7dd1868e29aa730f0c3fbd1a0dc",
    "PermissionGranted": "6e0403ef2b13328247bf9260ad8dd9c18fb5a18b95ea25de817ca991da05929b",
    "JobSubmitted": "489e923ac6ba31ef19d89736ac6998000e3fe5b1d1f26174a2c12e02393aa67e",
    "JobCanceled": "68a66a704ceacc38da3f12c63779e47866d9d72e875ec5d43237777adc666d65",
    "ProofAdded": "41eb9d6336d189fb4bf444a6b5056628c51aa4405c87f7389a107686e8057263",
}
EMITTED = {
    "VanaDataRegistry": {"ProofAdded": "ef448dca1e95226d5af380d5817c753c86946ef53cffb238e5fbe889230565c7"},
    "VanaDataLiquidityPool": {"RewardRequested": "c79b2d4186d26cf06f3e1a252e47fb477392229c39da486f16d9285961fdd9fe"},
}
PLACE = Place(1, "0x" + "1" * 40, "0x" + "2" * 40, "0x" + "3" * 40, 7)
DATA = ProofData(5 * 10**17, 7, '{"attestation":"0x00"}', "ipfs://bafy", "https://example.org/proof")
KEY = VanaKey(b"\x11" * 32)


@pytest.fixture(scope="module")
def chain() -> Iterator[DevChain]:
    with DevChain(block_seconds=0) as running:
        yield running


@pytest.fixture(scope="module")
def world(chain: DevChain, tmp_path_factory: pytest.TempPathFactory) -> VanaWorld:
    return VanaWorld(tmp_path_factory.mktemp("world"), chain)


def signature(entry: dict[str, Any]) -> str:
    return f"{entry['name']}({','.join(type_of(part) for part in entry['inputs'])})"


def test_selectors__of_the_stand_ins__are_the_published_ones():
    for contract, wanted in SELECTORS.items():
        found = {e["name"]: keccak(text=signature(e))[:4].hex() for e in load(contract).abi if e["type"] == "function"}
        assert {name: found[name] for name in wanted} == wanted


def test_topics__asked_for_and_emitted__are_the_published_ones():
    asked = {name: topic_of(name, inputs).hex() for name, inputs in {**REGISTRY, **TEE_POOL}.items()}
    assert asked == TOPICS
    assert {topic.hex() for topic in VanaEvents(PLACE).topics or ()} == set(TOPICS.values())
    for contract, wanted in {**EMITTED, "VanaTeePool": {name: TOPICS[name] for name in TEE_POOL}}.items():
        found = {e["name"]: keccak(text=signature(e)).hex() for e in load(contract).abi if e["type"] == "event"}
        assert {name: found[name] for name in wanted} == wanted


# What is signed


def test_proof__signature__is_eip191_over_the_packed_hash():
    proof = KEY.sign_proof("ipfs://file", DATA)

    numbers = DATA.score.to_bytes(32, "big") + DATA.dlp_id.to_bytes(32, "big")
    text = (DATA.metadata + DATA.proof_url + DATA.instruction).encode()
    message = encode_defunct(keccak(b"ipfs://file" + numbers + text))
    assert Account.recover_message(message, signature=proof.signature) == KEY.address
    assert proof == KEY.sign_proof("ipfs://file", DATA)
    assert Account._recover_hash(proof_digest("ipfs://file", DATA), signature=proof.signature) == KEY.address


def test_proof__that_is_signed__can_be_read_as_one_of_another_file():
    """The weakness that docs/vana.md tells of: packed text has no boundaries, and no DLP checks the id in it."""
    signed = ProofData(DATA.score, 7, DATA.metadata * 4, DATA.proof_url, DATA.instruction)
    other_url = b"ipfs://file" + DATA.score.to_bytes(32, "big") + bytes(7)
    rest = packed("ipfs://file", signed)[len(other_url) :]
    score, dlp, metadata = int.from_bytes(rest[:32], "big"), int.from_bytes(rest[32:64], "big"), rest[64:]

    same = other_url + score.to_bytes(32, "big") + dlp.to_bytes(32, "big") + metadata

    assert same == packed("ipfs://file", signed)
    assert 0 < score <= 10**18
    assert metadata.endswith(DATA.instruction.encode())


# Logs


def log_of(name: str, topics: list[bytes], data: bytes = b"", address: str = PLACE.registry) -> dict[str, Any]:
    table = {**REGISTRY, **TEE_POOL}
    return {
        "address": address,
        "topics": [topic_of(name, table[name]), *topics],
        "data": data,
        "blockNumber": 5,
        "blockHash": b"\x01" * 32,
        "logIndex": 0,
        "transactionHash": b"\x02" * 32,
    }


def word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def url_data(raw: bytes) -> bytes:
    return word(64) + word(9) + word(len(raw)) + raw + bytes(-len(raw) % 32)


def test_decode__file_added_v2__has_its_values():
    event = VanaEvents(PLACE).decode(log_of("FileAddedV2", [word(3), word(0xAB)], url_data(b"ipfs://x")))

    assert event.args == {"fileId": 3, "ownerAddress": "0x" + "0" * 38 + "AB", "url": "ipfs://x", "schemaId": 9}


@pytest.mark.parametrize(
    "raw", [b"\xff\xfe", b"a" * 5000, b"line\nbreak", b"\x00"], ids=["utf8", "long", "lines", "nul"]
)
def test_decode__url_that_is_no_text__stops_nobody(raw: bytes):
    event = VanaEvents(PLACE).decode(log_of("FileAddedV2", [word(3), word(0xAB)], url_data(raw)))

    assert event.args["url"] == ""


@pytest.mark.parametrize(
    ("topics", "data"),
    [
        ([word(3)], url_data(b"x")),
        ([word(3), word(1), word(2)], url_data(b"x")),
        ([word(3), b"\xff" * 32], url_data(b"x")),
        ([word(3), word(1)], b""),
        ([word(3), word(1)], word(2**200) + word(9)),
    ],
    ids=["fewer indexed", "more indexed", "no address", "no data", "an offset of 2**200"],
)
def test_decode__event_of_another_layout__is_drift(topics: list[bytes], data: bytes):
    with pytest.raises(NotVana, match="the contract has changed"):
        VanaEvents(PLACE).decode(log_of("FileAddedV2", topics, data))


def test_decode__log_that_was_not_asked_for__is_the_endpoints_fault():
    for log in (
        log_of("FileAddedV2", [word(1), word(1)], url_data(b"x"), address=PLACE.dlp),
        log_of("FileAddedV2", [word(1), word(1)], url_data(b"x"), address=PLACE.tee_pool),
        log_of("JobCanceled", [word(1)], address=PLACE.tee_pool) | {"removed": True},
        log_of("JobCanceled", [word(1)], address=PLACE.tee_pool) | {"topics": []},
    ):
        with pytest.raises(RpcFault, match="not asked for"):
            VanaEvents(PLACE).decode(log)


# Counting


def event(name: str, **args: Any) -> Event:
    return Event(1, b"", 0, b"", "", name, args)


def test_counted__announced_twice_or_again_later__is_counted_once():
    start = {"files": 0, "jobs": 0}
    both = [event("FileAdded", fileId=41), event("FileAddedV2", fileId=41)]
    again = [event("FileAddedV2", fileId=41), event("FileAddedV2", fileId=42), event("JobSubmitted", jobId=7)]

    assert counted(counted(start, both), again) == {"files": 42, "jobs": 7}


def test_counted__gap__is_drift():
    with pytest.raises(NotVana, match="file 44, and 42 never was"):
        counted({"files": 41, "jobs": 0}, [event("FileAddedV2", fileId=44)])


def test_of_ours__events_of_strangers__are_not_kept():
    us, them = "0xUS", "0xTHEM"
    events = [
        event("FileAdded", fileId=1),
        event("PermissionGranted", fileId=1, account=them),
        event("FileAddedV2", fileId=2),
        event("PermissionGranted", fileId=2, account=us),
        event("JobSubmitted", jobId=1, fileId=1, teeAddress=them),
        event("JobSubmitted", jobId=2, fileId=3, teeAddress=us),
        event("FileAdded", fileId=3),
        event("ProofAdded", attestator=them, jobId=1, fileId=1),
        event("JobCanceled", jobId=1),
        event("JobCanceled", jobId=2),
        event("JobCanceled", jobId=9),
    ]

    kept = [(one.name, one.args.get("fileId", one.args.get("jobId"))) for one in of_ours(events, us, {9})]

    assert kept == [
        ("FileAddedV2", 2), ("PermissionGranted", 2), ("JobSubmitted", 3), ("FileAdded", 3),
        ("JobCanceled", 2), ("JobCanceled", 9),
    ]  # fmt: skip


# The gate


def test_gate__contracts_as_published__pass(world: VanaWorld):
    check_versions(world.contracts)


@pytest.mark.parametrize("versions", [(1, 1, 1), (3, 1, 1), (2, 2, 1), (2, 1, 2)])
def test_gate__another_version__is_refused(chain: DevChain, tmp_path: Path, versions: tuple[int, int, int]):
    drifted = VanaWorld(tmp_path, chain, versions=versions)

    with pytest.raises(NotVana, match=r"has version \d, this release knows"):
        check_versions(drifted.contracts)


def test_gate__no_contract_or_another_one__is_refused(world: VanaWorld):
    of = world.place
    swapped = Place(of.chain_id, of.registry, of.dlp, of.tee_pool, 7)
    for place in (
        Place(of.chain_id, "0x" + "9" * 40, of.tee_pool, of.dlp, 7),
        Place(of.chain_id, world.token, of.tee_pool, of.dlp, 7),
        swapped,
    ):
        with pytest.raises(NotVana):
            check_versions(Contracts.of(world.w3, place))


def test_gate__contracts_that_do_not_belong_together__are_refused(world: VanaWorld):
    other = world.deploy("VanaDataRegistry", ["uint256"], [2])
    of = world.place

    with pytest.raises(NotVana, match="correct vana_registry"):
        check_versions(Contracts.of(world.w3, Place(of.chain_id, other, of.tee_pool, of.dlp, 7)))


def test_read__function_that_is_gone_or_answers_otherwise__is_drift(world: VanaWorld):
    of = world.place
    wrong = Contracts.of(world.w3, Place(of.chain_id, of.tee_pool, of.registry, of.dlp, 7))

    with pytest.raises(NotVana, match=r"no working files\(\)"):
        wrong.registry.file(1)
    with pytest.raises(NotVana, match=r"no working jobs\(\)"):
        wrong.tee_pool.job(1)


def test_read__text_of_strangers__is_bounded(world: VanaWorld):
    world.registry(OWNER, "addFileWithPermissions", "u" * 5000, world.address(OWNER), [(world.key.address, "k" * 9000)])
    newest = world.contracts.registry.files_count()

    assert world.contracts.registry.file(newest).url == ""
    assert world.contracts.registry.permission(newest, world.key.address) == ""
    assert world.contracts.registry.permission(newest, world.address(MAINTAINER)) == ""
