from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from eth_utils.address import to_checksum_address
from fastapi import FastAPI
from fastapi.openapi.models import OpenAPI
from fastapi.testclient import TestClient

from tests.web.conftest import KINDS, Played
from validator.actions.contributor import latest_evidence
from validator.rounds.evidence import input_leaf, score_leaf
from validator.rounds.merkle import EARNING_LEAF, leaf_hash, verify
from validator.rounds.types import Status
from validator.web.answers.terms import Now, why_not
from validator.web.http import HEADERS, POLICY


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def test_rounds__json__integers_for_counts_strings_for_amounts(client: TestClient, played: Played) -> None:
    answer = client.get("/api/rounds").json()
    state = played.world.round(1)

    assert answer["chain_id"] == 31337
    assert answer["contract"] == played.view.deployment.rounds.lower()
    assert [item["round"] for item in answer["rounds"]] == [2, 1]
    assert answer["rounds"][1] == {
        "round": 1,
        "phase": "finalised",
        "ends_at": None,
        "seconds_left": None,
        "contributions": len(KINDS),
        "capacity": None,
        "pool": str(state.pool),
        "paid": str(state.final["round_total"] if state.final else None),
        "attestations": 1,
        "attempt": 1,
    }
    assert (answer["rounds"][0]["pool"], answer["rounds"][0]["capacity"]) == (None, len(KINDS))


def test_round__json__agrees_with_the_evidence(client: TestClient, played: Played) -> None:
    answer = client.get("/api/rounds/1").json()
    evidence = latest_evidence(played.world.facts(), played.view.store)
    assert evidence is not None

    assert [item["status"] for item in answer["items"]] == [
        Status(line.status).name.lower() for line in evidence.contributions
    ]
    assert [(item["score"], item["paid"]) for item in answer["items"]] == [
        (line.payable, str(line.paid)) for line in evidence.contributions
    ]
    assert answer["scores_root"] == "0x" + evidence.scores_root
    assert answer["quorum"]["reached"] is True
    assert answer["answers"][0]["good"] is True
    assert answer["validators"][0]["held"] == len(KINDS)
    assert len(answer["checks"]) >= 13
    assert {check["ok"] for check in answer["checks"]} == {True}
    assert answer["evidence"]["fault"] is None


def test_contribution__json__proof_verifies_outside_of_the_server(client: TestClient, played: Played) -> None:
    evidence = latest_evidence(played.world.facts(), played.view.store)
    assert evidence is not None
    for line in evidence.contributions:
        answer = client.get(f"/api/contributions/{line.id}").json()
        proof = answer["proof"]

        assert unhex(proof["leaf"]) == score_leaf(line)
        assert verify(unhex(answer["proof"]["root"]), score_leaf(line), [unhex(item) for item in proof["proof"]])
        assert proof["root"] == "0x" + evidence.scores_root
        judged = answer["input_proof"]
        siblings = [unhex(item) for item in judged["proof"]]
        assert verify(unhex(evidence.inputs_root), input_leaf(line), siblings)
        assert (judged["root"], judged["holds"]) == ("0x" + evidence.inputs_root, True)
        assert judged["fields"]["digest"] == answer["digest"]
        on_chain = answer["on_chain"]
        assert (on_chain["verified"], on_chain["recorded"]) == (True, False)
        call = {"to": to_checksum_address(on_chain["call"]["to"]), "data": on_chain["call"]["data"]}
        assert int.from_bytes(played.view.w3.eth.call(call)) == 1


def test_contribution__json__ranks_only_what_was_scored(client: TestClient) -> None:
    answers = [client.get(f"/api/contributions/{number}").json() for number in range(1, len(KINDS) + 1)]

    assert sorted(item["rank"] for item in answers[:4]) == [1, 2, 3, 4]
    assert answers[3]["rank"] == 4  # the noise
    assert (answers[4]["rank"], answers[4]["raw"], answers[4]["status"]) == (None, None, "malformed")
    assert {item["scored"] for item in answers} == {4}


def test_contributor__json__proof_is_the_one_that_the_claim_takes(client: TestClient, played: Played) -> None:
    account, amount = played.claimed
    answer = client.get(f"/api/contributors/{account}").json()
    proof = answer["proof"]

    assert (answer["earned"], answer["claimed"], answer["due"]) == (str(amount), str(amount), "0")
    leaf = leaf_hash(EARNING_LEAF, [account, amount])
    assert verify(played.view.contracts.pool.earnings_root(), leaf, [unhex(item) for item in proof["proof"]])


def test_contributor__earned_nothing__no_proof_and_nothing_due(client: TestClient, played: Played) -> None:
    answer = client.get(f"/api/contributors/{played.contributors[4]}").json()

    assert (answer["earned"], answer["due"], answer["proof"]) == ("0", "0", None)


def test_validators__json__the_chain_s_stake(client: TestClient, played: Played) -> None:
    (row,) = client.get("/api/validators").json()["validators"]
    operator = played.world.keys["validator-1"].address

    assert row["operator"] == operator.lower()
    assert row["stake"] == str(played.view.contracts.validators.stake_of(operator))
    assert [row[name] for name in ("rounds", "reported", "committed", "attested", "equal")] == [1, 1, 1, 1, 1]


def test_manifest__json__digest_of_version_one_is_the_round_s(client: TestClient, played: Played) -> None:
    answer = client.get("/api/manifest?version=1").json()

    assert unhex(answer["digest"]) == played.world.round(1).manifest
    assert answer["document"]["name"] == "digits"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/rounds/99", 404), ("/api/rounds/x", 422), ("/api/contributors/0x1", 422), ("/api/nothing", 404)],
)
def test_api__makes_no_sense__one_line_of_json(client: TestClient, path: str, status: int) -> None:
    response = client.get(path)

    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert "\n" not in response.json()["error"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/api/rounds", "/nowhere"])
def test_any__other_method__refused(client: TestClient, method: str, path: str) -> None:
    response = client.request(method, path)

    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")


def test_any__head__the_headers_of_get_and_no_body(client: TestClient) -> None:
    got, asked = client.get("/api/manifest"), client.head("/api/manifest")

    assert asked.status_code == 200
    assert asked.content == b""
    assert asked.headers["content-length"] == str(len(got.content))


@pytest.mark.parametrize("path", ["/", "/api/rounds", "/nowhere", "/api/rounds/x", "/static/style.css", "/metrics"])
def test_any__answer__strict_headers_and_no_cookies(client: TestClient, path: str) -> None:
    headers = client.get(path).headers

    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert "set-cookie" not in headers
    assert headers["content-security-policy"] == POLICY
    assert "'unsafe" not in POLICY


def test_openapi__document__valid_and_every_reference_resolves(client: TestClient) -> None:
    document = client.get("/api/openapi.json").json()

    OpenAPI.model_validate(document)
    assert set(document["paths"]) == {
        "/api/rounds",
        "/api/rounds/{number}",
        "/api/contributions/{number}",
        "/api/contributors/{address}",
        "/api/validators",
        "/api/manifest",
        "/api/terms",
        "/live",
        "/health",
        "/ready",
    }
    for reference in references(document):
        found: Any = document
        for key in reference.removeprefix("#/").split("/"):
            found = found[key]
    pool = document["components"]["schemas"]["RoundSummary"]["properties"]["pool"]
    assert {"type": "string", "pattern": "^-?[0-9]+$"}.items() <= pool["anyOf"][0].items()


def test_openapi__error_answers__described_as_what_they_are(client: TestClient) -> None:
    responses = client.get("/api/openapi.json").json()["paths"]["/api/rounds/{number}"]["get"]["responses"]

    assert set(responses) == {"200", "404", "414", "422", "503"}
    for status in ("404", "422", "503"):
        assert responses[status]["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")


def test_app__fault_in_the_program__one_line_without_its_insides(app: FastAPI) -> None:
    def broken() -> None:
        raise RuntimeError("the inside")

    fresh = FastAPI()
    fresh.user_middleware = app.user_middleware
    fresh.add_api_route("/broken", broken)
    response = TestClient(fresh).get("/broken")

    assert response.status_code == 500
    assert response.json() == {"error": "a fault in this program; its log says more"}
    assert response.headers["x-content-type-options"] == "nosniff"


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_terms__round_open__what_a_contribution_takes_and_questions_that_the_chain_answers_alike(
    client: TestClient, played: Played
) -> None:
    terms = client.get("/api/terms").json()

    view = played.view
    round_, full_at, deposit = view.contracts.rounds.submission_terms()
    assert (terms["round"], terms["deposit"]) == (round_, str(deposit))
    assert terms["places"] == full_at - view.registry.count() - 1 > 0
    assert terms["key"] == "0x" + view.contracts.dao.key_of(1).hex()
    validator = played.world.keys["validator-1"].address.lower()
    assert terms["holders"] == [{"account": validator, "validates": True}]
    assert terms["rules"].keys() == {"payload", "limits"}
    assert (terms["not_now"], terms["relay"], terms["latest"]) == (None, None, view.registry.count())
    for question in terms["questions"]:
        call = {"to": to_checksum_address(question["call"]["to"]), "data": question["call"]["data"]}
        assert "0x" + bytes(view.w3.eth.call(call)).hex() == question["answer"], question["about"]
    assert len(terms["questions"]) == 3


def test_why_not__paused_no_key_no_round_or_full__is_said_in_words() -> None:
    open_ = Now(round=2, full_at=11, deposit=1, count=9, epoch=1, key=bytes(32), paused=False, manifest=bytes(32))

    assert why_not(open_) is None
    told = [
        why_not(replace(open_, **change)) for change in ({"paused": True}, {"epoch": 0}, {"round": 0}, {"count": 10})
    ]
    assert told == [
        "the DAO has paused submissions",
        "the DAO has published no key to seal to yet",
        "no round is open",
        "round 2 is full; the next one opens soon",
    ]
