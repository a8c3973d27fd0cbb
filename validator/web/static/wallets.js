// The reader's own wallets (EIP-1193): where they are, and how to ask one. What they answer is compared, never run.

const DECLINED = 4001,
  UNKNOWN_CHAIN = 4902;
const RECEIPT_EVERY = 1000,
  RECEIPT_TRIES = 600; // milliseconds; ten minutes in all

// Wallets announce themselves (EIP-6963); older ones are only found as window.ethereum.
const announced = [];
const watchers = [];

export const choices = () =>
  announced.length ? announced : window.ethereum ? [{ name: "wallet", provider: window.ethereum }] : [];

/** Calls `changed` whenever another wallet has announced itself. */
export function watch(changed) {
  watchers.push(changed);
}

window.addEventListener("eip6963:announceProvider", (event) => {
  const found = event.detail && event.detail.provider;
  if (!found || announced.some((known) => known.provider === found)) return;
  const name = String((event.detail.info && event.detail.info.name) || "wallet").slice(0, 40);
  announced.push({ name, provider: found });
  watchers.forEach((changed) => changed());
});
window.dispatchEvent(new Event("eip6963:requestProvider"));

/** Fills the panel's list of wallets; its label is shown only if there is a choice. Gives how many there are. */
export function offer(panel) {
  const select = panel.querySelector("select"),
    found = choices();
  select.closest("label").hidden = found.length < 2;
  select.replaceChildren(...found.map((wallet, index) => new Option(wallet.name, String(index))));
  return found.length;
}

/** A function that asks the wallet that is chosen in the panel. */
export function chosen(panel) {
  const { provider } = choices()[Number(panel.querySelector("select").value) || 0];
  return (method, params = []) => provider.request({ method, params });
}

export function say(panel, words, kind = "") {
  const status = panel.querySelector("[role=status]");
  status.textContent = words;
  status.className = kind;
}

/** The account to send from. */
export async function account(ask) {
  const [from] = await ask("eth_requestAccounts");
  if (!from) throw new Error("the wallet gave no account to send from");
  return from;
}

/** Has the wallet on the chain `wanted` (0x and hex digits), or throws. */
export async function onChain(ask, wanted) {
  if (BigInt(await ask("eth_chainId")) === BigInt(wanted)) return;
  await ask("wallet_switchEthereumChain", [{ chainId: wanted }]);
  if (BigInt(await ask("eth_chainId")) !== BigInt(wanted)) throw new Error("the wallet stayed on another chain");
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** Calls `ask` once a second until it gives something; undefined when `tries` are over. */
export async function until(ask, tries = RECEIPT_TRIES) {
  for (let left = tries; left > 0; left -= 1) {
    const found = await ask();
    if (found) return found;
    await pause(RECEIPT_EVERY);
  }
  return undefined;
}

/** The receipt of a transaction that succeeded. `failed`: what to say of one that did not. */
export async function mined(ask, hash, failed) {
  const receipt = await until(() => ask("eth_getTransactionReceipt", [hash]));
  if (!receipt) throw new Error(`transaction ${hash} is not mined yet; your wallet will tell when it is`);
  if (BigInt(receipt.status) !== 1n) throw new Error(failed);
  return receipt;
}

export function plainly(fault) {
  if (fault && fault.code === DECLINED) return "You declined; nothing was sent.";
  if (fault && fault.code === UNKNOWN_CHAIN)
    return "Your wallet does not know this chain: add it there, then try again.";
  return `That did not work: ${String((fault && fault.message) || fault).slice(0, 300)}`;
}
