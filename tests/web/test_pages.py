from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from fastapi.testclient import TestClient

from tests.web.big import ByCid, big_round
from tests.web.conftest import Played
from tests.web.support import event, scripted
from validator.actions.connect import view_of
from validator.chain.deploy import deploy_token
from validator.chain.follower import Batch
from validator.chain.typed_data import attestation_digest
from validator.manifest import make_manifest
from validator.stages.documents import load_manifest
from validator.web.app import make_app
from validator.web.source import Source

PAGES = (
    "/",
    "/rounds/1",
    "/rounds/2",
    "/contributions/1",
    "/contributions/5",
    "/contributions/6",
    "/validators",
    "/contribute",
)
HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "link", "input", "br", "img"}


class Outline(HTMLParser):
    """What a strict reader finds wrong with a page, and the parts that tests ask about."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def script(name: str) -> dict[str, str | None]:
    return {"src": f"/static/{name}.js", "type": "module"}


def text(html: str) -> str:
    """What a reader sees, white space folded."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


@pytest.fixture(params=[*PAGES, "/manifest", "/nowhere", "CONTRIBUTOR"])
def page(request: pytest.FixtureRequest, client: TestClient, played: Played) -> str:
    path = request.param.replace("CONTRIBUTOR", f"/contributors/{played.contributors[0]}")
    response = client.get(path)
    assert response.status_code == (404 if path == "/nowhere" else 200)
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    return response.text


def test_page__any__well_formed_and_readable_by_a_screen_reader(page: str) -> None:
    outline = Outline(page)

    assert outline.faults == []
    assert len(outline.named("h1")) == 1
    assert outline.named("html") == [{"lang": "en"}]
    assert len(outline.named("caption")) == len(outline.named("table"))
    assert all(attributes.get("scope") in ("col", "row") for attributes in outline.named("th"))
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_page__any__no_inline_script_no_style_attribute_and_nothing_from_elsewhere(page: str) -> None:
    outline = Outline(page)

    assert outline.named("script") in ([], [script("wallet")], [script("contribute")])
    assert "<script>" not in page
    for _, attributes in outline.tags:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src", "action"):
            assert (attributes.get(name) or "/").startswith(("/", "#"))


def test_page__every_link__leads_somewhere(client: TestClient, played: Played) -> None:
    start = [*PAGES, "/manifest", f"/contributors/{played.contributors[0]}"]
    links = {
        attributes["href"].split("#")[0]
        for path in start
        for tag, attributes in Outline(client.get(path).text).tags
        if tag in ("a", "link") and attributes["href"]
    }

    assert {path: client.get(path).status_code for path in links - {""}} == dict.fromkeys(links - {""}, 200)


def test_rounds__one_final_one_open__state_paid_and_time_left(client: TestClient) -> None:
    seen = text(client.get("/").text)

    assert re.search(r"2 open 1 of 5 0 \d+ min( \d+ s)?, or until full", seen)
    assert re.search(r"1 finalised 5 [\d,.]+ RWD 1,000 RWD 1", seen)


def test_round__final__scores_attestation_checks_and_origin(client: TestClient, played: Played) -> None:
    html = client.get("/rounds/1").text
    seen = text(html)
    state = played.world.round(1)
    operator = played.world.keys["validator-1"].address.lower()

    assert "5 malformed a value is not a number, or infinite 0" in seen
    assert re.search(r"4 below noise -[\d.]+ ± [\d.]+ 0", seen)
    assert "✓ signature good" in seen and "✓ the final answer" in seen
    assert seen.count(operator) == 3  # whose attestation, who signed, who is registered
    assert "✗" not in seen and "Do not rely" not in seen
    assert f"0x{state.seed.hex()}" in seen and f"0x{state.beacon.hex()}" in seen
    assert html.count('<g class="') == 4
    assert re.search(r"[23] paid ([12] below noise )?1 malformed", seen) or "1 below noise 1 malformed" in seen
    assert "every amount follows from the scores" in seen


def test_round__final__fields_and_domain_shown_are_those_of_the_digest_that_was_signed(
    client: TestClient, played: Played
) -> None:
    html = client.get("/rounds/1").text
    table = html.partition("<details><summary>The final answer")[2].partition("</details>")[0]
    rows = [text(row).split() for row in table.partition("<tbody>")[2].split("</tr>")[:-1]]
    kinds = [{"name": name, "type": kind} for name, kind, _ in rows]
    values = {name: int(value) if kind.startswith("uint") else value for name, kind, value in rows}
    said = re.search(r"Domain (.*), version (\d+), chain (\d+), contract (0x\w{40})", text(html))
    assert said is not None
    domain = {"name": said[1], "version": said[2], "chainId": int(said[3]), "verifyingContract": said[4]}
    message = encode_typed_data(domain, {"ScoreAttestation": kinds}, values)
    ((digest, signature, _),) = played.world.round(1).attestations.values()

    signer = Account.recover_message(message, signature=signature)
    assert signer.lower() == played.world.keys["validator-1"].address.lower()
    assert f"0x{digest.hex()}" in table


def test_round__open__contributions_without_scores(client: TestClient) -> None:
    html = client.get("/rounds/2").text
    seen = text(html)

    assert "It takes contributions. It may be closed in" in seen
    assert "1 of 5" in seen
    assert "<svg" not in html and "Attestations" not in seen


def test_contribution__paid__says_why_and_what_the_contract_answers(client: TestClient, played: Played) -> None:
    seen = text(client.get("/contributions/1").text)

    assert "Improves the model; paid." in seen
    assert "1 times the standard error comes off" in seen
    assert "of them earn" in seen
    assert "ScoringRounds.verifyScore(1, leaf, proof) answers true" in seen
    assert "✓ The proof leads from the leaf to it." in seen
    assert played.submitted[0].cid in seen


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (4, "Adds nothing certain to what the model and the contributions before it already hold."),
        (5, "The rule it broke: a value is not a number, or infinite."),
        (6, "It has no score yet."),
    ],
)
def test_contribution__not_paid__says_why(client: TestClient, number: int, words: str) -> None:
    assert words in text(client.get(f"/contributions/{number}").text)


def test_contribution__refused__deposit_is_forfeited_and_leaf_still_proven(client: TestClient) -> None:
    seen = text(client.get("/contributions/5").text)

    assert "0.001 coin: forfeited" in seen
    assert "answers true" in seen


def test_contributor__claimed_all__nothing_due(client: TestClient, played: Played) -> None:
    account, _ = played.claimed
    seen = text(client.get(f"/contributors/{account.upper().replace('0X', '0x')}").text)

    assert re.search(r"Earned ([\d,.]+ RWD) Claimed \1 Due 0 RWD Contributions 2", seen)
    assert "6 2 waiting" in seen


def test_validators__one__stake_and_participation(client: TestClient) -> None:
    seen = text(client.get("/validators").text)

    assert "active 10,000 STK 10,000 STK 100.0 % 1 1 1 1 1 none" in seen


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/rounds/99", 404, "there is no round 99 yet: the newest is 2"),
        ("/rounds/1?page=2", 404, "there is no page 2: the list ends on page 1"),
        ("/rounds/0", 422, "number: Input should be greater than or equal to 1"),
        ("/rounds/" + "9" * 40, 422, "number: "),
        ("/rounds/1?page=-1", 422, "page: Input should be greater than or equal to 1"),
        ("/contributions/7", 404, "there is no contribution 7: the latest final one has id 6"),
        ("/contributors/0x" + "ab" * 20, 404, f"0x{'ab' * 20} has no final contribution to this DAO"),
        ("/contributors/nobody", 422, "address: "),
        ("/manifest?version=9", 404, "there is no manifest version 9"),
        ("/static/../app.py", 404, "there is no such"),
        ("/find?q=what", 404, "look for the number of a contribution"),
        ("/find", 404, "look for the number of a contribution"),
        ("/" + "a" * 600, 414, "at most 512 bytes"),
    ],
)
def test_page__makes_no_sense__one_line_and_the_right_status(
    client: TestClient, path: str, status: int, words: str
) -> None:
    response = client.get(path)

    assert response.status_code == status
    assert words in text(response.text)


@pytest.mark.parametrize(
    ("query", "place"), [("3", "/contributions/3"), (" 0X" + "AB" * 20, "/contributors/0x" + "ab" * 20)]
)
def test_find__id_or_address__goes_there(client: TestClient, query: str, place: str) -> None:
    response = client.get("/find", params={"q": query})

    assert (response.status_code, response.headers["location"]) == (303, place)


@pytest.mark.parametrize(
    "path", [f"/{HOSTILE}", f"/rounds/{HOSTILE}", f"/contributors/{HOSTILE}", f"/find?q={HOSTILE}"]
)
def test_page__hostile_path__never_comes_back_as_markup(client: TestClient, path: str) -> None:
    response = client.get(path.format(HOSTILE))

    assert response.status_code in (404, 422)
    assert "alert(1)</script" not in response.text


def test_pages__hostile_token_symbol__cut_and_escaped(played: Played) -> None:
    wallet = played.world.wallet
    token = deploy_token(wallet.w3, wallet.sender, HOSTILE, "<b>&\"'</b>" + "x" * 500)
    deployment = replace(wallet.deployment, reward_token=token)
    view = view_of(wallet.w3, deployment, wallet.store, wallet.finality)
    html = TestClient(make_app(Source(view))).get("/").text

    assert "&lt;b&gt;&amp;&#34;&#39;&lt;/b&gt;xx" in html
    assert "<b>" not in html and "xxx" not in html


def test_validators__hostile_address_of_a_peer__escaped_and_no_link(played: Played) -> None:
    whole = played.view.follower().scan(None)
    operator = played.world.keys["validator-1"].address.lower()
    announced = event("ValidatorSet", "PeerAnnounced", operator=operator, url=f"javascript:\"'>{HOSTILE}" + "x" * 200)
    view = scripted(played.view, [Batch((*whole.events, announced), whole.checkpoint, whole.head, whole.finalised)])
    html = TestClient(make_app(Source(view))).get("/validators").text

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script" not in html and 'href="javascript' not in html
    assert Outline(html).faults == []


def test_manifest__hostile_keys_and_values__escaped(played: Played) -> None:
    world, dao = played.world, played.view.contracts.dao
    document = load_manifest(played.view.store, world.round(1).manifest).model_dump()
    document["model"]["config"] |= {HOSTILE: f'">{HOSTILE}'}  # the steward's own command would refuse it
    hostile = make_manifest(document)
    played.view.store.put(hostile.to_bytes())
    world.wallet.sender.send(dao.publish_manifest(hostile.digest()), intent="hostile manifest")
    world.play([played.node], lambda: sum(fact.name == "ManifestPublished" for fact in world.facts()) == 2)
    client = TestClient(make_app(Source(played.view)))
    html = client.get("/manifest").text

    assert "Version 2 of 2" in text(html)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script" not in html
    assert "Version 1 of 2" in text(client.get("/manifest?version=1").text)


def test_round__forged_signature__shown_as_not_good(played: Played) -> None:
    whole = played.view.follower().scan(None)
    forged = [
        replace(event, args={**event.args, "signature": bytes(65)}) if event.name == "Attested" else event
        for event in whole.events
    ]
    view = scripted(played.view, [Batch(tuple(forged), whole.checkpoint, whole.head, whole.finalised)])
    seen = text(TestClient(make_app(Source(view))).get("/rounds/1").text)

    assert "Do not rely on this round" in seen and "these checks of this server fail: signatures, quorum" in seen
    assert "✗ signature NOT good" in seen
    assert "nobody: the signature is malformed" in seen
    assert "✗ not reached" in seen
    assert "signatures ✗ no 0 of 1 signatures are good" in seen


def test_round__digest_in_the_event_is_another__shown_as_not_good(played: Played) -> None:
    whole = played.view.follower().scan(None)
    events = list(whole.events)
    place = next(index for index, event in enumerate(events) if event.name == "Attested")
    deployment = played.view.deployment
    told = replace(events[place].args["attestation"], round_total=1)
    events[place] = replace(events[place], args={**events[place].args, "attestation": told})
    digest = attestation_digest(deployment.chain_id, deployment.rounds, told)
    view = scripted(played.view, [Batch(tuple(events), whole.checkpoint, whole.head, whole.finalised)])
    seen = text(TestClient(make_app(Source(view))).get("/rounds/1").text)

    assert f"Digest 0x{digest.hex()}" in seen
    assert "✗ signature NOT good" in seen and "✗ another answer than the final one" in seen


def test_round__very_small_scores__the_ticks_of_each_axis_differ(played: Played, tmp_path: Path) -> None:
    view = big_round(played, ByCid(tmp_path), 40)
    page = TestClient(make_app(Source(view))).get("/rounds/1").text

    drawn = [re.findall(r'<text class="(?:axis|id)"[^>]*>([^<]*)<', figure) for figure in page.split("<figure")[1:]]

    assert len(drawn) == 2
    for labels in drawn:
        scores = [label for label in labels if "." in label]
        assert len(scores) > 2
        assert len(set(scores)) == len(scores)
        assert all(re.search("[1-9]", label) for label in scores if float(label))
