// Hands a prepared contract call to the reader's own wallet: to send it, as the claim of earnings, or only to ask it, as
// the check of a score. The page says everything without this file; it adds the buttons.

import { account, chosen, mined, offer, onChain, plainly, say, watch } from "./wallets.js";

const panels = [...document.querySelectorAll("[data-wallet]")];

function show(panel) {
  const found = offer(panel);
  panel.querySelector("button").hidden = !found;
  if (!found) say(panel, "No wallet was found in this browser.");
  else if (!panel.dataset.busy) say(panel, "");
}

async function send(panel, ask) {
  const { chain, to, data } = panel.dataset;
  const from = await account(ask);
  await onChain(ask, chain);
  say(panel, "Confirm the transaction in your wallet.");
  const hash = await ask("eth_sendTransaction", [{ from, to, data }]);
  say(panel, `Sent as ${hash}. Waiting for it to be mined.`);
  const receipt = await mined(ask, hash, "the transaction failed; perhaps somebody sent it before: reload this page");
  panel.querySelector("button").hidden = true;
  say(panel, `Done in block ${BigInt(receipt.blockNumber)}, by transaction ${hash}. Reload to see it here.`, "good");
}

async function question(panel, ask) {
  const { chain, to, data } = panel.dataset;
  await onChain(ask, chain);
  const answer = await ask("eth_call", [{ to, data }, "latest"]);
  const yes = /^0x0*1$/.test(answer);
  say(panel, `Through your wallet, the contract answers ${yes ? "true" : "false"}.`, yes ? "good" : "bad");
}

async function act(panel) {
  const button = panel.querySelector("button"),
    ask = chosen(panel);
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
  show(panel);
}
watch(() => panels.forEach(show));
