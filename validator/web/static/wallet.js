// Hands a prepared contract call to the reader's own wallet (EIP-1193): to send it, as the claim of earnings, or only to
// ask it, as the check of a score. The page says everything without this file; it adds the buttons.
"use strict";

(() => {
  const panels = [...document.querySelectorAll("[data-wallet]")];
  if (!panels.length) return;

  // Wallets announce themselves (EIP-6963); older ones are only found as window.ethereum.
  const wallets = [];
  const DECLINED = 4001, UNKNOWN_CHAIN = 4902;
  const RECEIPT_EVERY = 1000, RECEIPT_TRIES = 600; // milliseconds; ten minutes in all

  const announced = (event) => {
    const found = event.detail && event.detail.provider;
    if (!found || wallets.some((known) => known.provider === found)) return;
    const name = String((event.detail.info && event.detail.info.name) || "wallet").slice(0, 40);
    wallets.push({ name, provider: found });
    panels.forEach(offer);
  };

  const choices = () =>
    wallets.length ? wallets : window.ethereum ? [{ name: "wallet", provider: window.ethereum }] : [];

  function offer(panel) {
    const button = panel.querySelector("button");
    const select = panel.querySelector("select");
    const found = choices();
    button.hidden = !found.length;
    select.closest("label").hidden = found.length < 2;
    select.replaceChildren(...found.map((wallet, index) => new Option(wallet.name, String(index))));
    if (!found.length) say(panel, "No wallet was found in this browser.");
    else if (!panel.dataset.busy) say(panel, "");
  }

  function say(panel, words, kind = "") {
    const status = panel.querySelector("[role=status]");
    status.textContent = words;
    status.className = kind;
  }

  const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

  async function onChain(ask, wanted) {
    if (BigInt(await ask("eth_chainId")) === BigInt(wanted)) return;
    await ask("wallet_switchEthereumChain", [{ chainId: wanted }]);
    if (BigInt(await ask("eth_chainId")) !== BigInt(wanted)) throw new Error("the wallet stayed on another chain");
  }

  async function send(panel, ask) {
    const { chain, to, data } = panel.dataset;
    const [from] = await ask("eth_requestAccounts");
    if (!from) throw new Error("the wallet gave no account to send from");
    await onChain(ask, chain);
    say(panel, "Confirm the transaction in your wallet.");
    const hash = await ask("eth_sendTransaction", [{ from, to, data }]);
    say(panel, `Sent as ${hash}. Waiting for it to be mined.`);
    for (let tries = 0; tries < RECEIPT_TRIES; tries += 1) {
      const receipt = await ask("eth_getTransactionReceipt", [hash]);
      if (receipt && BigInt(receipt.status) === 1n) {
        panel.querySelector("button").hidden = true;
        say(panel, `Done in block ${BigInt(receipt.blockNumber)}, by transaction ${hash}. Reload to see it here.`, "good");
        return true;
      }
      if (receipt) throw new Error("the transaction failed; perhaps somebody sent it before: reload this page");
      await pause(RECEIPT_EVERY);
    }
    throw new Error(`transaction ${hash} is not mined yet; your wallet will tell when it is`);
  }

  async function question(panel, ask) {
    const { chain, to, data } = panel.dataset;
    await onChain(ask, chain);
    const answer = await ask("eth_call", [{ to, data }, "latest"]);
    const yes = /^0x0*1$/.test(answer);
    say(panel, `Through your wallet, the contract answers ${yes ? "true" : "false"}.`, yes ? "good" : "bad");
  }

  function plainly(fault) {
    if (fault && fault.code === DECLINED) return "You declined; nothing was sent.";
    if (fault && fault.code === UNKNOWN_CHAIN) return "Your wallet does not know this chain: add it there, then try again.";
    return `That did not work: ${String((fault && fault.message) || fault).slice(0, 200)}`;
  }

  async function act(panel) {
    const button = panel.querySelector("button");
    const { provider } = choices()[Number(panel.querySelector("select").value) || 0];
    const ask = (method, params = []) => provider.request({ method, params });
    button.disabled = true;
    panel.dataset.busy = "yes";
    say(panel, "Your wallet is asked.");
    try {
      await (panel.dataset.wallet === "send" ? send : question)(panel, ask);
    } catch (fault) {
      say(panel, plainly(fault), "bad");
    } finally {
      button.disabled = false;
      delete panel.dataset.busy;
    }
  }

  for (const panel of panels) {
    panel.querySelector("button").addEventListener("click", () => act(panel));
    panel.hidden = false;
    offer(panel);
  }
  window.addEventListener("eip6963:announceProvider", announced);
  window.dispatchEvent(new Event("eip6963:requestProvider"));
})();
