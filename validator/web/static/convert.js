// A contributor's own file as the payload that a DAO asks for, in the browser: the bytes that `validator contribute` makes
// of the same file with the same choices (validator/actions/convert; tests/web/test_convert_js.py holds the two together).
// Where it cannot be sure to do the same it refuses the file. Nothing here sends anything.

import { LEAST_TOKENS, PADDING, Refused, encode, newInputs, parse, utf8 } from "./payload.js";

const LABELS = ["target", "label"];
const MOST_CELL = 131072; // characters, as Python's csv has it
const BYTES = 256;
const SHELL_ONLY = [".npz", ".png", ".jpg", ".jpeg"];
const READERS = {
  ".csv": { read: table, meant: ["label", "columns", "classes"] },
  ".tsv": { read: table, meant: ["label", "columns", "classes"] },
  ".txt": { read: text, meant: ["documents"] },
  ".md": { read: text, meant: ["documents"] },
};
const PAYLOADS = { ".safetensors": "safetensors", ".jsonl": "jsonl" };

class Unfit extends Error {} // one record cannot be taken; its message is the reason

/**
 * `bytes` of a file called `name`, by `schema` (payload.js, schemaOf) and choices: label, columns (names in order), classes
 * (names in order), documents ("lines" or "files"), skip, take. Gives payload (bytes), records, classes (different targets
 * or tokens), tokens, repeats, and dropped: a Map from reason to the places left out. Throws Refused in plain words.
 */
export function convert(name, bytes, schema, options = {}) {
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
    ? encode(schema, chosen(reader.read(bytes, suffix, schema, options), schema, options, dropped))
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
      dropped.set(value.reason, [...(dropped.get(value.reason) ?? []), value.place]);
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

function* sampled(place, make) {
  try {
    yield { place, ...make() };
  } catch (fault) {
    if (!(fault instanceof Unfit)) throw fault;
    yield { place, reason: fault.message };
  }
}

// Tables

function* table(bytes, suffix, schema, options) {
  if (schema.sequence)
    throw new Refused("this is a table, but the DAO takes sequences of tokens: give text or JSON Lines");
  const labelled = labelReader(options.classes ?? [], schema.classes);
  const rows = tableRows(utf8(bytes, "the table", false), suffix === ".tsv" ? "\t" : ",");
  const header = tableHeader(rows);
  const label = labelColumn(header, options.label);
  const columns = dataColumns(header, label, options.columns ?? [], schema);
  for (const [line, cells] of rows) {
    yield* sampled(`line ${line}`, () => {
      if (cells.length !== header.length) throw new Unfit(`${cells.length} cells under ${header.length} columns`);
      return { inputs: fit(numbers(columns.map((column) => cells[column])), schema), target: labelled(cells[label]) };
    });
  }
}

// Rows that are not blank, by the rules of Python's csv in its strict mode: [number of the last line, cells].
function* tableRows(text, delimiter) {
  let cells = [],
    cell = "",
    at = 0,
    line = 0,
    state = "start";
  const close = () => {
    cells.push(cell);
    cell = "";
  };
  const refuse = (words) => {
    throw new Refused(`this is no table in UTF-8, near line ${line}: ${words}`);
  };
  const add = (letter) => {
    cell += letter;
    if (cell.length > MOST_CELL && [...cell].length > MOST_CELL) refuse(`a cell has more than ${MOST_CELL} characters`);
  };
  while (at < text.length) {
    const end = lineEnd(text, at);
    line++;
    for (; at < end; at++) {
      const letter = text[at],
        breaks = letter === "\n" || letter === "\r";
      if (state === "quoted") {
        if (letter === '"') state = "quote";
        else add(letter);
      } else if (state === "quote" && letter === '"') {
        add(letter);
        state = "quoted";
      } else if (letter === delimiter) {
        close();
        state = "cell start";
      } else if (breaks) {
        if (state !== "start" && state !== "ended") close();
        state = "ended";
      } else if (state === "quote") {
        refuse(`'${delimiter}' expected after '"'`);
      } else if (letter === '"' && state !== "cell") {
        state = "quoted";
      } else {
        add(letter);
        state = "cell";
      }
    }
    if (state === "quoted") continue;
    if (state !== "start" && state !== "ended") close();
    if (cells.length) yield [line, cells];
    [cells, state] = [[], "start"];
  }
  if (state === "quoted") refuse("unexpected end of data");
}

function lineEnd(text, at) {
  for (; at < text.length; at++) {
    if (text[at] === "\n") return at + 1;
    if (text[at] === "\r") return text[at + 1] === "\n" ? at + 2 : at + 1;
  }
  return at;
}

function tableHeader(rows) {
  const header = (rows.next().value?.[1] ?? []).map(strip);
  if (!header.length || header.every(isNumber))
    throw new Refused("the table has no header: its first line must name the columns");
  const twice = header.find((name, place) => header.indexOf(name) !== place);
  if (twice !== undefined) throw new Refused(`the table has more than one column called ${quoted(twice)}`);
  return header;
}

function columnOf(header, name) {
  if (!header.includes(name))
    throw new Refused(`the table has no column ${quoted(name)}; it has ${header.join(", ").slice(0, 200)}`);
  return header.indexOf(name);
}

function labelColumn(header, wanted) {
  if (wanted) return columnOf(header, wanted);
  const found = LABELS.filter((name) => header.includes(name));
  if (found.length !== 1) throw new Refused(`say which column holds the class: ${header.join(", ").slice(0, 200)}`);
  return header.indexOf(found[0]);
}

function dataColumns(header, label, wanted, schema) {
  const columns = wanted.length
    ? wanted.map((name) => columnOf(header, name))
    : [...header.keys()].filter((column) => column !== label);
  if (columns.includes(label))
    throw new Refused(`the label column ${quoted(header[label])} cannot be among the columns`);
  if (columns.length !== schema.values)
    throw new Refused(
      `${columns.length} columns besides the label are to be taken, a record has ${schema.values} values: choose columns`,
    );
  return columns;
}

function numbers(cells) {
  const wrong = cells.find((cell) => !isNumber(cell));
  if (wrong !== undefined) throw new Unfit(strip(wrong) ? "a cell is not a number" : "a cell is empty");
  return cells.map(toNumber);
}

function fit(values, schema) {
  if (!values.every(Number.isFinite)) throw new Unfit("a value is missing or infinite");
  const isReal = schema.dtype === "float32";
  if (!isReal && !values.every(Number.isInteger)) throw new Unfit("a value is not a whole number");
  const [least, most] = isReal ? [schema.minimum, schema.maximum] : [schema.low, schema.high];
  if (values.some((value) => value < least || value > most))
    throw new Unfit(`a value lies outside ${least} to ${most}`);
  return values.map((value) => Math.min(Math.max(isReal ? Math.fround(value) : value, schema.low), schema.high) + 0); // no -0
}

function labelReader(names, classes) {
  if (names.length && (names.length !== classes || new Set(names).size !== classes || !names.every(Boolean))) {
    throw new Refused(
      `${names.length} class names are given: the DAO tells ${classes} classes apart, name each of them once`,
    );
  }
  return (cell) => {
    if (names.length) {
      if (!names.includes(strip(cell))) throw new Unfit(`label ${quoted(cell)} is not among the class names`);
      return names.indexOf(strip(cell));
    }
    if (!isNumber(cell)) throw new Unfit(`label ${quoted(cell)} is no number: name the classes in order`);
    const number = toNumber(cell);
    if (!(number >= 0 && number < classes && Number.isInteger(number)))
      throw new Unfit(`label ${quoted(cell)} is no class: they are 0 to ${classes - 1}`);
    return number + 0;
  };
}

const quoted = (words) => `'${words.slice(0, 40)}'`;

// Python's white space, which is not JavaScript's; a number may stand between all of it but the first four.
const SPACE = "\\t\\n\\v\\f\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const STRIP = new RegExp(`^[\\x1c-\\x1f${SPACE}]+|[\\x1c-\\x1f${SPACE}]+$`, "g");
const NUMBER = new RegExp(
  `^[${SPACE}]*([+-]?)(?:((?:\\d+\\.?\\d*|\\.\\d+)(?:[eE][+-]?\\d+)?)|(inf(?:inity)?)|nan)[${SPACE}]*$`,
  "i",
);

const strip = (words) => words.replace(STRIP, "");

function isNumber(cell) {
  if (!NUMBER.test(cell) && NUMBER.test(cell.replace(/\p{Nd}/gu, "0"))) {
    throw new Refused(
      "the table writes numbers in digits other than 0 to 9: use the command line, validator contribute",
    );
  }
  return NUMBER.test(cell);
}

function toNumber(cell) {
  const [, sign, digits, infinite] = NUMBER.exec(cell);
  const size = digits ? Number(digits) : infinite ? Infinity : NaN;
  return sign === "-" ? -size : size;
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
