// The CID of a file as this project and `ipfs add` make it, computed where the file is: chunks of 1 MiB as raw leaves,
// nodes of 1024 links (validator/content/unixfs.py, profile unixfs-v1-2025). Needs WebCrypto for SHA-256, nothing else.
//
//   import { fileCid } from "/static/cid.js";
//   const { text, digest, codec } = await fileCid(blob);   // "bafy…", 0x and 64 hex digits, 0 raw or 1 dag-pb

const CHUNK = 1 << 20;
const WIDTH = 1024;
const CODES = [0x55, 0x70]; // raw, dag-pb: the order is that of the codec byte of ContributionRegistry
const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";

/** Root of `blob` as CIDv1, read a chunk at a time. `width`: links a node; tests make small trees with it. */
export async function fileCid(blob, chunk = CHUNK, width = WIDTH) {
  let row = [];
  for (let start = 0; start < Math.max(blob.size, 1); start += chunk) {
    const leaf = await blob.slice(start, start + chunk).arrayBuffer();
    row.push({ cid: await cidOf(0, leaf), size: leaf.byteLength, total: leaf.byteLength });
  }
  let codec = 0;
  while (row.length > 1) {
    // A last row of one child still becomes a node of its own: that is what `ipfs add` does.
    codec = 1;
    const above = [];
    for (let at = 0; at < row.length; at += width) above.push(await node(row.slice(at, at + width)));
    row = above;
  }
  const binary = row[0].cid;
  return { text: "b" + base32(binary), digest: "0x" + hex(binary.subarray(4)), codec };
}

// One dag-pb block over its children: the links, then a UnixFS file without bytes of its own.
async function node(parts) {
  const sum = (name) => parts.reduce((whole, part) => whole + part[name], 0);
  const links = parts.map(({ cid, total }) =>
    field(0x12, [0x0a, ...varint(cid.length), ...cid, 0x12, 0x00, 0x18, ...varint(total)]),
  );
  const meta = [0x08, 0x02, 0x18, ...varint(sum("size")), ...parts.flatMap(({ size }) => [0x20, ...varint(size)])];
  const data = Uint8Array.from([...links.flat(), ...field(0x0a, meta)]);
  return { cid: await cidOf(1, data), size: sum("size"), total: sum("total") + data.length };
}

const field = (key, body) => [key, ...varint(body.length), ...body];

// Sizes go beyond 32 bits, so no shifts.
function varint(value) {
  const out = [];
  for (; value > 0x7f; value = Math.floor(value / 128)) out.push((value % 128) + 128);
  return [...out, value];
}

async function cidOf(codec, data) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return Uint8Array.from([1, CODES[codec], 0x12, 0x20, ...digest]);
}

function base32(data) {
  let text = "",
    bits = 0,
    held = 0;
  for (const byte of data) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += BASE32[(held >> (bits - 5)) & 31];
    held &= (1 << bits) - 1;
  }
  return bits ? text + BASE32[(held << (5 - bits)) & 31] : text;
}

const hex = (data) => Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
