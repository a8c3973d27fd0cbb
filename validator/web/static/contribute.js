// The page /contribute: a file becomes a payload, the payload an envelope, both in this browser; the envelope goes into
// IPFS, and the reader's wallet submits its CID. Of the file itself nothing leaves the browser.

import { fileCid } from "./cid.js";
import { Refused } from "./rules.js";
import { seal } from "./seal.js";
import { account, chosen, mined, offer, onChain, plainly, say, until, watch } from "./wallets.js";

const MOST_FILE = 512 * 2 ** 20;
const FOLLOW_TRIES = 1800; // seconds
const part = (name) => document.querySelector(`[data-step=${name}]`);
const field = (name) => document.querySelector(`#${name}`);
const steps = {
  file: part("file"),
  seal: part("seal"),
  store: part("store"),
  submit: part("submit"),
  follow: part("follow"),
};
const order = Object.values(steps);

// What was made so far: { payload, rules } after the file, { envelope, cid, from, terms } after sealing, { call } once it is
// in IPFS.
let made = {};
// Ends the reading that goes on.
let interrupt = () => {};

async function ask(path) {
  const response = await fetch(path, { headers: { accept: "application/json" }, cache: "no-store" });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

/** Shows the steps up to `step`, and folds what comes after: it was made of something else. */
function upTo(step) {
  order.forEach((one) => {
    one.hidden = order.indexOf(one) > order.indexOf(step);
  });
}

/** Runs what a button is for, one at a time; a fault is told in the step. */
function on(step, selector, act) {
  const button = step.querySelector(selector);
  button?.addEventListener("click", async () => {
    const buttons = [...document.querySelectorAll("[data-step] button")];
    buttons.forEach((one) => {
      one.disabled = true;
    });
    try {
      await act();
    } catch (fault) {
      say(step, fault instanceof Refused ? `Not this way: ${fault.message}.` : plainly(fault), "bad");
    } finally {
      buttons.forEach((one) => {
        one.disabled = false;
      });
    }
  });
}

/** A list of pairs, as text. */
function tell(step, pairs) {
  step.querySelector("dl").replaceChildren(
    ...pairs.map(([name, value]) => {
      const row = document.createElement("div"),
        term = document.createElement("dt"),
        words = document.createElement("dd");
      term.textContent = name;
      words.textContent = value;
      words.className = "whole";
      row.append(term, words);
      return row;
    }),
  );
}

const count = (number) => number.toLocaleString("en-US");
const listed = (id) =>
  field(id)
    .value.split(",")
    .map((name) => name.trim())
    .filter(Boolean);

function coin(wei) {
  const digits = BigInt(wei).toString().padStart(19, "0");
  return `${digits.slice(0, -18)}.${digits.slice(-18)}`.replace(/\.?0+$/, "");
}

// 1: the file

function options() {
  const classes = field("classes").value.trim()
    ? field("classes")
        .value.split(",")
        .map((name) => name.trim())
    : [];
  if (field("classes").value.startsWith("@"))
    throw new Refused("name the classes themselves: a file of names is for the command line");
  const whole = (id) => (field(id).value === "" ? undefined : Number(field(id).value));
  const chosenOnes = {
    label: field("label").value.trim(),
    columns: listed("columns"),
    classes,
    documents: field("documents").value,
  };
  const [skip, take] = [whole("skip") ?? 0, whole("take") ?? null];
  if (!Number.isSafeInteger(skip) || skip < 0 || (take !== null && !(Number.isSafeInteger(take) && take > 0))) {
    throw new Refused("skip and take are whole numbers; take at least one record");
  }
  return { ...chosenOnes, skip, take };
}

async function converted(file, rules, choices, changed) {
  const worker = new Worker(new URL("reader.js", import.meta.url), { type: "module" });
  const found = new Promise((resolve, reject) => {
    worker.onerror = () => reject(new Error("the file could not be read: reload the page"));
    worker.onmessage = ({ data: { done, refused, fault } }) => {
      if (done) resolve(done);
      else reject(refused === undefined ? new Error(fault) : new Refused(refused));
    };
  });
  worker.postMessage({ file, rules, options: choices });
  try {
    return await Promise.race([found, changed]);
  } finally {
    worker.terminate();
  }
}

async function readFile() {
  upTo(steps.file);
  steps.file.querySelector("dl").replaceChildren();
  made = {};
  const [file] = field("source").files;
  if (!file) throw new Refused("choose a file first");
  if (file.size > MOST_FILE)
    throw new Refused(`the file has ${count(file.size)} bytes: this page reads up to ${count(MOST_FILE)}`);
  say(steps.file, "The file is read.");
  const choices = options();
  const changed = new Promise((_, reject) => {
    interrupt = () => reject(new Refused("another choice was made meanwhile, read the file again"));
  });
  changed.catch(() => {}); // once all is read, nobody listens
  const terms = await Promise.race([ask("/api/terms"), changed]);
  if (!terms.rules) throw new Error(terms.fault ?? terms.not_now ?? "the DAO's rules are not to be had");
  const done = await converted(file, terms.rules, choices, changed);
  made = { payload: done.payload, rules: JSON.stringify(terms.rules) };
  tell(steps.file, [
    ["File", file.name],
    ["Records", count(done.records)],
    done.tokens
      ? ["Tokens", `${count(done.tokens)}, ${count(done.classes)} different`]
      : ["Classes", `${count(done.classes)} different`],
    ["Payload", `${count(done.payload.length)} bytes, before sealing`],
    ...(done.repeats
      ? [["Repeats", `${count(done.repeats)} records equal an earlier one of this file; they earn nothing`]]
      : []),
    ...[...done.dropped].map(([reason, places]) => [
      "Left out",
      `${count(places.length)}: ${reason} (${places.slice(0, 3).join(", ")}${places.length > 3 ? ", …" : ""})`,
    ]),
  ]);
  say(steps.file, "This is what will be sealed. Nothing has left your browser.", "good");
  upTo(steps.seal);
  showWallets();
}

// 2: the envelope

function showWallets() {
  const found = offer(steps.seal);
  steps.seal.querySelector("button").hidden = !found;
  if (!found)
    say(steps.seal, "No wallet was found in this browser. You need one, or validator contribute in a terminal.");
  else if (!made.envelope) say(steps.seal, "");
}

/** Puts this server's questions to the wallet's own endpoint. A different answer is not sealed to. */
async function checked(wallet, terms) {
  for (const { about, call, answer } of terms.questions) {
    const heard = await wallet("eth_call", [{ to: call.to, data: call.data }, "latest"]);
    if (String(heard).toLowerCase() !== answer.toLowerCase()) {
      throw new Error(
        `your wallet's endpoint and this server do not agree about ${about}: reload the page; if it stays so, do not send anything here`,
      );
    }
  }
}

async function sealFile() {
  upTo(steps.seal);
  const wallet = chosen(steps.seal);
  say(steps.seal, "Your wallet is asked.");
  const from = await account(wallet);
  const terms = await ask("/api/terms");
  if (terms.not_now) throw new Error(`nothing would be accepted now: ${terms.not_now}`);
  if (JSON.stringify(terms.rules) !== made.rules)
    throw new Error("a round with other rules has opened meanwhile: read the file again");
  await onChain(wallet, `0x${terms.chain_id.toString(16)}`);
  await checked(wallet, terms);
  const key = Uint8Array.from(terms.key.slice(2).match(/../g), (byte) => parseInt(byte, 16));
  const { chain_id, contract, key_epoch } = terms;
  const envelope = await seal(made.payload, [key], { chain_id, contract, key_epoch, contributor: from });
  const most = terms.rules.limits.envelope_bytes;
  if (envelope.size > most)
    throw new Refused(
      `sealed, the payload takes ${count(envelope.size)} bytes, ${count(most)} are accepted: leave records out`,
    );
  const cid = await fileCid(envelope);
  made = { ...made, envelope, cid, from, terms };
  tell(steps.seal, [
    ["Contributor", from],
    ["Sealed", `${count(envelope.size)} bytes, for key epoch ${key_epoch}`],
    ["Key", `${terms.key}, as your wallet's endpoint says too`],
    ["CID", cid.text],
  ]);
  say(
    steps.seal,
    "Sealed. Only who holds the secret of this key epoch can open it; nothing has left your browser yet.",
    "good",
  );
  showStore();
  upTo(steps.store);
}

// 3: into IPFS

function showStore() {
  const link = steps.store.querySelector("a[download]"),
    name = `${made.cid.text}.envelope`;
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(made.envelope);
  link.download = name;
  steps.store.querySelector("[data-command]").textContent =
    `ipfs add --cid-version=1 --raw-leaves --chunker=size-1048576 --max-file-links=1024 ${name}`;
  field("cid").value = "";
  say(steps.store, "");
}

async function relay() {
  say(steps.store, "The sealed file is handed to this server.");
  const headers = { "content-type": "application/octet-stream", accept: "application/json" };
  const response = await fetch(steps.store.dataset.relay, { method: "POST", headers, body: made.envelope });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  // It may store what it likes; what is submitted is what was sealed here.
  if (answer.cid !== made.cid.text)
    throw new Error(
      `this server answers with the CID ${answer.cid}, which is not that of your envelope: add the file yourself`,
    );
  await stored("This server's IPFS node holds it, under the CID that was computed here.");
}

async function pasted() {
  const text = field("cid").value.trim();
  if (!text) throw new Refused("paste the CID that your node printed");
  if (text !== made.cid.text)
    throw new Refused(
      `this is not the CID of your envelope, ${made.cid.text}: add the file with exactly these options`,
    );
  await stored("Your node holds it under this CID. Keep it reachable until the round has judged it.");
}

async function stored(words) {
  say(steps.store, words, "good");
  const { terms, envelope, cid } = made;
  const word = (value) => BigInt(value).toString(16).padStart(64, "0");
  const data = `${terms.submit}${cid.digest.slice(2)}${word(cid.codec)}${word(envelope.size)}${word(terms.key_epoch)}`;
  made = {
    ...made,
    call: { from: made.from, to: terms.registry, data, value: `0x${BigInt(terms.deposit).toString(16)}` },
  };
  tell(steps.submit, [
    ["Round", String(terms.round)],
    ["Deposit", `${coin(terms.deposit)} coin; it comes back unless the data are refused`],
    ["Gas", "as your wallet shows it"],
    ["To", `${terms.registry}, the DAO's ContributionRegistry, on chain ${terms.chain_id}`],
    ["Call", `submit(digest, codec, size, keyEpoch): ${data}`],
  ]);
  steps.submit.querySelector("button").hidden = false;
  say(steps.submit, "");
  upTo(steps.submit);
  await price(chosen(steps.seal), made.call).catch((fault) =>
    say(steps.submit, `It would be refused now. ${plainly(fault)}`, "bad"),
  );
}

// 4: on chain

async function submit() {
  const { terms, call } = made,
    wallet = chosen(steps.seal);
  say(steps.submit, "Your wallet is asked.");
  if ((await account(wallet)).toLowerCase() !== made.from.toLowerCase())
    throw new Error(
      `the envelope is sealed in the name of ${made.from}: choose that account in your wallet, or seal again`,
    );
  await onChain(wallet, `0x${terms.chain_id.toString(16)}`);
  const fresh = await ask("/api/terms");
  if (fresh.not_now) throw new Error(`nothing would be accepted now: ${fresh.not_now}`);
  if (fresh.key_epoch !== terms.key_epoch || fresh.deposit !== terms.deposit)
    throw new Error("the key or the deposit has changed meanwhile: seal again");
  await price(wallet, call);
  say(steps.submit, "Confirm the transaction in your wallet.");
  const hash = await wallet("eth_sendTransaction", [call]);
  say(steps.submit, `Sent as ${hash}. Waiting for it to be mined.`);
  const receipt = await mined(wallet, hash, "the transaction failed; perhaps the round closed in between: try again");
  const event = receipt.logs.find(
    ({ address, topics }) => address.toLowerCase() === terms.registry && topics[0] === terms.submitted,
  );
  if (!event) throw new Error(`transaction ${hash} submitted nothing: look at it in your wallet`);
  say(steps.submit, `Submitted in block ${BigInt(receipt.blockNumber)}, by transaction ${hash}.`, "good");
  steps.submit.querySelector("button").hidden = true;
  upTo(steps.follow);
  await follow(BigInt(event.topics[1]));
}

/** What the gas comes to, as the wallet's endpoint has it; a call that would be refused is told before it costs anything. */
async function price(wallet, call) {
  const gas = BigInt(await wallet("eth_estimateGas", [call]));
  const each = BigInt(await wallet("eth_gasPrice"));
  const row = [...steps.submit.querySelectorAll("dl > div")].find((one) => one.firstChild.textContent === "Gas");
  row.lastChild.textContent = `about ${gas.toLocaleString("en-US")}, which is ${coin(gas * each)} coin at the price of now`;
}

// 5: what becomes of it

async function follow(id) {
  const link = steps.follow.querySelector("a");
  link.textContent = `Contribution ${id}`;
  link.href = `/contributions/${id}`;
  say(steps.follow, `It is contribution ${id}. The explorer shows it once its block is final.`);
  // A server that does not answer for a moment is asked again: what was submitted stays submitted.
  const isFinal = await until(
    () =>
      ask("/api/terms").then(
        ({ latest }) => latest >= id,
        () => false,
      ),
    FOLLOW_TRIES,
  );
  if (!isFinal) {
    say(steps.follow, `It is contribution ${id}; its block is not final yet. Its page will be there once it is.`);
    return;
  }
  const found = await ask(`/api/contributions/${id}`);
  link.hidden = false;
  const where =
    found.round === null ? "It waits for a round to open." : `It is in round ${found.round}, which is ${found.phase}.`;
  say(
    steps.follow,
    `${where} ${found.status ? `${found.words}.` : "It has no score yet; its page tells how it goes on."}`,
    "good",
  );
}

on(steps.file, "button", readFile);
on(steps.seal, "button", sealFile);
on(steps.store, "[data-act=relay]", relay);
on(steps.store, "[data-act=paste]", pasted);
on(steps.submit, "button", submit);
// What was read before is no longer what is chosen.
for (const name of ["source", "label", "columns", "classes", "documents", "skip", "take"]) {
  field(name).addEventListener("input", () => {
    upTo(steps.file);
    say(steps.file, "");
    interrupt();
  });
}
document.querySelector("#contribute").hidden = false;
upTo(steps.file);
watch(showWallets);
