// Tables (CSV and TSV) as records, to the number that Python's csv and float make of them (validator/actions/convert/table.py).

import { Refused, utf8 } from "./rules.js";

const LABELS = ["target", "label"];
const MOST_CELL = 131072; // characters, as Python's csv has it

/** One record cannot be taken; the message is the reason. */
class Unfit extends Error {}

/** { place, inputs, target } of each row that fits, { place, reason } of each other one. Throws Refused. */
export function* table(bytes, suffix, schema, options) {
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
const WHITE = new RegExp(`[\x1c-\x1f${SPACE}]`);
const NUMBER = new RegExp(
  `^[${SPACE}]*([+-]?)(?:((?:\\d+\\.?\\d*|\\.\\d+)(?:[eE][+-]?\\d+)?)|(inf(?:inity)?)|nan)[${SPACE}]*$`,
  "i",
);

// By hand: an expression for the end of a text tries every place of a long row of spaces.
function strip(words) {
  let [start, end] = [0, words.length];
  while (start < end && WHITE.test(words[start])) start++;
  while (end > start && WHITE.test(words[end - 1])) end--;
  return words.slice(start, end);
}

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

function* sampled(place, make) {
  try {
    yield { place, ...make() };
  } catch (fault) {
    if (!(fault instanceof Unfit)) throw fault;
    yield { place, reason: fault.message };
  }
}
