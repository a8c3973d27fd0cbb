"""Contributing through the explorer, whole: a real Chromium with a wallet, a real anvil, a relay, and a validator that
opens and judges what came.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.faults.anvil import Anvil
from tests.support import World
from tests.web.chromium import DESK, PHONE, Browser, InjectedWallet, served
from validator.actions.contributor import latest_evidence
from validator.actions.convert import Options, convert
from validator.actions.home import write_config
from validator.chain.signer import LocalSigner
from validator.content import Cid
from validator.envelope import Context, open_envelope
from validator.payload import parse
from validator.rounds.types import Status
from validator.settings import load_settings
from validator.stages.documents import load_manifest
from validator.stages.node import Node
from validator.stages.open import payload_schema
from validator.stages.round import tick
from validator.web.app import make_app
from validator.web.held import HeldFiles
from validator.web.models import Relayed
from validator.web.relay import Relay, open_relay
from validator.web.source import Source

NAME = '"><img src=x onerror=alert(1)>.csv'
STEPS = ("file", "seal", "store", "submit", "follow")


@dataclass(frozen=True)
class Place:
    """A DAO on anvil whose round 1 takes two contributions, its validator, and the explorer with a relay."""

    world: World
    node: Node
    browser: Browser
    wallet: InjectedWallet
    signer: LocalSigner
    folder: Path

    def says(self, step: str) -> str:
        return self.browser.text(f"[data-step={step}] [role=status]")

    def click(self, step: str, selector: str = "button.act") -> None:
        button = self.browser.driver.find_element("css selector", f"[data-step={step}] {selector}")
        self.wallet.serve_until(button.is_enabled)
        self.browser.run("arguments[0].click()", button)

    def reaches(self, step: str, words: str) -> None:
        """Serve the wallet until a step says so."""
        self.wallet.serve_until(lambda: words in self.says(step))

    def shown(self) -> list[str]:
        hidden = "return document.querySelector(`[data-step=${arguments[0]}]`).hidden"
        return [step for step in STEPS if not self.browser.run(hidden, step)]

    def reads(self, path: Path, **options: str) -> None:
        self.browser.open("/contribute")
        self.browser.driver.find_element("id", "source").send_keys(str(path))
        for name, value in options.items():
            self.browser.run("document.getElementById(arguments[0]).value = arguments[1]", name, value)
        self.click("file")

    def sealed(self, path: Path, **options: str) -> None:
        self.reads(path, **options)
        self.reaches("file", "This is what will be sealed")
        self.click("seal")
        self.reaches("seal", "Sealed.")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("contribute")
    world = World(folder / "world", capacity=2, chain=Anvil(folder))
    node = world.node(world.names[0])
    world.play([node], lambda: bool(world.wallet.contracts.rounds.submission_terms()[0]))
    home = load_settings(folder / "explorer", relay=True)
    write_config(home, rpc=world.chain.url)
    source = Source(world.wallet)
    browser = Browser(folder / "chromium")
    browser.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder / "downloads"))
    signer = LocalSigner(secrets.token_bytes(32))
    world.pay(signer.address, 10**18)
    with served(make_app(source, relay=open_relay(source, home))) as url:
        browser.url = url
        browser.width(DESK)
        with InjectedWallet(browser, world.w3, signer).present() as wallet:
            yield Place(world, node, browser, wallet, signer, folder)
    browser.driver.quit()
    world.close()


@pytest.fixture(scope="module")
def table(place: Place) -> Path:
    """Digits as a table with a hostile name, a column too many, and a record that does not fit."""
    rules = load_manifest(place.world.wallet.store, place.world.wallet.contracts.dao.manifest(1))
    parsed = parse(place.world.payload(), "safetensors", payload_schema(rules))
    assert parsed.targets is not None
    text = io.StringIO()
    text.write("note," + ",".join(f"p{n}" for n in range(64)) + ",digit\n")
    for row, target in zip(parsed.arrays["inputs"], parsed.targets, strict=True):
        text.write(f'"a, b",{",".join(map(repr, row.tolist()))},{target}\n')
    text.write("x," + ",".join("0" * 64) + ",eleven\n")
    path = place.folder / NAME
    path.write_text(text.getvalue())
    return path


COLUMNS = ",".join(f"p{n}" for n in range(64))


def test_contribute__step_by_step_through_the_relay__the_validator_opens_the_command_s_bytes(
    place: Place, table: Path
) -> None:
    world, browser = place.world, place.browser
    place.reads(table, label="nothing")
    place.reaches("file", "Not this way: the table has no column 'nothing'")
    assert place.shown() == ["file"]
    place.sealed(table, label="digit", columns=COLUMNS)
    assert "Left out\n1: label 'eleven' is no number" in browser.text("[data-step=file] dl")
    assert NAME in browser.text("[data-step=file] dl")
    assert browser.run("return document.querySelectorAll('main img').length") == 0
    place.click("store", "[data-act=relay]")
    place.reaches("store", "This server's IPFS node holds it")
    browser.picture("contribute-submit-desk-light")
    place.wallet.serve_until(lambda: "coin at the price of now" in browser.text("[data-step=submit] dl"))
    place.wallet.declines = True
    place.click("submit")
    place.reaches("submit", "You declined; nothing was sent.")
    place.wallet.declines = False
    before = world.w3.eth.get_balance(place.signer.address)

    place.click("submit")
    place.reaches("follow", "It is in round 1")

    deposit = world.wallet.contracts.rounds.submission_terms()[2]
    assert before - world.w3.eth.get_balance(place.signer.address) >= deposit > 0
    assert browser.complaints() == []
    browser.driver.find_element("link text", "Contribution 1").click()
    assert place.signer.address.lower() in browser.text("main")
    submission = world.wallet.registry.contribution(1)
    assert submission.contributor.lower() == place.signer.address.lower()
    sealed = world.wallet.store.read(Cid.from_chain(submission.digest, submission.codec), submission.size)
    assert len(sealed) == submission.size
    rules = load_manifest(world.wallet.store, world.wallet.contracts.dao.manifest(1))
    wanted = convert(table, rules, Options(label="digit", columns=tuple(COLUMNS.split(",")))).payload
    context = Context(world.wallet.deployment.chain_id, world.wallet.deployment.rounds, 1, place.signer.address)
    tick(place.node)
    assert open_envelope(sealed, place.node.epoch_secrets[1], context, len(sealed)) == wanted


def test_contribute__through_one_s_own_node__the_cid_must_agree_and_the_round_judges_both(place: Place) -> None:
    world, browser, path = place.world, place.browser, place.folder / "mine.safetensors"
    path.write_bytes(world.payload())
    place.sealed(path)
    browser.driver.find_element("link text", "Download the sealed file").click()
    name = browser.text("[data-command]").split()[-1]
    assert browser.text("[data-command]").startswith("ipfs add --cid-version=1 --raw-leaves --chunker=size-1048576 ")
    browser.until(lambda: (place.folder / "downloads" / name).is_file())
    browser.driver.find_element("id", "cid").send_keys(str(Cid.of("raw", b"something else")))
    place.click("store", "[data-act=paste]")
    place.reaches("store", "Not this way: this is not the CID of your envelope")
    cid = str(world.wallet.store.put((place.folder / "downloads" / name).read_bytes()))
    assert name == f"{cid}.envelope"
    browser.driver.find_element("id", "cid").clear()
    browser.driver.find_element("id", "cid").send_keys(f" {cid} ")
    place.click("store", "[data-act=paste]")
    place.reaches("store", "Your node holds it under this CID")
    place.click("submit")
    place.reaches("follow", "It is in round 1")

    world.play([place.node], lambda: world.is_final(1))

    evidence = latest_evidence(world.facts(), world.wallet.store)
    assert evidence is not None
    judged = {line.id: line for line in evidence.contributions}
    assert judged.keys() == {1, 2}
    assert {line.status for line in judged.values()} <= {Status.PAID, Status.BELOW_NOISE}
    assert all(line.records > 0 for line in judged.values())
    browser.until(lambda: browser.open("/contributions/2") or "Why" in browser.text("main"))
    assert browser.complaints() == []


def test_contribute__a_wallet_whose_endpoint_knows_another_key__nothing_is_sealed(place: Place) -> None:
    path = place.folder / "mine.safetensors"
    path.write_bytes(place.world.payload())
    place.wallet.tells = "0x" + "11" * 32
    try:
        place.reads(path)
        place.reaches("file", "This is what will be sealed")
        place.click("seal")
        place.reaches("seal", "do not agree about the newest key epoch")
    finally:
        place.wallet.tells = None

    assert place.shown() == ["file", "seal"]
    assert place.browser.complaints() == []


def test_contribute__a_server_that_stores_something_else__is_found_out_and_nothing_is_submitted(place: Place) -> None:
    class Liar(Relay):
        def store(self, data: bytes | bytearray) -> Relayed:
            return Relayed(cid=str(Cid.of("raw", b"something else")), size=len(data))

    source = Source(place.world.wallet)
    held = HeldFiles(place.folder / "lies", place.world.wallet.store)
    honest = place.browser.url
    with served(make_app(source, relay=Liar(source, held, 1 << 20))) as url:
        place.browser.url = url
        place.sealed(place.folder / "mine.safetensors")
        place.click("store", "[data-act=relay]")
        place.reaches("store", "which is not that of your envelope")
        assert place.shown() == ["file", "seal", "store"]
    place.browser.url = honest


def test_contribute__an_account_without_coin__is_told_before_it_is_asked_to_sign(place: Place) -> None:
    rich, place.wallet.signer = place.wallet.signer, LocalSigner(secrets.token_bytes(32))
    try:
        place.sealed(place.folder / "mine.safetensors")
        place.click("store", "[data-act=relay]")
        place.reaches("submit", "It would be refused now.")
        sent = len(place.wallet.sent)
        place.click("submit")
        place.reaches("submit", "That did not work")
        assert len(place.wallet.sent) == sent
    finally:
        place.wallet.signer = rich


def test_contribute__another_choice_after_reading__what_was_read_is_put_away(place: Place) -> None:
    place.sealed(place.folder / "mine.safetensors")
    take = place.browser.driver.find_element("id", "take")
    place.browser.run("arguments[0].closest('details').open = true", take)
    take.send_keys("9")

    assert place.shown() == ["file"]
    place.click("file")
    place.reaches("file", "This is what will be sealed")
    assert "Records\n9" in place.browser.text("[data-step=file] dl")


def test_contribute__another_choice_while_a_large_file_is_read__the_page_answers(place: Place) -> None:
    columns = ",".join(f"p{n}" for n in range(64))
    large = place.folder / "large.csv"
    large.write_text(f"{columns},target\n" + (",".join("z" * 65) + "\n") * 200_000)

    place.reads(large)
    place.reaches("file", "The file is read")
    place.browser.run("document.getElementById('take').dispatchEvent(new Event('input'))")

    place.reaches("file", "another choice was made meanwhile")
    place.reads(place.folder / "mine.safetensors")
    place.reaches("file", "This is what will be sealed")


def test_contribute__arrays_packed_by_numpy__are_read_in_the_browser(place: Place) -> None:
    wide = place.folder / "arrays.npz"
    np.savez_compressed(wide, inputs=np.eye(64)[:20], targets=np.arange(20) % 10)

    place.reads(wide)

    place.reaches("file", "This is what will be sealed")
    assert "Records\n20\nClasses\n10 different" in place.browser.text("[data-step=file] dl")


def test_contribute__page__accessible_in_every_step_and_on_a_phone(place: Place, table: Path) -> None:
    browser = place.browser
    place.sealed(table, label="digit", columns=COLUMNS)
    place.click("store", "[data-act=relay]")
    place.reaches("store", "This server's IPFS node holds it")
    browser.run("for (const folded of document.querySelectorAll('details')) folded.open = true")
    faults = []
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        faults += browser.faults()
    browser.width(PHONE)
    browser.picture("contribute-phone-dark")
    browser.scheme("light")

    assert faults == []
    assert browser.sideways() <= 0
    assert browser.complaints() == []
    browser.width(DESK)


def test_contribute__by_keyboard_alone__comes_to_a_sealed_file(place: Place, table: Path) -> None:
    browser = place.browser
    browser.open("/contribute")
    browser.driver.find_element("id", "source").send_keys(str(place.folder / "mine.safetensors"))
    browser.run("document.getElementById('source').focus()")

    def press(key: str) -> None:
        ActionChains(browser.driver).send_keys(key).perform()

    def tab_to(words: str) -> None:
        for _ in range(12):
            press(Keys.TAB)
            if browser.driver.switch_to.active_element.text == words:
                return
        pytest.fail(f"no way to {words!r} by the tab key")

    tab_to("Read the file")
    press(Keys.ENTER)
    place.reaches("file", "This is what will be sealed")
    tab_to("Seal the file")
    press(Keys.SPACE)
    place.reaches("seal", "Sealed.")
    tab_to("Hand it to this server")
    assert browser.complaints() == []
