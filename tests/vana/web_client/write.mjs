// Encrypts as Vana's web client does: the file with openpgp to a password, the password with eccrypto to an account.
//
// In:  {"plain": hex, "password": text, "publicKey": hex, "compress": bool, "partial": bool, "keys": n, "stripped": bool}
// Out: {"file": hex, "keys": [hex, ...]}; with "stripped" only keys whose shared x begins with a zero byte.
import { createRequire } from "node:module";
import * as openpgp from "openpgp";

const require = createRequire(import.meta.url);
// The browser build: its derivation drops leading zero bytes of x.
const eccrypto = require("eccrypto/browser.js");
const { ec: Curve } = require("elliptic");
const curve = new Curve("secp256k1");

let text = "";
for await (const piece of process.stdin) text += piece;
const asked = JSON.parse(text);

const bytes = Uint8Array.from(Buffer.from(asked.plain, "hex"));
const binary = asked.partial
  ? new ReadableStream({ start(sink) { sink.enqueue(bytes); sink.close(); } })
  : bytes;
const config = asked.compress ? { preferredCompressionAlgorithm: openpgp.enums.compression.zlib } : {};
const written = await openpgp.encrypt({
  message: await openpgp.createMessage({ binary }),
  passwords: [asked.password],
  format: "binary",
  config,
});
const parts = [];
if (asked.partial) for await (const part of written) parts.push(Buffer.from(part));
else parts.push(Buffer.from(written));

const publicKey = Buffer.from(asked.publicKey, "hex");
const point = curve.keyFromPublic(publicKey).getPublic();
const keys = [];
let scalar = 0n;
while (keys.length < (asked.keys ?? 1)) {
  let ephemPrivateKey;
  if (asked.stripped) {
    // Looked for in order, so that the same one is found every time.
    do scalar += 1n;
    while (point.mul(scalar.toString(16)).getX().toArray("be", 32)[0] !== 0);
    ephemPrivateKey = Buffer.from(scalar.toString(16).padStart(64, "0"), "hex");
  }
  const sealed = await eccrypto.encrypt(publicKey, Buffer.from(asked.password), { ephemPrivateKey });
  keys.push(Buffer.concat([sealed.iv, sealed.ephemPublicKey, sealed.ciphertext, sealed.mac]).toString("hex"));
}
process.stdout.write(JSON.stringify({ file: Buffer.concat(parts).toString("hex"), keys }));
