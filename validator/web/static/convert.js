// A contributor's own file as the payload that a DAO asks for, in the browser: the bytes that `validator contribute` makes
// of the same file with the same choices (validator/actions/convert; tests/web/test_convert_js.py holds the two together).
// Where it cannot be sure to do the same it refuses the file. Nothing here sends anything.

import { npz } from "./npz.js";
import { encode, parse } from "./payload.js";
import { LEAST_TOKENS, PADDING, Refused, newInputs } from "./rules.js";
import { table } from "./table.js";

const BYTES = 256;
const SHELL_ONLY = [".png", ".jpg", ".jpeg"];
const READERS = {
  ".csv": { read: table, meant: ["label", "columns", "classes"] },
  ".tsv": { read: table, meant: ["label", "columns", "classes"] },
  ".npz": { read: npz, meant: ["classes"] },
  ".txt": { read: text, meant: ["documents"] },
  ".md": { read: text, meant: ["documents"] },
};
const PAYLOADS = { ".safetensors": "safetensors", ".jsonl": "jsonl" };

/**
 * `bytes` of a file called `name`, by `schema` (payload.js, schemaOf) and choices: label, columns (names in order), classes
 * (names in order), documents ("lines" or "files"), skip, take. Gives payload (bytes), records, classes (different targets
 * or tokens), tokens, repeats, and dropped: a Map from reason to the places left out. Throws Refused in plain words.
 */
export async function convert(name, bytes, schema, options = {}) {
  const suffix = suffixOf(name);
  if (SHELL_ONLY.includes(suffix))
    throw new Refused(`${suffix} files are read by the command line only: validator contribute`);
  const reader = READERS[suffix];
  for (const one of ["label", "columns", "classes", "documents"]) {
    const given = Array.isArray(options[one]) ? options[one].length : options[one];
    if (given && !reader?.meant.includes(one))
      throw new Refused(`the choice of ${one} says nothing about this file: leave it empty`);
  }
  const dropped = new Map();
  const payload = reader
    ? encode(schema, chosen(await reader.read(bytes, suffix, schema, options), schema, options, dropped))
    : own(bytes, suffix, schema, options);
  const found = parse(schema, payload);
  const records = found.inputs.length / schema.values;
  if (records < schema.leastRecords)
    throw new Refused(`${records} records: at least ${schema.leastRecords} are wanted`);
  return { payload, records, dropped, ...described(schema, found, records) };
}

// As pathlib has it: a name that begins with its only dot has none.
function suffixOf(name) {
  const dot = name.lastIndexOf(".");
  return dot > 0 && dot < name.length - 1 ? name.slice(dot).toLowerCase() : "";
}

function own(bytes, suffix, schema, { skip = 0, take = null }) {
  if (bytes.length > schema.mostBytes)
    throw new Refused(`a payload of ${bytes.length} bytes: at most ${schema.mostBytes} are accepted`);
  const format = PAYLOADS[suffix] ?? schema.format;
  if (format === schema.format && !skip && take === null) return bytes;
  const { inputs, targets } = parse(schema, bytes, format);
  const end = take === null ? Infinity : skip + take;
  const part = inputs.subarray(skip * schema.values, end * schema.values);
  if (!part.length) throw new Refused("no record is left");
  return encode(schema, { inputs: part, targets: targets && targets.subarray(skip, end) });
}

// The records to take. Reading ends with the last of them, or with the first too many.
function chosen(samples, schema, { skip = 0, take = null }, dropped) {
  const most = take === null ? Infinity : take,
    rows = [];
  let seen = 0;
  while (rows.length < most) {
    const { done, value } = samples.next();
    if (done) break;
    if (value.reason !== undefined) {
      if (!dropped.has(value.reason)) dropped.set(value.reason, []);
      dropped.get(value.reason).push(value.place);
    } else if (++seen > skip) {
      rows.push(value);
      if (rows.length > schema.mostRecords)
        throw new Refused(
          `more than ${schema.mostRecords} records, and no contribution may hold more: choose with skip and take`,
        );
    }
  }
  checkDropped(rows.length, dropped);
  const inputs = newInputs(schema, rows.length);
  rows.forEach((row, n) => inputs.set(row.inputs, n * schema.values));
  return { inputs, targets: schema.sequence ? null : Float64Array.from(rows, (row) => row.target) };
}

// A file of which most does not fit is rather read the wrong way.
function checkDropped(taken, dropped) {
  const count = [...dropped.values()].reduce((sum, places) => sum + places.length, 0);
  if (count <= taken && taken) return;
  if (!count) throw new Refused("the file holds no record, or none is left after those skipped");
  const [reason, places] = [...dropped].reduce((most, one) => (one[1].length > most[1].length ? one : most));
  throw new Refused(
    `${count} of ${count + taken} records do not fit; ${reason} (${places.length} of them, first ${places[0]})`,
  );
}

function described(schema, { inputs, targets }, records) {
  const real = targets ?? inputs.filter((token) => token !== PADDING);
  const rows = new Set();
  for (let row = 0; row < records; row++) {
    const values = inputs.subarray(row * schema.values, (row + 1) * schema.values);
    rows.add(`${values.join()};${targets ? targets[row] : ""}`); // join writes -0 as 0, which is what whoever pays does
  }
  return { classes: new Set(real).size, tokens: targets ? 0 : real.length, repeats: records - rows.size };
}

// Text

function* text(bytes, suffix, schema, options) {
  if (!schema.sequence)
    throw new Refused("this is text, but the DAO takes records with a class, not sequences of tokens");
  if (schema.classes < BYTES)
    throw new Refused(
      `the DAO's vocabulary has ${schema.classes} tokens, bytes are ${BYTES}: its tokenizer works on the command line only`,
    );
  for (const [place, tokens] of options.documents === "files" ? [["the file", bytes]] : textLines(bytes)) {
    if (tokens.length < LEAST_TOKENS) yield { place, reason: `fewer than ${LEAST_TOKENS} tokens` };
    for (let start = 0; start + LEAST_TOKENS <= tokens.length; start += schema.values) {
      const inputs = new Float64Array(schema.values).fill(PADDING);
      inputs.set(tokens.subarray(start, start + schema.values));
      yield { place, inputs };
    }
  }
}

function* textLines(bytes) {
  let number = 0;
  for (let start = 0; start < bytes.length;) {
    const next = bytes.indexOf(10, start);
    const line = bytes.subarray(start, next < 0 ? bytes.length : next);
    let end = line.length;
    while (end && (line[end - 1] === 13 || line[end - 1] === 10)) end--;
    number++;
    if (line.some((byte) => byte !== 32 && (byte < 9 || byte > 13))) yield [`line ${number}`, line.subarray(0, end)];
    start = next < 0 ? bytes.length : next + 1;
  }
}
