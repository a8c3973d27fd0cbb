"""The explorer in a real Chromium: a silent console, no accessibility fault, a phone's width, and a wallet."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from selenium.webdriver.common.keys import Keys

from tests.web.big import ByCid, big_round
from tests.web.chromium import DESK, PHONE, Browser, InjectedWallet, served
from tests.web.conftest import Played, earned
from validator.chain.signer import LocalSigner
from validator.web.app import make_app
from validator.web.source import Source

PAGES = {
    "rounds": "/",
    "round-final": "/rounds/1",
    "round-open": "/rounds/2",
    "contribution-paid": "/contributions/1",
    "contribution-refused": "/contributions/5",
    "contribution-waiting": "/contributions/6",
    "contributor": "/contributors/DUE",
    "validators": "/validators",
    "manifest": "/manifest?version=1",
}


@pytest.fixture(scope="module")
def browser(app: FastAPI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    try:
        chromium = Browser(tmp_path_factory.mktemp("chromium"))
    except RuntimeError as missing:
        pytest.fail(str(missing), pytrace=False)
    with served(app) as url:
        chromium.url = url
        yield chromium
    chromium.driver.quit()


@pytest.fixture(scope="module")
def due(played: Played) -> str:
    """A contributor who has not claimed."""
    unpaid = [a for a in played.contributors[:3] if a != played.claimed[0] and earned(played.world, a)]
    return unpaid[-1]


@pytest.fixture
def wallet(browser: Browser, played: Played) -> Iterator[InjectedWallet]:
    """A stranger's wallet with coin for gas."""
    signer = LocalSigner(secrets.token_bytes(32))
    played.world.pay(signer.address, 10**17)
    browser.width(DESK)
    with InjectedWallet(browser, played.world.w3, signer).present() as held:
        yield held


@pytest.mark.parametrize("name", PAGES)
def test_page__in_chromium__no_complaint_no_fault_and_a_phone_holds_it(browser: Browser, due: str, name: str) -> None:
    browser.width(DESK)
    browser.scheme("light")
    browser.open(PAGES[name].replace("DUE", due))
    browser.picture(f"{name}-desk-light")
    browser.run("for (const folded of document.querySelectorAll('details')) folded.open = true")
    faults = browser.faults()
    browser.scheme("dark")
    faults += browser.faults("color-contrast")
    browser.width(PHONE)
    browser.picture(f"{name}-phone-dark")

    assert faults == []
    assert browser.sideways() <= 0
    assert browser.complaints() == []


def test_page__that_is_not_there__holds_too_and_the_console_knows_of_nothing_else(browser: Browser) -> None:
    browser.width(PHONE)
    browser.scheme("light")
    browser.open("/rounds/99")
    browser.picture("problem-phone-light")

    assert browser.faults() == []
    assert browser.sideways() <= 0
    assert ["404" in complaint for complaint in browser.complaints()] == [True]


def test_round__hostile_reasons_and_addresses__are_text_and_the_distribution_is_drawn(
    browser: Browser, played: Played, tmp_path: Path
) -> None:
    browser.width(DESK)
    browser.scheme("light")
    with served(make_app(Source(big_round(played, ByCid(tmp_path), 40)))) as url:
        browser.driver.get(f"{url}/rounds/1")
        browser.picture("round-hostile")

        assert browser.run("return document.scripts.length") == 0
        assert "<script>alert(1)</script>" in browser.text("main")
        assert "How many of 40 scored contributions" in browser.run(
            "return document.querySelector('figure').textContent"
        )
        assert browser.faults() == []
        browser.width(PHONE)
        assert browser.sideways() <= 0
        assert browser.complaints() == []


LEAST_CONTRAST = 4.5
"""WCAG 2.2, 1.4.3, for text of the size of tables."""


@pytest.mark.parametrize("path", ["/", "/rounds/1", "/contributors/DUE", "/validators"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_table__under_the_shade_at_its_side__text_keeps_its_contrast(
    browser: Browser, due: str, path: str, scheme: str
) -> None:
    browser.width(PHONE)
    browser.scheme(scheme)
    browser.open(path.replace("DUE", due))

    found = browser.contrasts()

    assert len(found) > 5
    assert [(ratio, words) for ratio, words in found if ratio < LEAST_CONTRAST] == []


def test_table__a_shade_that_is_too_dark__would_be_noticed(browser: Browser) -> None:
    browser.scheme("light")
    browser.open("/rounds/1")
    browser.run("document.documentElement.style.setProperty('--shade', '#1c2024a0')")

    assert min(browser.contrasts())[0] < LEAST_CONTRAST
    browser.complaints()


def test_keyboard__first_tab__skips_to_the_content(browser: Browser) -> None:
    browser.width(DESK)
    browser.open("/rounds/1")
    body = browser.driver.find_element("tag name", "body")
    body.send_keys(Keys.TAB)
    focused = browser.driver.switch_to.active_element

    assert focused.text == "Skip to the content"
    assert focused.rect["x"] >= 0
    focused.send_keys(Keys.ENTER)
    assert browser.driver.current_url.endswith("#main")


def test_claim__no_wallet__says_so_and_offers_the_command(browser: Browser, due: str) -> None:
    browser.open(f"/contributors/{due}")

    assert browser.text(".wallet [role=status]") == "No wallet was found in this browser."
    assert not browser.run("return document.querySelector('.wallet button').checkVisibility()")
    assert f"validator claim {due}" in browser.text("main")


def test_claim__wallet_on_another_chain__is_asked_to_switch_then_pays_the_contributor(
    browser: Browser, wallet: InjectedWallet, played: Played, due: str
) -> None:
    pool, token = played.view.contracts.pool, played.view.token(played.view.deployment.reward_token)
    owed, before = earned(played.world, due), token.balance_of(_checksummed(due))
    browser.open(f"/contributors/{due}")
    button = browser.driver.find_element("css selector", ".wallet button")

    def says(words: str) -> bool:
        return browser.text(".wallet [role=status]").startswith(words)

    wallet.declines = True
    button.click()
    wallet.serve_until(lambda: says("You declined"))
    assert pool.claimed(_checksummed(due)) == 0

    wallet.declines, wallet.chain = False, "0x1"
    button.click()
    wallet.serve_until(lambda: says("Done in block"))

    assert "wallet_switchEthereumChain" in wallet.asked
    assert wallet.sent[-1]["to"] == played.view.deployment.pool.lower()
    assert pool.claimed(_checksummed(due)) == owed
    assert token.balance_of(_checksummed(due)) == before + owed
    browser.picture("claim-done")
    browser.until(lambda: browser.open(f"/contributors/{due}") or "Due\n0 RWD" in browser.text(".cards"))
    assert not browser.driver.find_elements("css selector", ".wallet")
    assert browser.complaints() == []


def test_contribution__asked_through_the_reader_s_wallet__the_contract_answers(
    browser: Browser, wallet: InjectedWallet
) -> None:
    browser.open("/contributions/1")
    browser.driver.find_element("css selector", ".wallet button").click()
    wallet.serve_until(lambda: browser.text(".wallet [role=status]") != "Your wallet is asked.")

    assert browser.text(".wallet [role=status]") == "Through your wallet, the contract answers true."
    assert wallet.asked == ["eth_chainId", "eth_call"]
    assert browser.complaints() == []


def _checksummed(address: str) -> str:
    from eth_utils.address import to_checksum_address

    return str(to_checksum_address(address))
