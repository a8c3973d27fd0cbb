"""A real headless Chromium for the explorer's tests: pages, its console, pictures of it, and a wallet in it."""

from __future__ import annotations

import base64
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from web3 import Web3

from validator.chain.signer import LocalSigner
from validator.errors import ValidatorError
from validator.web.serve import listen, server

AXE = Path(__file__).parent / "axe/node_modules/axe-core/axe.min.js"
PICTURES = Path(".pictures/explorer")
WANTED = (
    "the tests of the pages need {}: run ./scripts/test web, or install Debian's packages chromium and chromium-driver"
)
# Nothing of Chromium itself may look for the network, and as root in a container it has no sandbox.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
)
PHONE, DESK = 360, 1280
SECONDS = 60.0


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """`app` on a port of its own; yields its address."""
    listener = listen("127.0.0.1", 0)
    running = server(app)
    thread = threading.Thread(target=running.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(10)
        listener.close()


class Browser:
    """One Chromium. `url`: of the explorer that paths are looked up at."""

    def __init__(self, profile: Path) -> None:
        program, chauffeur = shutil.which("chromium"), shutil.which("chromedriver")
        if program is None or chauffeur is None:
            raise RuntimeError(WANTED.format("Chromium and ChromeDriver"))
        if not AXE.is_file():
            raise RuntimeError(f"{AXE} is missing: run ./scripts/test web, or npm ci in {AXE.parents[2]}")
        options = Options()
        options.binary_location = program
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options, Service(chauffeur))
        self.url = ""

    def open(self, path: str) -> None:
        """Load a page of the explorer."""
        self.driver.get(self.url + path)

    def complaints(self) -> list[str]:
        """What the console got since it was last asked."""
        return [f"{entry['level']} {entry['message']}" for entry in self.driver.get_log("browser")]

    def run(self, script: str, *arguments: object) -> Any:
        """What a script in the page returns."""
        return self.driver.execute_script(script, *arguments)

    def cdp(self, command: str, **arguments: object) -> Any:
        """A command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(command, arguments)

    def width(self, pixels: int) -> None:
        """Give the page this width, as on a phone if it is narrow."""
        self.cdp(
            "Emulation.setDeviceMetricsOverride", width=pixels, height=800, deviceScaleFactor=1, mobile=pixels <= PHONE
        )

    def scheme(self, name: str) -> None:
        """Prefer the colours "light" or "dark"."""
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def faults(self, *rules: str) -> list[str]:
        """What axe holds against the page, serious or worse; `rules` to look at only some."""
        if not self.run("return typeof axe === 'object'"):
            self.driver.execute_script(AXE.read_text())
        only = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
        answer = self.driver.execute_async_script(
            "const done = arguments[1]; axe.run(document, arguments[0]).then(done, (e) => done({error: String(e)}))",
            {"resultTypes": ["violations"], **only},
        )
        assert "error" not in answer, answer["error"]
        return [
            f"{found['impact']} {found['id']}: {found['nodes'][0]['html'][:120]} {found['nodes'][0]['failureSummary']}"
            for found in answer["violations"]
            if found["impact"] in ("serious", "critical")
        ]

    def contrasts(self) -> list[tuple[float, str]]:
        """Contrast (WCAG 2.2) of every text in a table that scrolls, the worse of against bare paper and against
        the shade at the table's side at its darkest; each with the text. axe does not look through gradients.
        """
        found = self.run(f"return ({CONTRASTS})()")
        return [(float(ratio), str(words)) for ratio, words in found]

    def sideways(self) -> int:
        """By how many pixels the page is wider than its window."""
        return int(self.run("return document.documentElement.scrollWidth - window.innerWidth"))

    def picture(self, name: str) -> None:
        """Keep a picture of the whole page."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        shot = self.cdp("Page.captureScreenshot", captureBeyondViewport=True)
        (PICTURES / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))

    def text(self, selector: str) -> str:
        """The text of an element, as a reader sees it."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < deadline, "the page did not come to it in time"
            time.sleep(0.02)


CONTRASTS = """() => {
  const rgba = (text) => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((value) => value / 255);
  };
  const property = (name) => rgba(getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ratio = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const paper = property("--paper"), shade = over(property("--shade"), paper);
  const ends = (element) => {
    for (let at = element; !at.classList.contains("scroll"); at = at.parentElement) {
      const own = rgba(getComputedStyle(at).backgroundColor);
      if (own[3] === 1) return [own];
      if (own[3] > 0) return [over(own, paper), over(own, shade)];
    }
    return [paper, shade];
  };
  const found = [];
  for (const element of document.querySelectorAll(".scroll table *")) {
    const texts = [...element.childNodes].filter((node) => node.nodeType === 3);
    const words = texts.map((node) => node.data.trim()).join("");
    if (!words || !element.checkVisibility()) continue;
    const ink = rgba(getComputedStyle(element).color);
    const ratios = ends(element).map((ground) => ratio(over(ink, ground), ground));
    found.push([Math.min(...ratios), words.slice(0, 40)]);
  }
  return found;
}"""
"""canvas paints with premultiplied alpha: an 8-bit shade is read back to within 1/255 of its colour or so."""

# As wallets do: put into every page before its own scripts, announced by EIP-6963. What it is asked is answered from
# outside of the page, whose policy forbids all connections but to its own server.
INJECTED = """
(() => {
  const waiting = new Map();
  let last = 0;
  window.__asked = [];
  window.__answer = (id, result, fault) => {
    const [done, failed] = waiting.get(id);
    waiting.delete(id);
    fault ? failed(fault) : done(result);
  };
  const provider = { request: ({ method, params }) => new Promise((done, failed) => {
    waiting.set(++last, [done, failed]);
    window.__asked.push({ id: last, method, params });
  }) };
  const info = { uuid: "0", name: "Test <b>wallet</b>", icon: "data:,", rdns: "test" };
  const detail = Object.freeze({ info, provider });
  const announce = () => window.dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail }));
  window.addEventListener("eip6963:requestProvider", announce);
  announce();
})();
"""


class WalletFault(Exception):
    """What a wallet throws: a code of EIP-1193 and words."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


class InjectedWallet:
    """A wallet in the browser with a real key on a real chain; it confirms everything unless told to decline."""

    def __init__(self, browser: Browser, w3: Web3, signer: LocalSigner) -> None:
        self._browser, self._w3, self.signer = browser, w3, signer
        self.chain = hex(w3.eth.chain_id)
        self.declines = False
        self.tells: str | None = None  # to every eth_call, in place of the chain's answer
        self.asked: list[str] = []
        self.sent: list[dict[str, Any]] = []

    @contextmanager
    def present(self) -> Iterator[InjectedWallet]:
        """The wallet in every page that is loaded in here."""
        script = self._browser.cdp("Page.addScriptToEvaluateOnNewDocument", source=INJECTED)["identifier"]
        try:
            yield self
        finally:
            self._browser.cdp("Page.removeScriptToEvaluateOnNewDocument", identifier=script)

    def serve_until(self, holds: Callable[[], bool]) -> None:
        """Answer what the page asks until something holds."""

        def step() -> bool:
            for question in self._browser.run("return window.__asked.splice(0)"):
                self._answer(question)
            return holds()

        self._browser.until(step)

    def _answer(self, question: dict[str, Any]) -> None:
        result, fault = None, None
        self.asked.append(question["method"])
        try:
            result = self._do(question["method"], question["params"])
        except WalletFault as refused:
            fault = {"code": refused.code, "message": str(refused)}
        self._browser.run("window.__answer(...arguments)", question["id"], result, fault)

    def _do(self, method: str, params: list[Any]) -> Any:
        if method == "eth_requestAccounts":
            return [self.signer.address.lower()]
        if method == "eth_chainId":
            return self.chain
        if method == "wallet_switchEthereumChain":
            self.chain = params[0]["chainId"]
            return None
        if method == "eth_sendTransaction":
            if self.declines:
                raise WalletFault(4001, "User rejected the request.")
            return self._send(params[0])
        if method == "eth_call" and self.tells is not None:
            return self.tells
        if method in ("eth_call", "eth_estimateGas", "eth_gasPrice", "eth_getTransactionReceipt"):
            try:
                answer = json.loads(Web3.to_json(self._w3.provider.make_request(method, params)))
            except ValidatorError as fault:
                raise WalletFault(-32603, str(fault)) from None
            if "error" in answer:
                raise WalletFault(3, str(answer["error"]["message"]))
            return answer["result"]
        raise WalletFault(4200, f"this wallet has no {method}")

    def _send(self, wanted: dict[str, Any]) -> str:
        assert wanted["from"] == self.signer.address.lower()
        self.sent.append(wanted)
        eth, me = self._w3.eth, self.signer.address
        value = int(wanted.get("value", "0x0"), 16)
        call = {"from": me, "to": Web3.to_checksum_address(wanted["to"]), "data": wanted["data"], "value": value}
        transaction = {
            **call,
            "chainId": eth.chain_id,
            "nonce": eth.get_transaction_count(me),
            "gas": eth.estimate_gas(call) * 2,
            "maxFeePerGas": eth.gas_price * 2,
            "maxPriorityFeePerGas": 0,
            "type": 2,
        }
        return "0x" + bytes(eth.send_raw_transaction(self.signer.sign_transaction(transaction))).hex()
