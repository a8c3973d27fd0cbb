"""Check a finalised round without any code of the validator: 0 all holds, 1 something does not, 2 cannot be read."""

import argparse
import base64
import hashlib
import json
import urllib.request as web
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import compress
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from eth_account.messages import encode_typed_data
from web3 import Web3

ABIS = Path(__file__).parent.parent / "validator/chain/artifacts"
ABI = {path.stem: json.loads(path.read_text())["abi"] for path in ABIS.glob("*.json")}
INPUT = ["uint64", "address", "bytes32", "uint8", "uint64", "uint32"]
SCORE = ["uint64", "address", "uint8", "uint128", "int128", "uint128"]
Document = dict[str, Any]


def block(source: str, digest: bytes) -> bytes:
    """The block of at most 2 MiB that has this SHA-256, from a gateway or from the folder of an embedded store."""
    cid = "b" + base64.b32encode(b"\x01\x55\x12\x20" + digest).decode().lower().rstrip("=")
    file = Path(source, "blocks", digest.hex()[:2], digest.hex()).absolute().as_uri()
    place = f"{source.rstrip('/')}/ipfs/{cid}?format=raw" if source.startswith("http") else file
    opener = web.OpenerDirector()  # with no more than these: it follows no redirect and asks no proxy
    for handler in (web.HTTPHandler, web.HTTPSHandler, web.FileHandler):
        opener.add_handler(handler())
    with opener.open(place, timeout=30) as answer:
        data: bytes = answer.read(2**21 + 1)
    if hashlib.sha256(data).digest() != digest:
        raise ValueError(f"{place} gave other bytes than those of {digest.hex()} (HTTP status {answer.status})")
    return data


def document(source: str, digest: bytes) -> Document:
    """Canonical JSON by the digest of its root block: itself, or a UnixFS node over at most 64 raw blocks of 1 MiB."""
    data = block(source, digest)
    if data[:1] != b"{":
        data = b"".join(block(source, link[:32]) for link in data.split(b"\x0a\x24\x01\x55\x12\x20")[1:65])
    found: Document = json.loads(data)
    if json.dumps(found, sort_keys=True, separators=(",", ":")).encode() != data:
        raise ValueError(f"{digest.hex()} is not canonical JSON")
    return found


def history(w3: Web3, contract: str, first: int) -> dict[str, list[Document]]:
    """The finalised events of the DAO from block `first` on, by name and in chain order."""
    known = {event.topic: event for abi in ABI.values() for event in w3.eth.contract(abi=abi).events}
    rounds = w3.eth.contract(Web3.to_checksum_address(contract), abi=ABI["ScoringRounds"])
    places = [rounds.address, rounds.functions.registry().call(), rounds.functions.validators().call()]
    end, found = w3.eth.get_block("finalized")["number"] + 1, defaultdict(list)
    for start in range(first, end, 2000):
        for log in w3.eth.get_logs({"address": places, "fromBlock": start, "toBlock": min(start + 2000, end) - 1}):
            event = known[log["topics"][0].to_0x_hex()].process_log(log)
            found[event["event"]].append({"at": (log["blockNumber"], log["logIndex"]), **event["args"]})
    return found


def root(kinds: list[str], leaves: Iterable[Any]) -> bytes:
    """Root of OpenZeppelin's StandardMerkleTree."""
    hashes = sorted(bytes(Web3.keccak(Web3.keccak(encode(kinds, leaf)))) for leaf in leaves)
    for at in range(0, 2 * len(hashes) - 2, 2):
        hashes.append(bytes(Web3.keccak(b"".join(sorted(hashes[at : at + 2])))))
    return hashes[-1] if hashes else bytes(32)


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
    told, chain = history(w3, contract, first), w3.eth.chain_id
    finals = {e["round"]: e["attestation"] for e in told["RoundFinalised"]}
    if number not in finals or all(e["round"] != 1 for e in told["RoundOpened"]):
        raise ValueError(f"block {first} is above the DAO's first, or it is not finalised; these are: {sorted(finals)}")
    answer, closed = finals[number], next(e for e in told["RoundClosed"] if e["round"] == number)
    signers = {e["operator"]: e["signer"] for e in told["ValidatorJoined"] if e["at"] < closed["at"]}
    weights = {e["operator"]: e["weight"] for e in told["StakeChanged"] if e["at"] < closed["at"]}
    if sum(weights.values()) != (total := closed["totalWeight"]) or weights.keys() - signers.keys():
        raise ValueError(f"block {first} is above the DAO's first: the weights of events from there on are not all")
    parts = next(entry["inputs"][-1]["components"] for entry in ABI["ScoringRounds"] if entry.get("name") == "Attested")
    domain = {"name": "Proof of Contribution", "version": "1", "chainId": chain, "verifyingContract": contract}
    message = encode_typed_data(domain, {"ScoreAttestation": parts}, dict(answer))
    shown = {e["operator"]: e["signature"] for e in told["Attested"] if e["attestation"] == answer}
    good = [who for who in shown if w3.eth.account.recover_message(message, signature=shown[who]) == signers.get(who)]
    weight = sum(weights[who] for who in good)
    yield f"quorum: {len(good)} good signatures, weight {weight} of {total}", weight * 3 > total * 2
    drawn = [e["seedBlock"] for e in [closed, *told["SeedRearmed"]] if e["round"] == number][-1]
    origin = [chain, contract, number, answer["manifest"], w3.eth.get_block(drawn)["hash"]]
    seed = Web3.keccak(encode(["uint256", "address", "uint64", "bytes32", "bytes32"], origin))
    yield "seed: follows from the hash of its block", seed == answer["seed"]
    bundle, manifest = document(source, answer["evidence"]), document(source, answer["manifest"])
    facts = {"chain_id": chain, "contract": contract.lower(), "round": number, "pool": closed["pool"]}
    facts |= {"attempt": answer["attempt"], "manifest": answer["manifest"].hex(), "seed": seed.hex()}
    yield f"domain: {', '.join(facts)}", repr({**bundle, **facts}) == repr(bundle)
    rows, limit = bundle["contributions"], manifest["limits"]["envelope_bytes"]
    got = [[a["id"], a["contributor"], bytes.fromhex(a["digest"]), a["codec"], a["size"], a["key_epoch"]] for a in rows]
    sent = [e for e in told["ContributionSubmitted"] if closed["firstId"] <= e["id"] < closed["endId"]]
    inputs = [[e["id"], e["contributor"].lower(), e["digest"], e["codec"], e["size"], e["keyEpoch"]] for e in sent]
    yield f"contributions: the {len(sent)} submitted", repr(got) == repr(inputs)
    reports = [e for e in told["AvailabilityReported"] if (e["round"], e["attempt"]) == (number, answer["attempt"])]
    held = [sum(e["weight"] for e in reports if e["bitmap"][n // 8] >> n % 8 & 1) for n in range(len(sent))]
    judged = [weight * 3 > total * 2 and e["size"] <= limit for weight, e in zip(held, sent, strict=True)]
    yield f"included: the {sum(judged)} that a quorum held", repr(judged) == repr([a["included"] for a in rows])
    paid, earnings = divide(closed["pool"], rows, manifest), [(*e,) for e in bundle["earnings"]]
    scores = [[a[name] for name in ("id", "contributor", "status", "payable", "raw", "stderr")] for a in rows]
    roots = [root(INPUT, compress(got, judged)), root(SCORE, scores), root(["address", "uint256"], earnings)]
    yield "trees: the signed roots", roots == [answer[name] for name in ("inputsRoot", "scoresRoot", "earningsRoot")]
    yield "payouts: follow from the scores", repr(paid) == repr([(a["payable"], a["paid"]) for a in rows])
    earlier = [finals[n]["evidence"] for n in sorted(finals) if n < number]
    earned = Counter[str](dict(document(source, earlier[-1])["earnings"]) if earlier else {})
    for a in rows:
        earned[a["contributor"]] += a["paid"]
    yield "earnings: what was before, and what is paid", repr(earnings) == repr(sorted((+earned).items()))
    sums = [sum(a["paid"] for a in rows), earned.total(), len(rows)]
    yield "totals: as signed", sums == [answer[name] for name in ("roundTotal", "earnedTotal", "count")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--rpc", "--contract", "--blocks"):
        parser.add_argument(option, required=True)
    parser.add_argument("--from-block", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("round", type=int)
    given = parser.parse_args()
    try:
        claims = checks(Web3(Web3.HTTPProvider(given.rpc)), given.contract, given.round, given.from_block, given.blocks)
        with ThreadPool(1) as pool:
            found: list[tuple[str, bool]] = pool.apply_async(list, [claims]).get(given.seconds)
    except Exception as error:  # noqa: BLE001 - whatever an RPC or a gateway does to us, there is one line to say
        parser.exit(2, f"error: round {given.round} cannot be checked: {error!r}\n")
    print("\n".join(f"{'ok  ' if ok else 'FAIL'} {words}" for words, ok in found))
    parser.exit(0 if all(ok for _, ok in found) else 1)
