// Envelope v1, sealed where the data are: in a browser, with WebCrypto alone (docs/protocol.md, "Envelope v1").
//
//   import { seal } from "/static/seal.js";
//   const envelope = await seal(file, [daoKey], { chain_id, contract, contributor, key_epoch });   // a Blob
//
// `file` is a Blob or a Uint8Array, read chunk by chunk; keys are Uint8Arrays of 32 bytes. There is no way back from
// here: nothing in this module opens an envelope. Needs X25519 in WebCrypto (Chrome 133, Firefox 130, Safari 17, Node 20).

const MAGIC = bytes("poc-envelope/1\n");
const CHUNK = 65536;
const MOST_RECIPIENTS = 1024;
const MOST_CHUNKS = 2 ** 32;
const KEM = new Uint8Array([...bytes("KEM"), 0x00, 0x20]); // DHKEM(X25519, HKDF-SHA256)
const HPKE = new Uint8Array([...bytes("HPKE"), 0x00, 0x20, 0x00, 0x01, 0x00, 0x02]); // with HKDF-SHA256, AES-256-GCM
const NOTHING = new Uint8Array(0);

/** The envelope as a Blob. Throws an Error in plain words for a key or a context that cannot be used. */
export async function seal(data, recipients, context) {
  const parts = [];
  for await (const part of sealParts(data, recipients, context)) parts.push(part);
  return new Blob(parts);
}

/** The same piece by piece: the head, then one sealed chunk after another, in constant memory. */
export async function* sealParts(data, recipients, context) {
  const dek = crypto.getRandomValues(new Uint8Array(32));
  yield* sealWith(data, recipients, context, dek, () => crypto.subtle.generateKey({ name: "X25519" }, true, ["deriveBits"]));
}

/** With a given DEK and given ephemeral keys: for test vectors only. A DEK that is used twice protects nothing. */
export async function* sealWith(data, recipients, context, dek, ephemeral) {
  const blob = data instanceof Blob ? data : new Blob([data]);
  const chunks = Math.max(1, Math.ceil(blob.size / CHUNK));
  if (chunks > MOST_CHUNKS) throw new Error("the data are too large for one envelope");
  const fields = checkedContext(context);
  const info = join(MAGIC.subarray(0, -1), bytes(" dek\n"), bytes(JSON.stringify(fields)));
  const keys = await derive(dek, info);
  const header = bytes(JSON.stringify({
    commitment: hex(keys.commitment),
    context: fields,
    recipients: await wrapAll(dek, recipients, info, ephemeral),
    suite: 1,
  }));
  const head = join(MAGIC, number(header.length, 4), header);
  const aad = await sha256(head);
  yield head;
  for (let counter = 0; counter < chunks; counter++) {
    const piece = await blob.slice(counter * CHUNK, (counter + 1) * CHUNK).arrayBuffer();
    const last = counter === chunks - 1 ? 1 : 0;
    yield encrypt(keys.chunk, join(keys.prefix, number(counter, 4), [last]), aad, piece);
  }
}

function checkedContext({ chain_id, contract, contributor, key_epoch }) {
  const within = (value, most) => Number.isSafeInteger(value) && value >= 1 && value <= most;
  if (!within(chain_id, Number.MAX_SAFE_INTEGER)) throw new Error("the chain id must be an integer from 1 to 2**53 - 1");
  if (!within(key_epoch, 2 ** 32 - 1)) throw new Error("the key epoch must be an integer from 1 to 2**32 - 1");
  // In this order, which is that of canonical JSON.
  return { chain_id, contract: address(contract), contributor: address(contributor), key_epoch };
}

function address(text) {
  if (typeof text !== "string" || !/^0x[0-9a-f]{40}$/i.test(text)) throw new Error("an address is 0x and 40 hexadecimal digits");
  return text.toLowerCase();
}

async function wrapAll(dek, recipients, info, ephemeral) {
  const distinct = new Set(recipients.map(hex));
  if (distinct.size < 1 || distinct.size > MOST_RECIPIENTS || distinct.size !== recipients.length) {
    throw new Error(`an envelope is sealed for 1 to ${MOST_RECIPIENTS} different keys, not for ${recipients.length}`);
  }
  const wrapped = [];
  for (const [index, recipient] of recipients.entries()) {
    if (recipient.length !== 32) throw new Error("an X25519 public key has 32 bytes");
    const kid = (await sha256(join(MAGIC.subarray(0, -1), bytes(" kid\n"), recipient))).subarray(0, 16);
    wrapped.push({ kid: hex(kid), wrap: hex(await hpkeSeal(recipient, info, dek, await ephemeral(index))) });
  }
  return wrapped;
}

// HPKE (RFC 9180), base mode, single shot, empty AAD: the encapsulated key, then the sealed plaintext.
async function hpkeSeal(recipient, info, plaintext, ephemeral) {
  const enc = new Uint8Array(await crypto.subtle.exportKey("raw", ephemeral.publicKey));
  const shared = await encapsulate(recipient, enc, ephemeral.privateKey);
  const context = join(
    [0],
    await labeledExtract(HPKE, NOTHING, "psk_id_hash", NOTHING),
    await labeledExtract(HPKE, NOTHING, "info_hash", info),
  );
  const secret = await labeledExtract(HPKE, shared, "secret", NOTHING);
  const key = await labeledExpand(HPKE, secret, "key", context, 32);
  const nonce = await labeledExpand(HPKE, secret, "base_nonce", context, 12);
  return join(enc, await encrypt(key, nonce, NOTHING, plaintext));
}

async function encapsulate(recipient, enc, privateKey) {
  let dh;
  try {
    const publicKey = await crypto.subtle.importKey("raw", recipient, { name: "X25519" }, false, []);
    dh = new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: publicKey }, privateKey, 256));
  } catch {
    dh = NOTHING;
  }
  // A point of small order gives zeros to everyone (RFC 7748, section 6.1).
  if (dh.every((byte) => byte === 0)) throw new Error("this is no X25519 public key: ask its owner for the right one");
  const prk = await labeledExtract(KEM, NOTHING, "eae_prk", dh);
  return labeledExpand(KEM, prk, "shared_secret", join(enc, recipient), 32);
}

function labeledExtract(suite, salt, label, ikm) {
  return extract(salt, join(bytes("HPKE-v1"), suite, bytes(label), ikm));
}

function labeledExpand(suite, prk, label, info, length) {
  return expand(prk, join(number(length, 2), bytes("HPKE-v1"), suite, bytes(label), info), length);
}

async function derive(dek, info) {
  const prk = await extract(await sha256(info), dek);
  const one = (label, length) => expand(prk, bytes(label), length);
  return { chunk: await one("chunk", 32), prefix: await one("nonce", 7), commitment: await one("commit", 32) };
}

// HKDF-SHA256 (RFC 5869). Expand for at most one block, which is all that is needed here.
function extract(salt, ikm) {
  return hmac(salt.length ? salt : new Uint8Array(32), ikm);
}

async function expand(prk, info, length) {
  return (await hmac(prk, join(info, [1]))).subarray(0, length);
}

async function hmac(key, data) {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, data));
}

async function encrypt(key, iv, additionalData, data) {
  const imported = await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["encrypt"]);
  return new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData, tagLength: 128 }, imported, data));
}

async function sha256(data) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data));
}

function bytes(text) {
  return new TextEncoder().encode(text);
}

function number(value, size) {
  return Uint8Array.from({ length: size }, (_, index) => Math.floor(value / 256 ** (size - 1 - index)) % 256);
}

function join(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function hex(data) {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
