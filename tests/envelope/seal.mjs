// Runs validator/web/static/seal.js in Node's WebCrypto: one JSON request on standard input, one JSON answer.
// {"plaintext_size", "recipients": [hex], "context", "dek"?: hex, "ephemerals"?: [hex]}; byte n is 7 * n mod 251.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { seal, sealWith } = await import(pathToFileURL(process.argv[2]).href);
const request = JSON.parse(readFileSync(0, "utf8"));
const fromHex = (text) => Uint8Array.from(Buffer.from(text, "hex"));
const plaintext = Uint8Array.from({ length: request.plaintext_size }, (_, n) => (n * 7) % 251);
const recipients = request.recipients.map(fromHex);

async function pair(secret) {
  const pkcs8 = Buffer.concat([Buffer.from("302e020100300506032b656e04220420", "hex"), Buffer.from(secret, "hex")]);
  const privateKey = await crypto.subtle.importKey("pkcs8", pkcs8, { name: "X25519" }, true, ["deriveBits"]);
  const { x } = await crypto.subtle.exportKey("jwk", privateKey);
  const raw = Buffer.from(x, "base64url");
  return { privateKey, publicKey: await crypto.subtle.importKey("raw", raw, { name: "X25519" }, true, []) };
}

async function answer() {
  try {
    let blob;
    if (request.dek) {
      const parts = [];
      const ephemeral = (index) => pair(request.ephemerals[index]);
      for await (const part of sealWith(plaintext, recipients, request.context, fromHex(request.dek), ephemeral)) {
        parts.push(part);
      }
      blob = new Blob(parts);
    } else {
      blob = await seal(request.as_blob ? new Blob([plaintext]) : plaintext, recipients, request.context);
    }
    return { sealed: Buffer.from(await blob.arrayBuffer()).toString("hex") };
  } catch (error) {
    return { error: error.message };
  }
}

process.stdout.write(JSON.stringify(await answer()));
