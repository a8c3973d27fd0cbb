// Payloads where the data are: safetensors and JSON Lines by a manifest's rules, written and read as validators do it
// (validator/payload). What this takes, they take; where the two could read something differently, this refuses.

const MOST_LINE = 1 << 20,
  MOST_HEADER = 1 << 20,
  MOST_PADDING = 64,
  FREE_PADDING = 1 << 20;
const ITEM = { float32: 4, uint8: 1, int64: 8 };
const TAG = { float32: "F32", uint8: "U8", int64: "I64" };
export const PADDING = -1,
  LEAST_TOKENS = 2;

/** Something about the file that a contributor can mend, in plain words. */
export class Refused extends Error {}

/** The rules of `/api/terms`, with what follows from them. */
export function schemaOf({ payload, limits }) {
  const { format, dtype, shape, classes, task } = payload;
  const sequence = task === "next_token";
  const values = shape.reduce((product, size) => product * size, 1);
  const minimum = sequence ? PADDING : Number(payload.minimum),
    maximum = Number(payload.maximum);
  return {
    format,
    dtype,
    shape,
    classes,
    sequence,
    values,
    minimum,
    maximum,
    ...bounds(dtype, minimum, maximum),
    mostBytes: limits.envelope_bytes,
    leastRecords: limits.min_records,
    mostRecords: limits.max_records,
  };
}

/** Space for the inputs of so many records, in the rules' numbers; int64 as doubles, which hold all that the rules allow. */
export function newInputs(schema, records) {
  const kind = { float32: Float32Array, uint8: Uint8Array, int64: Float64Array }[schema.dtype];
  return new kind(records * schema.values);
}

// The least and the greatest number of the dtype in the range: a decimal may be rounded out of it.
function bounds(dtype, minimum, maximum) {
  if (dtype === "float32") {
    const least = Math.fround(minimum),
      most = Math.fround(maximum);
    return { low: least < minimum ? neighbour(least, 1) : least, high: most > maximum ? neighbour(most, -1) : most };
  }
  const [least, most] = dtype === "uint8" ? [0, 255] : [-Infinity, Infinity];
  return { low: Math.max(Math.ceil(minimum), least), high: Math.min(Math.floor(maximum), most) };
}

function neighbour(value, way) {
  if (value === 0) return way * 2 ** -149;
  const bits = new Int32Array(new Float32Array([value]).buffer);
  bits[0] += value > 0 === way > 0 ? 1 : -1;
  return new Float32Array(bits.buffer)[0];
}

/** The bytes of these records. `targets` is null for sequences. */
export function encode(schema, { inputs, targets }) {
  return (schema.format === "jsonl" ? encodeLines : encodeTensors)(schema, inputs, targets);
}

function encodeTensors(schema, inputs, targets) {
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

function encodeLines(schema, inputs, targets) {
  const write = schema.dtype === "float32" ? decimal : String;
  const parts = [],
    records = inputs.length / schema.values;
  for (let row = 0; row < records; row++) {
    let numbers = inputs.subarray(row * schema.values, (row + 1) * schema.values);
    if (schema.sequence) numbers = numbers.filter((token) => token !== PADDING);
    const shape = schema.sequence ? [numbers.length] : schema.shape;
    const end = targets ? `,"target":${targets[row]}}\n` : "}\n";
    parts.push(new TextEncoder().encode(`{"inputs":${nested(Array.from(numbers, write), shape)}${end}`));
  }
  return joined(parts);
}

function nested(texts, shape) {
  if (!shape.length) return texts[0];
  const step = texts.length / shape[0];
  const items =
    shape.length === 1
      ? texts
      : Array.from({ length: shape[0] }, (_, n) => nested(texts.slice(n * step, (n + 1) * step), shape.slice(1)));
  return `[${items.join(",")}]`;
}

// The shortest decimals that are read back to the bit, laid out as validators' own encoder does.
function decimal(value) {
  if (Object.is(value, -0)) return "-0.0";
  const [, sign, digits, power] = /^(-?)([\d.]+)e([+-]\d+)$/.exec(value.toExponential());
  const plain = digits.replace(".", ""),
    exponent = Number(power);
  if (exponent < -5 || exponent > 15) return `${sign}${digits}e${exponent}`;
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${plain}`;
  const whole = plain.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  return `${sign}${whole}.${plain.slice(exponent + 1) || "0"}`;
}

function joined(parts) {
  const out = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** The records of a payload in `format`, held to all of the rules. Throws Refused. */
export function parse(schema, data, format = schema.format) {
  if (data.length > schema.mostBytes)
    throw new Refused(`the payload has ${data.length} bytes: at most ${schema.mostBytes} are accepted`);
  const records = format === "jsonl" ? parseLines(schema, data) : parseTensors(schema, data);
  for (const value of records.inputs) {
    if (!Number.isFinite(value)) throw new Refused("inputs hold NaN or infinity");
    if (value < schema.minimum || value > schema.maximum)
      throw new Refused(`inputs hold values outside ${schema.minimum} to ${schema.maximum}`);
  }
  for (const target of records.targets ?? []) {
    if (!(target >= 0 && target < schema.classes))
      throw new Refused(`targets hold values outside 0 to ${schema.classes - 1}`);
  }
  if (schema.sequence) checkPadding(schema, records.inputs);
  return records;
}

function checkPadding({ values }, tokens) {
  for (let n = 0; n < tokens.length; n++) {
    const place = n % values;
    if (tokens[n] === PADDING && place < LEAST_TOKENS)
      throw new Refused(`a sequence must begin with at least ${LEAST_TOKENS} tokens`);
    if (tokens[n] !== PADDING && place && tokens[n - 1] === PADDING)
      throw new Refused("a sequence has padding before its last token");
  }
}

function checkRecords(schema, records) {
  if (!Number.isSafeInteger(records) || records < 1) throw new Refused("there is no record at all");
  if (records > schema.mostRecords) throw new Refused(`${records} records: at most ${schema.mostRecords} are accepted`);
}

function parseTensors(schema, data) {
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

function parseLines(schema, data) {
  const lines = [];
  for (let start = 0; start < data.length || !lines.length;) {
    const end = data.indexOf(10, start);
    lines.push(data.subarray(start, end < 0 ? data.length : end));
    start = end < 0 ? data.length : end + 1;
    if (lines.length > schema.mostRecords)
      throw new Refused(`more than ${schema.mostRecords} records, which is the most that is accepted`);
  }
  checkLength(schema, data.length, lines.length);
  const inputs = newInputs(schema, lines.length).fill(schema.sequence ? PADDING : 0);
  const targets = schema.sequence ? null : new Float64Array(lines.length);
  lines.forEach((line, row) => {
    const record = new Line(schema, line, row + 1).record();
    inputs.set(record.inputs, row * schema.values);
    if (targets) targets[row] = record.target;
  });
  return { inputs, targets };
}

// Empty lines and short sequences must claim no more memory than their bytes are worth.
function checkLength(schema, size, records) {
  const padded = records * schema.values * 8,
    most = Math.min(schema.mostBytes, Math.max(FREE_PADDING, MOST_PADDING * size));
  if (schema.sequence && padded > most)
    throw new Refused(`${size} bytes of sequences take ${padded} padded: at most ${most} are accepted`);
  if (!schema.sequence && size < records * 2 * (schema.values + 1))
    throw new Refused(`${size} bytes are too few for ${records} lines of the rules' shape`);
}

const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;

// One record: {"inputs": numbers nested as the shape says, "target": a class}, its keys in any order, and nothing else.
class Line {
  constructor(schema, bytes, number) {
    this.schema = schema;
    this.number = number;
    if (bytes.length > MOST_LINE) this.refuse(`has more than ${MOST_LINE} bytes`);
    this.text = utf8(bytes, `line ${number}`);
    this.at = 0;
  }

  refuse(words) {
    throw new Refused(`line ${this.number} ${words}`);
  }

  record() {
    const found = {};
    this.expect("{");
    do {
      const key = ['"inputs"', '"target"'].find((name) => this.accept(name));
      const name = key?.slice(1, -1);
      if (!key || name in found || (this.schema.sequence && name === "target"))
        this.refuse("does not fit the rules: a key too many, or one twice");
      this.expect(":");
      found[name] = name === "target" ? this.number_(true) : this.inputs();
    } while (this.accept(","));
    this.expect("}");
    this.space();
    if (this.at !== this.text.length) this.refuse("goes on after its record");
    if (!found.inputs || (!this.schema.sequence && found.target === undefined)) this.refuse("lacks a key");
    return found;
  }

  inputs() {
    const { schema } = this,
      out = [];
    if (!schema.sequence) {
      this.nested(schema.shape, out);
      return out;
    }
    this.expect("[");
    do {
      const token = this.number_(true);
      if (!(token >= 0 && token < schema.classes)) this.refuse(`holds a token outside 0 to ${schema.classes - 1}`);
      out.push(token);
    } while (this.accept(","));
    this.expect("]");
    if (out.length < LEAST_TOKENS || out.length > schema.values)
      this.refuse(`must hold ${LEAST_TOKENS} to ${schema.values} tokens`);
    return out;
  }

  nested(shape, out) {
    if (!shape.length) {
      out.push(this.value());
      return;
    }
    this.expect("[");
    for (let n = 0; n < shape[0]; n++) {
      if (n) this.expect(",");
      this.nested(shape.slice(1), out);
    }
    this.expect("]");
  }

  value() {
    const value = this.number_(this.schema.dtype !== "float32"),
      { low, high, minimum, maximum, dtype } = this.schema;
    const [least, most] = dtype === "float32" ? [minimum, maximum] : [low, high];
    if (!(value >= least && value <= most)) this.refuse(`holds a value outside ${least} to ${most}`);
    return value;
  }

  number_(whole) {
    this.space();
    NUMBER.lastIndex = this.at;
    const found = NUMBER.exec(this.text);
    if (!found) this.refuse("does not fit the rules: a number is missing");
    const [text, fraction, exponent] = found;
    if (whole && (fraction || exponent)) this.refuse("holds a number that is not whole");
    this.at += text.length;
    return whole ? Number(text) + 0 : Number(text);
  }

  space() {
    while (" \t\r\n".includes(this.text[this.at] ?? "x")) this.at++;
  }

  accept(word) {
    this.space();
    if (!this.text.startsWith(word, this.at)) return false;
    this.at += word.length;
    return true;
  }

  expect(word) {
    if (!this.accept(word)) this.refuse(`does not fit the rules: ${word} is missing, or there are too many numbers`);
  }
}

/** Text from bytes. Throws Refused when they are not UTF-8. */
export function utf8(bytes, what, ignoreBOM = true) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM }).decode(bytes);
  } catch {
    throw new Refused(`${what} is not text in UTF-8`);
  }
}
