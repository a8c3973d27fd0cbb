// JSON Lines, a record a line, written and read as validators do it (validator/payload/jsonl.py).

import { LEAST_TOKENS, PADDING, Refused, newInputs, utf8 } from "./rules.js";

const MOST_LINE = 1 << 20,
  MOST_PADDING = 64,
  FREE_PADDING = 1 << 20;

/** The bytes of these records, a line each. `targets` is null for sequences. */
export function encodeLines(schema, inputs, targets) {
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

/** The records of the lines; ranges of values are the caller's to check once more. Throws Refused. */
export function parseLines(schema, data) {
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
