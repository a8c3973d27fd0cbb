// safetensors, written canonically and read strictly (validator/payload/safetensors_format.py).

import { ITEM, Refused, checkRecords, newInputs, utf8 } from "./rules.js";

const MOST_HEADER = 1 << 20;
const TAG = { float32: "F32", uint8: "U8", int64: "I64" };

/** The canonical bytes of these records. `targets` is null for sequences. */
export function encodeTensors(schema, inputs, targets) {
  const records = inputs.length / schema.values,
    size = inputs.length * ITEM[schema.dtype];
  const header = {};
  const first = targets ? 8 * records : 0;
  const own = {
    inputs: { dtype: TAG[schema.dtype], shape: [records, ...schema.shape], data_offsets: [first, first + size] },
  };
  // Larger items first, then by name.
  const before = targets && schema.dtype === "int64";
  if (before) own.inputs.data_offsets = [0, size];
  if (before) Object.assign(header, own);
  if (targets) {
    const from = before ? size : 0;
    header.targets = { dtype: "I64", shape: [records], data_offsets: [from, from + 8 * records] };
  }
  if (!before) Object.assign(header, own);
  let text = JSON.stringify(header);
  text += " ".repeat((8 - (text.length % 8)) % 8);
  const out = new Uint8Array(8 + text.length + first + size),
    view = new DataView(out.buffer);
  view.setBigUint64(0, BigInt(text.length), true);
  out.set(new TextEncoder().encode(text), 8);
  const place = 8 + text.length;
  writeNumbers(view, place + own.inputs.data_offsets[0], schema.dtype, inputs);
  if (targets) writeNumbers(view, place + header.targets.data_offsets[0], "int64", targets);
  return out;
}

function writeNumbers(view, at, dtype, numbers) {
  for (let n = 0; n < numbers.length; n++) {
    if (dtype === "uint8") view.setUint8(at + n, numbers[n]);
    else if (dtype === "float32")
      view.setFloat32(at + 4 * n, numbers[n] + 0, true); // -0 + 0 is 0
    else view.setBigInt64(at + 8 * n, BigInt(numbers[n]), true);
  }
}

/** The records of a file; values are the caller's to check. Throws Refused. */
export function parseTensors(schema, data) {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const length = data.length < 8 ? 0 : Number(view.getBigUint64(0, true));
  if (!(length >= 2 && length <= MOST_HEADER && 8 + length <= data.length))
    throw new Refused("this is not a safetensors file: its header does not fit");
  const header = tensorHeader(data.subarray(8, 8 + length));
  const names = schema.sequence ? ["inputs"] : ["inputs", "targets"];
  if (Object.keys(header).sort().join() !== names.join())
    throw new Refused(`the file must hold exactly the tensors ${names.join(" and ")}`);
  const records = header.inputs.shape?.[0] ?? 0;
  checkRecords(schema, records);
  const wanted = { inputs: [schema.dtype, [records, ...schema.shape]], targets: ["int64", [records]] };
  let at = 0;
  for (const name of names.sort((one, other) => header[one].data_offsets?.[0] - header[other].data_offsets?.[0])) {
    const [dtype, shape] = wanted[name],
      entry = header[name];
    const size = shape.reduce((product, one) => product * one, ITEM[dtype]);
    if (Object.keys(entry).sort().join() !== "data_offsets,dtype,shape")
      throw new Refused(`tensor ${name} must have dtype, shape and data_offsets, nothing else`);
    if (entry.dtype !== TAG[dtype]) throw new Refused(`tensor ${name} must be ${TAG[dtype]}`);
    if (JSON.stringify(entry.shape) !== JSON.stringify(shape))
      throw new Refused(`tensor ${name} must have the shape ${JSON.stringify(shape)}`);
    if (JSON.stringify(entry.data_offsets) !== JSON.stringify([at, at + size]))
      throw new Refused("tensors must follow each other without gap or overlap");
    at += size;
  }
  if (at !== data.length - 8 - length)
    throw new Refused(`the tensors take ${at} bytes, the file holds ${data.length - 8 - length}`);
  const take = (name, dtype, count) => readNumbers(view, 8 + length + header[name].data_offsets[0], dtype, count);
  return {
    inputs: newInputs(schema, 0).constructor.from(take("inputs", schema.dtype, records * schema.values)),
    targets: schema.sequence ? null : take("targets", "int64", records),
  };
}

// JSON.parse lets the last of two equal names win and takes 1.0 for a count; neither is safetensors here.
function tensorHeader(bytes) {
  let header;
  const text = utf8(bytes, "the safetensors header");
  try {
    header = JSON.parse(text);
  } catch {
    throw new Refused("the safetensors header is not valid JSON");
  }
  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  if (!text.startsWith("{") || !Object.values(header).every(isObject))
    throw new Refused("the safetensors header is not a list of tensors");
  const names = Object.values(header).reduce(
    (count, entry) => count + Object.keys(entry).length,
    Object.keys(header).length,
  );
  const told = [...text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/g)].filter(([, colon]) => colon).length;
  if (names !== told) throw new Refused("the safetensors header names something twice");
  if (/[.eE]/.test(text.replace(/"(?:[^"\\]|\\.)*"/g, "")))
    throw new Refused("the safetensors header must hold whole numbers");
  const { __metadata__: metadata = {}, ...tensors } = header;
  if (!Object.values(metadata).every((value) => typeof value === "string"))
    throw new Refused("the safetensors metadata must map texts to texts");
  return tensors;
}

function* readNumbers64(view, at, count) {
  for (let n = 0; n < count; n++) yield Number(view.getBigInt64(at + 8 * n, true));
}

function readNumbers(view, at, dtype, count) {
  if (dtype === "int64") return Float64Array.from(readNumbers64(view, at, count));
  if (dtype === "uint8") return new Uint8Array(view.buffer, view.byteOffset + at, count);
  return Float32Array.from({ length: count }, (_, n) => view.getFloat32(at + 4 * n, true));
}
