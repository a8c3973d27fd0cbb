// npz: `inputs` and `targets`, or for sequences `inputs` alone (validator/actions/convert/arrays.py). Read as numpy writes it;
// what is written otherwise is left to the command line, which knows more of it. No more is unpacked than is declared.

import { PADDING, Refused } from "./rules.js";
import { Unfit, fit, labelReader, sampled } from "./sample.js";

const MOST_BYTES = 512 * 2 ** 20; // of one array
const END = 0x06054b50,
  ENTRY = 0x02014b50,
  MEMBER = 0x04034b50;
const STORED = 0,
  DEFLATED = 8;

/** { place, inputs, target } of each row that fits, { place, reason } of each other one. Throws Refused. */
export async function npz(bytes, suffix, schema, options) {
  const wanted = schema.sequence ? ["inputs"] : ["inputs", "targets"];
  const members = directory(bytes);
  const held = members.map(({ name }) => name);
  if (held.slice().sort().join("\n") !== wanted.map((name) => `${name}.npy`).join("\n"))
    throw new Refused(
      `the file must hold exactly ${wanted.join(" and ")}; it holds ${held.join(", ").slice(0, 200) || "nothing"}`,
    );
  const arrays = {};
  for (const member of members) arrays[member.name.slice(0, -4)] = array(await unpacked(bytes, member));
  return rows(arrays, schema, labelReader(options.classes ?? [], schema.classes));
}

function* rows({ inputs, targets }, schema, labelled) {
  if (!inputs.shape.length || (targets && targets.shape[0] !== inputs.shape[0]))
    throw new Refused("inputs and targets must have one first axis, the records");
  if (targets && targets.shape.length !== 1) throw new Refused("targets must have one axis, a class a record");
  const values = inputs.shape.slice(1).reduce((product, size) => product * size, 1);
  if (!values) throw new Refused("the file holds no record, or records of no values");
  for (let row = 0; row < inputs.shape[0]; row++) {
    yield* sampled(`record ${row}`, () => {
      if (schema.sequence && (inputs.shape.length !== 2 || values > schema.values))
        throw new Unfit(`a sequence must be one row of at most ${schema.values} tokens`);
      if (!schema.sequence && values !== schema.values)
        throw new Unfit(`${values} values instead of ${schema.values}`);
      const numbers = rowOf(inputs, row, values);
      if (!schema.sequence) return { inputs: fit(numbers, schema), target: labelled(written(targets, row)) };
      return { inputs: fit([...numbers, ...Array(schema.values - values).fill(PADDING)], schema) };
    });
  }
}

// The archive, by its directory

function directory(bytes) {
  const view = viewOf(bytes);
  let end = bytes.length - 22; // a comment may follow, and no other archive may stand in it
  while (end >= 0 && end >= bytes.length - 22 - 65535 && view.getUint32(end, true) !== END) end--;
  if (end < 0 || view.getUint32(end, true) !== END) throw new Refused("this is no npz file, or a damaged one");
  const count = view.getUint16(end + 10, true),
    [size, first, comment] = [view.getUint32(end + 12, true), view.getUint32(end + 16, true), view.getUint16(end + 20, true)];
  if (first + size !== end || end + 22 + comment !== bytes.length) unknown();
  const members = [];
  let at = first;
  for (let n = 0; n < count; n++) {
    if (at + 46 > end || view.getUint32(at, true) !== ENTRY) unknown();
    const [nameBytes, extra, remark] = [28, 30, 32].map((place) => view.getUint16(at + place, true));
    members.push({
      flags: view.getUint16(at + 8, true),
      method: view.getUint16(at + 10, true),
      sum: view.getUint32(at + 16, true),
      packed: view.getUint32(at + 20, true),
      size: view.getUint32(at + 24, true),
      start: view.getUint32(at + 42, true),
      name: latin(bytes.subarray(at + 46, at + 46 + nameBytes)),
    });
    at += 46 + nameBytes + extra + remark;
  }
  if (at !== end) unknown();
  return members;
}

async function unpacked(bytes, { flags, method, sum, packed, size, start, name }) {
  const view = viewOf(bytes);
  if (flags & 0x61 || ![STORED, DEFLATED].includes(method) || start + 30 > bytes.length) unknown();
  if (size > MOST_BYTES) throw new Refused(`${name} takes ${size} bytes, this page reads up to ${MOST_BYTES}`);
  const [nameBytes, extra] = [view.getUint16(start + 26, true), view.getUint16(start + 28, true)];
  const first = start + 30 + nameBytes + extra;
  const told = latin(bytes.subarray(start + 30, start + 30 + nameBytes));
  if (view.getUint32(start, true) !== MEMBER || told !== name || first + packed > bytes.length) unknown();
  const body = bytes.subarray(first, first + packed);
  const data = method === STORED ? body : await inflated(body, size);
  if (data.length !== size || crc32(data) !== sum) throw new Refused(`${name} is damaged`);
  return data;
}

// At most `size` bytes; what would be more is not kept.
async function inflated(body, size) {
  const out = new Uint8Array(size),
    reader = new Blob([body]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  let at = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return out.subarray(0, at);
      if (at + value.length > size) unknown();
      out.set(value, at);
      at += value.length;
    }
  } catch (fault) {
    await reader.cancel().catch(() => {}); // it has failed already
    if (fault instanceof Refused) throw fault;
    throw new Refused("an array in the file is damaged");
  }
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

function crc32(bytes) {
  let sum = ~0;
  for (const byte of bytes) sum = (sum >>> 8) ^ TABLE[(sum ^ byte) & 255];
  return ~sum >>> 0;
}

// One array (numpy.lib.format, versions 1 and 2)

const HEADER =
  /^\{'descr': '([<>|])([biuf])(\d)', 'fortran_order': (True|False), 'shape': \(((?:\d{1,10}, )*(?:\d{1,10},?)?)\), \} *\n$/;
const READ = {
  b1: (view, at) => view.getUint8(at) !== 0,
  i1: (view, at) => view.getInt8(at),
  u1: (view, at) => view.getUint8(at),
  i2: (view, at, little) => view.getInt16(at, little),
  u2: (view, at, little) => view.getUint16(at, little),
  i4: (view, at, little) => view.getInt32(at, little),
  u4: (view, at, little) => view.getUint32(at, little),
  i8: (view, at, little) => view.getBigInt64(at, little),
  u8: (view, at, little) => view.getBigUint64(at, little),
  f2: (view, at, little) => half(view.getUint16(at, little)),
  f4: (view, at, little) => view.getFloat32(at, little),
  f8: (view, at, little) => view.getFloat64(at, little),
};

// Its numbers stay where they are until a row is asked for; `steps`: how many items lie between neighbours on each axis.
function array(data) {
  const view = viewOf(data);
  const version = data.length >= 12 && latin(data.subarray(0, 6)) === "\x93NUMPY" ? data[6] : 0;
  if (![1, 2].includes(version) || data[7] !== 0) unknown();
  const start = version === 1 ? 10 : 12,
    first = start + (version === 1 ? view.getUint16(8, true) : view.getUint32(8, true));
  const found = HEADER.exec(first - start > 10_000 ? "" : latin(data.subarray(start, first)));
  if (!found || !READ[found[2] + found[3]]) unknown();
  const [, order, kind, bytes, fortran, axes] = found;
  const shape = axes.split(",").filter((size) => size.trim()).map(Number);
  const item = Number(bytes);
  if (shape.reduce((product, size) => product * size, item) !== data.length - first)
    throw new Refused("an array is not as long as its header says");
  const steps = [];
  let step = 1;
  for (const axis of fortran === "True" ? shape.keys() : [...shape.keys()].reverse()) {
    steps[axis] = step;
    step *= shape[axis];
  }
  const read = READ[kind + bytes];
  return { shape, steps, kind, at: (place) => read(view, first + item * place, order !== ">") };
}

// The values of one row, the last axis fastest.
function rowOf({ shape, steps, at }, row, count) {
  const values = Array(count),
    index = Array(shape.length).fill(0);
  for (let n = 0, place = row * steps[0]; n < count; n++) {
    values[n] = Number(at(place));
    for (let axis = shape.length - 1; axis > 0; axis--) {
      place += steps[axis];
      if (++index[axis] < shape[axis]) break;
      place -= steps[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return values;
}

// A label as Python writes the number, for it may be a name.
function written({ kind, steps, at }, row) {
  const value = at(row * steps[0]);
  if (kind === "b") return value ? "True" : "False";
  if (kind !== "f") return String(value);
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  const size = Math.abs(value);
  if (size && (size < 1e-4 || size >= 1e16))
    return value.toExponential().replace(/([+-])(\d)$/, (_, sign, digit) => `${sign}0${digit}`);
  return (Object.is(value, -0) ? "-0" : String(value)) + (Number.isInteger(value) ? ".0" : "");
}

function half(bits) {
  const [power, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size = power === 31 ? (fraction ? NaN : Infinity) : power ? 2 ** (power - 25) * (1024 + fraction) : 2 ** -24 * fraction;
  return bits >> 15 ? -size : size;
}

const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
const latin = (bytes) => String.fromCharCode(...bytes);

function unknown() {
  throw new Refused("this is no npz file as numpy writes it: use the command line, validator contribute");
}
