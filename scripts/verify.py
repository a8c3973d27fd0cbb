#!/usr/bin/env python3
"""A second verifier of finalised rounds, written from docs/protocol.md: it shares no code with `validator/`.

It needs web3, the contracts' ABIs, an RPC, and a source of blocks that need not be trusted: a gateway (http...)
or the folder of an embedded store. Exits 0 if all that level 1 of an audit claims of a round holds, 1 if something does
not, 2 if something cannot be read.
"""

import argparse
import base64
import hashlib
import json
import re
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eth_abi import encode
from eth_account import Account
from eth_account.messages import encode_typed_data
from web3 import Web3
from web3.contract import Contract

ABIS = Path(__file__).parent.parent / "validator/chain/artifacts"
BLOCK, LINK = 2**21, re.compile(rb"\x12.\x0a\x24\x01\x55\x12\x20(.{32})\x12\x00\x18", re.DOTALL)
INPUT = ["id:uint64", "contributor:address", "digest:bytes32", "codec:uint8", "size:uint64", "key_epoch:uint32"]
SCORE = ["id:uint64", "contributor:address", "status:uint8", "payable:uint128", "raw:int128", "stderr:uint128"]
EARNED = ["0:address", "1:uint256"]
Document = dict[str, Any]


def block(source: str, digest: bytes) -> bytes:
    """One block of at most 2 MiB by the SHA-256 that its bytes must have, whatever codec its CID names."""
    cid = "b" + base64.b32encode(bytes([1, 0x55, 0x12, 32]) + digest).decode().lower().rstrip("=")
    web, source = source.startswith("http"), source.rstrip("/")
    place = f"{source}/ipfs/{cid}?format=raw" if web else f"{source}/blocks/{digest.hex()[:2]}/{digest.hex()}"
    with urllib.request.urlopen(place, timeout=30) if web else Path(place).open("rb") as file:
        data: bytes = file.read(BLOCK + 1)
    if hashlib.sha256(data).digest() != digest:
        raise ValueError(f"{source} gave other bytes than those of {digest.hex()}")
    return data


def document(source: str, digest: bytes) -> Document:
    """Canonical JSON by the digest of its root block: itself, or a UnixFS node over raw chunks, as bundles are cut."""
    data = block(source, digest)
    if data[:1] != b"{":
        data = b"".join(block(source, chunk) for chunk in LINK.findall(data))
    found = json.loads(data)
    if json.dumps(found, sort_keys=True, separators=(",", ":")).encode() != data:
        raise ValueError(f"{digest.hex()} is not canonical JSON")
    return found


def rows(fields: list[str], lines: list[Document]) -> list[list[Any]]:
    """The fields of each line as the ABI takes them."""
    return [[bytes.fromhex(a[n]) if n == "digest" else a[n] for n in (f.split(":")[0] for f in fields)] for a in lines]


def root(fields: list[str], leaves: list[list[Any]]) -> bytes:
    """Root of OpenZeppelin's StandardMerkleTree."""
    kinds = [field.split(":")[1] for field in fields]
    hashes = sorted(bytes(Web3.keccak(Web3.keccak(encode(kinds, leaf)))) for leaf in leaves)
    nodes = [b""] * (len(hashes) - 1) + hashes[::-1]
    for at in range(len(hashes) - 2, -1, -1):
        nodes[at] = bytes(Web3.keccak(b"".join(sorted(nodes[2 * at + 1 : 2 * at + 3]))))
    return nodes[0] if nodes else bytes(32)


def divide(pool: int, lines: list[Document], manifest: Document) -> list[tuple[int, int]]:
    """(payable score, reward-token units) of each line."""
    rule, rewards, total = manifest["scoring"], manifest["rewards"], Counter[str]()
    scores = [a["raw"] + -rule["kappa_milli"] * a["stderr"] // 1000 if a["status"] in (1, 2) else 0 for a in lines]
    payable = [min(score, rule["contribution_cap"]) if score >= max(1, rule["floor"]) else 0 for score in scores]
    paid = [pool * score // max(sum(payable), rewards["full_pool_score"]) for score in payable]
    for line, amount in zip(lines, paid, strict=True):
        total[line["contributor"]] += amount
    cap, totals = pool * rewards["contributor_cap_bps"] // 10_000, [total[a["contributor"]] for a in lines]
    return [(s, p if t <= cap else p * cap // t) for s, p, t in zip(payable, paid, totals, strict=True)]


def checks(w3: Web3, contract: str, number: int, first: int, source: str) -> Iterator[tuple[str, bool]]:
    """Each claim about a finalised round, and whether it holds."""

    def at(name: str, address: str) -> Contract:
        abi = json.loads((ABIS / f"{name}.json").read_text())["abi"]
        return w3.eth.contract(Web3.to_checksum_address(address), abi=abi)

    def events(of: Contract, name: str, **only: int) -> list[Document]:
        spans = [(start, min(start + 2000, end) - 1) for start in range(first, end, 2000)]
        logs = [log for span in spans for log in of.events[name]().get_logs(only, *span)]
        return [{**log["args"], "place": (log["blockNumber"], log["logIndex"])} for log in logs]

    end = w3.eth.get_block("finalized")["number"] + 1
    rounds, chain = at("ScoringRounds", contract), w3.eth.chain_id
    registry = at("ContributionRegistry", rounds.functions.registry().call())
    members = at("ValidatorSet", rounds.functions.validators().call())
    finals = {event["round"]: event["attestation"] for event in events(rounds, "RoundFinalised")}
    answer, closed = finals[number], events(rounds, "RoundClosed", round=number)[-1]

    (struct,) = (field for field in rounds.events.Attested().abi["inputs"] if field["name"] == "attestation")
    parts = [{"name": part["name"], "type": part["type"]} for part in struct["components"]]
    domain = {"name": "Proof of Contribution", "version": "1", "chainId": chain, "verifyingContract": contract}
    message = encode_typed_data(domain, {"ScoreAttestation": parts}, dict(answer))
    joined = [event for event in events(members, "ValidatorJoined") if event["place"] < closed["place"]]
    signers = {event["operator"]: event["signer"] for event in joined}  # who comes back later may sign by another key
    shown = [e for e in events(rounds, "Attested", round=number) if e["attestation"] == answer]
    signed = {e["operator"]: Account.recover_message(message, signature=e["signature"]) for e in shown}
    good = [operator for operator, signer in signed.items() if signer == signers[operator]]
    weight = sum(members.functions.weightAt(operator, number).call() for operator in good)
    total = members.functions.totalWeightAt(number).call()
    yield f"quorum: {len(good)} good signatures, weight {weight} of {total}", weight * 3 > total * 2

    beacon = w3.eth.get_block([closed, *events(rounds, "SeedRearmed", round=number)][-1]["seedBlock"])["hash"]
    place = [chain, contract, number, answer["manifest"], beacon]
    seed = Web3.keccak(encode(["uint256", "address", "uint64", "bytes32", "bytes32"], place))
    yield "seed: follows from the hash of its block", seed == answer["seed"]
    bundle, manifest = document(source, answer["evidence"]), document(source, answer["manifest"])
    lines, earnings = bundle["contributions"], [tuple(entry) for entry in bundle["earnings"]]
    named = [bundle[name] for name in ("chain_id", "contract", "round", "attempt", "manifest", "seed", "pool")]
    told = [chain, contract.lower(), number, answer["attempt"], answer["manifest"].hex(), seed.hex(), closed["pool"]]
    yield "domain: chain, contract, round, attempt, manifest, seed, pool", named == told

    ids, held = range(closed["firstId"], closed["endId"]), Counter[int]()
    for report in events(rounds, "AvailabilityReported", round=number):
        bits = int.from_bytes(report["bitmap"], "little") if report["attempt"] == answer["attempt"] else 0
        held.update({n: report["weight"] for n in ids if bits >> n - ids[0] & 1})
    sent = [e for e in events(registry, "ContributionSubmitted") if e["id"] in ids]
    facts = [[e["id"], e["contributor"].lower(), e["digest"], e["codec"], e["size"], e["keyEpoch"]] for e in sent]
    yield f"contributions: the {len(sent)} submitted", facts == rows(INPUT, lines)
    most = manifest["limits"]["envelope_bytes"]
    judged = [line for line in lines if held[line["id"]] * 3 > total * 2 and line["size"] <= most]
    yield f"included: the {len(judged)} that a quorum held", judged == [line for line in lines if line["included"]]
    roots = [root(INPUT, rows(INPUT, judged)), root(SCORE, rows(SCORE, lines)), root(EARNED, earnings)]
    yield "trees: the signed roots", roots == [answer[name] for name in ("inputsRoot", "scoresRoot", "earningsRoot")]

    paid = divide(closed["pool"], lines, manifest)
    yield "payouts: follow from the scores", paid == [(line["payable"], line["paid"]) for line in lines]
    earlier = [finals[n]["evidence"] for n in sorted(finals) if n < number]
    earned = Counter[str](dict(document(source, earlier[-1])["earnings"]) if earlier else {})
    for line in lines:
        earned[line["contributor"]] += line["paid"]
    yield "earnings: what was before, and what is paid", sorted((+earned).items()) == earnings
    sums = [sum(line["paid"] for line in lines), earned.total(), len(lines)]
    yield "totals: as signed", sums == [answer[name] for name in ("roundTotal", "earnedTotal", "count")]


def main() -> int:
    """Print each check of one round."""
    parser = argparse.ArgumentParser(description="Check a finalised round without any code of the validator.")
    for option in ("rpc", "contract", "blocks"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--from-block", type=int, default=0)
    parser.add_argument("round", type=int)
    given = parser.parse_args()
    try:
        w3 = Web3(Web3.HTTPProvider(given.rpc))
        found = list(checks(w3, given.contract, given.round, given.from_block, given.blocks))
    except Exception as error:  # noqa: BLE001 - whatever an RPC or a gateway does to us, there is one line to say
        print(f"error: round {given.round} cannot be checked: {error!r}", file=sys.stderr)
        return 2
    print("\n".join(f"{'ok  ' if ok else 'FAIL'} {words}" for words, ok in found))
    return 0 if all(ok for _, ok in found) else 1


if __name__ == "__main__":
    sys.exit(main())
