from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from fastapi.testclient import TestClient

from tests.web.conftest import Played
from tests.web.support import DEAD, Line, batch, event, over, scripted
from tests.web.test_picture import line
from validator.actions.contributor import latest_evidence
from validator.chain.types import Attestation
from validator.content import Cid, LocalStore, NotFound
from validator.rounds.evidence import outcome, sealed
from validator.web.app import make_app
from validator.web.ledger import LedgerError
from validator.web.source import CATCH_UP_SECONDS, FRESH_SECONDS, NotReadYet, Source

MANY = 10_000
PAGES = ("/", "/rounds/1", "/contributions/1", "/contributors/0x" + "ab" * 20, "/validators", "/manifest")


class ByCid(LocalStore):
    """A store that finds a block under the CID it was put under, and not under another of the same digest."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._put: set[Cid] = set()

    def put(self, data: bytes) -> Cid:
        cid = super().put(data)
        self._put.add(cid)
        return cid

    def read(self, cid: Cid, size_limit: int) -> bytes:
        if cid not in self._put:
            raise NotFound(f"{cid} is not here")
        return super().read(cid, size_limit)


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("path", [*PAGES, *(f"/api{path}" for path in ("/rounds", *PAGES[1:]))])
def test_any__chain_out_of_reach__503_in_one_line(played: Played, path: str) -> None:
    wire = Line([DEAD], 1.0)
    wire.cut = True
    response = TestClient(make_app(Source(over(played.view, wire)))).get(path)

    assert response.status_code == 503
    assert response.headers["retry-after"] == "2"
    assert f"{DEAD} did not answer eth_blockNumber: connection refused" in response.text


def test_health_and_metrics__chain_out_of_reach__still_answer(played: Played) -> None:
    wire = Line([DEAD], 1.0)
    wire.cut = True
    client = TestClient(make_app(Source(over(played.view, wire))))

    assert client.get("/health").status_code == 200
    assert client.get("/ready").status_code == 503
    assert "poc_chain_up 0.0" in client.get("/metrics").text
    assert client.get("/nowhere").status_code == 404
    assert client.get("/static/style.css").status_code == 200
    assert client.get("/static/seal.js").headers["content-type"].startswith("text/javascript")


def test_known__chain_lost_and_found__503_meanwhile_and_asked_once_a_second(played: Played) -> None:
    clock, wire = Clock(), Line([played.world.chain.url], 5.0)
    client = TestClient(make_app(Source(over(played.view, wire), clock)))

    def status() -> int:
        return client.get("/api/rounds").status_code

    assert status() == 200
    wire.cut = True
    assert status() == 200  # known a moment ago
    clock.now += FRESH_SECONDS
    assert status() == 503
    wire.cut = False
    assert status() == 503  # it failed a moment ago
    clock.now += FRESH_SECONDS
    assert status() == 200


def test_round__evidence_out_of_reach__the_page_says_so_and_stands(played: Played, tmp_path: Path) -> None:
    view = scripted(played.view, [played.view.follower().scan(None)], store=LocalStore(tmp_path))
    client = TestClient(make_app(Source(view)))
    answer = client.get("/api/rounds/1").json()
    page = client.get("/rounds/1")

    assert (answer["evidence"]["cid"], answer["checks"]) == (None, [])
    assert answer["evidence"]["fault"]
    assert page.status_code == 200 and "could not be had" in page.text
    assert "could not be had" in client.get("/contributions/1").text
    contributor = client.get(f"/api/contributors/{played.contributors[0]}").json()
    assert (contributor["earned"], contributor["due"], contributor["proof"]) == (None, None, None)
    assert client.get("/manifest").status_code == 200


def test_known__reorganised_below_finality__starts_over(played: Played) -> None:
    opened = event("ScoringRounds", "RoundOpened", round=1, manifest=bytes(32))
    other = event("ScoringRounds", "RoundOpened", round=1, manifest=b"\1" * 32)
    script = [batch(opened), batch(rollback_to=-1), batch(other)]
    clock = Clock()
    source = Source(scripted(played.view, script), clock)

    assert source.known().ledger.rounds[1].manifest == bytes(32)
    clock.now += FRESH_SECONDS
    assert source.known().ledger.rounds[1].manifest == b"\1" * 32
    assert len(source.known().ledger.facts) == 1


def test_known__long_chain__says_how_far_it_is_and_goes_on(played: Played) -> None:
    class Slow(Clock):
        def __call__(self) -> float:
            self.now += CATCH_UP_SECONDS + 1
            return self.now

    source = Source(scripted(played.view, [batch(number=1, finalised=2), batch(number=2)]), Slow())

    with pytest.raises(NotReadYet, match="block 1 of 2 is read"):
        source.known()
    assert source.known().block == 2


def test_known__submissions_with_a_gap__refused_in_words(played: Played) -> None:
    clock, torn = Clock(), batch(submission(1), submission(7))
    source = Source(scripted(played.view, [torn, torn]), clock)

    for _ in range(2):  # the same words again: nothing of a torn batch is kept
        with pytest.raises(LedgerError, match="contribution 7 follows on 1"):
            source.known()
        clock.now += FRESH_SECONDS


def test_known__rounds_scanned_from_too_late__refused_in_words(played: Played) -> None:
    with pytest.raises(LedgerError, match="before the first block"):
        Source(scripted(played.view, [batch(event("ScoringRounds", "RoundAbandoned", round=3))])).known()


def test_ledger__abandoned_round__its_contributions_go_to_the_next(played: Played) -> None:
    events = [
        event("ScoringRounds", "RoundOpened", round=1, manifest=bytes(32)),
        submission(1),
        event("ScoringRounds", "RoundClosed", round=1, firstId=1, endId=2, pool=5, totalWeight=3, seedBlock=1),
        event("ScoringRounds", "RoundOpened", round=2, manifest=bytes(32)),
        submission(2),
        event("ScoringRounds", "RoundAbandoned", round=1),
    ]
    ledger = Source(scripted(played.view, [batch(*events)])).known().ledger
    placed = ledger.round_of(1)

    assert placed is not None and placed.round == 2
    assert ledger.ids(ledger.rounds[2]) == range(1, 3)


def test_validators__left_slashed_and_faulty__told(played: Played) -> None:
    operator, other = "0x" + "aa" * 20, "0x" + "bb" * 20
    events = [
        event("ValidatorSet", "ValidatorJoined", operator=operator, signer=operator, hpkeKey=bytes(32), stake=100),
        event("ValidatorSet", "StakeChanged", operator=operator, stake=100, weight=80, fromRound=1),
        event("ValidatorSet", "ValidatorJoined", operator=other, signer=other, hpkeKey=bytes(32), stake=50),
        event("ValidatorSet", "StakeChanged", operator=other, stake=50, weight=50, fromRound=1),
        event("ScoringRounds", "EquivocationProven", round=1, attempt=1, operator=operator, reporter=other),
        event("ValidatorSet", "ValidatorSlashed", operator=operator, amount=40, reporter=other, reporterShare=8),
        event("ValidatorSet", "StakeChanged", operator=operator, stake=60, weight=60, fromRound=1),
        event("ScoringRounds", "CommitUnrevealed", round=1, attempt=1, operator=operator, fee=1),
        event("ValidatorSet", "ExitRequested", operator=operator, withdrawableAt=1_900_000_000),
        event("ValidatorSet", "StakeChanged", operator=operator, stake=60, weight=0, fromRound=2),
        event("ValidatorSet", "ExitRequested", operator=other, withdrawableAt=1_900_000_000),
        event("ValidatorSet", "StakeWithdrawn", operator=other, amount=50),
    ]
    client = TestClient(make_app(Source(scripted(played.view, [batch(*events)]))))
    first, second = client.get("/api/validators").json()["validators"]

    assert (first["state"], first["stake"], first["weight"], first["slashed"]) == ("leaving", "60", "0", "40")
    assert (first["equivocations"], first["unrevealed"], first["exit_at"]) == (1, 1, 1_900_000_000)
    assert (second["state"], second["stake"]) == ("left", "0")
    assert "signed two answers" in client.get("/validators").text


def test_round__ten_thousand_contributions__a_hundred_a_page_and_quick(played: Played, tmp_path: Path) -> None:
    view = big_round(played, ByCid(tmp_path))
    client = TestClient(make_app(Source(view)))
    client.get("/rounds/1")
    begun = time.perf_counter()
    html = client.get("/rounds/1?page=100").text
    took = time.perf_counter() - begun

    assert took < 1.0  # a tenth of it on an idle machine; without the caches it takes ten times as long
    assert html.count('<th scope="row" class="num"><a href="/contributions/') == 100
    assert f"/contributions/{MANY}" in html and "100 of 100" in html and "page=99" in html
    assert "96 of 10,000 scored contributions are drawn" in html
    assert "<script" not in html and "&lt;script&gt;" in html  # the reasons of this round are hostile
    assert client.get("/rounds/1?page=101").status_code == 404
    assert "✗" in html  # nobody has signed this one


def submission(number: int, **changes: object) -> object:
    return event(
        "ContributionRegistry",
        "ContributionSubmitted",
        **{
            "id": number,
            "contributor": f"0x{number:040x}",
            "round": 1,
            "digest": number.to_bytes(32, "big"),
            "codec": 0,
            "size": 1000,
            "keyEpoch": 1,
            **changes,
        },
    )


def big_round(played: Played, store: LocalStore) -> object:
    """A final round of MANY contributions, with hostile reasons; its trees are in order, its signatures missing."""
    manifest = played.world.round(1).manifest
    store.put(played.view.store.read(Cid.from_chain(manifest, 0), 65_536))
    lines = [
        msgspec.structs.replace(
            line(number, raw=-number, stderr=number),
            contributor=f"0x{number:040x}",
            digest=number.to_bytes(32, "big").hex(),
            size=1000,
            reason="<script>alert(1)</script>",
        )
        for number in range(1, MANY + 1)
    ]
    small = latest_evidence(played.world.facts(), played.view.store)
    assert small is not None
    evidence = sealed(
        msgspec.structs.replace(small, contributions=lines, accepted_count=0, memory_count=0, earnings=[])
    )
    digest = store.put(evidence.to_bytes()).digest
    found = outcome(evidence)
    final = Attestation(
        1,
        1,
        manifest,
        b"\1" * 32,
        found.inputs_root,
        found.scores_root,
        found.earnings_root,
        found.round_total,
        found.earned_total,
        found.count,
        digest,
    )
    events = [
        event("ScoringRounds", "RoundOpened", round=1, manifest=manifest),
        *(submission(number) for number in range(1, MANY + 1)),
        event("ScoringRounds", "RoundClosed", round=1, firstId=1, endId=MANY + 1, pool=5, totalWeight=3, seedBlock=1),
        event("ScoringRounds", "RoundFinalised", round=1, attempt=1, digest=b"\2" * 32, attestation=final),
    ]
    return scripted(played.view, [batch(*events)], store=store)


def test_bundle__lists_other_contributions_than_the_round__refused(played: Played) -> None:
    whole = played.view.follower().scan(None)
    shrunk = [
        replace(item, args={**item.args, "endId": 5}) if item.name == "RoundClosed" else item for item in whole.events
    ]
    client = TestClient(make_app(Source(scripted(played.view, [replace(whole, events=tuple(shrunk))]))))

    fault = client.get("/api/rounds/1").json()["evidence"]["fault"]
    assert fault == "the evidence that was attested lists other contributions than round 1"
