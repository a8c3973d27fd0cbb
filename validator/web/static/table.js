// Tables (CSV and TSV) as records, to the number that Python's csv and float make of them (validator/actions/convert/table.py).

import { Refused, utf8 } from "./rules.js";
import { Unfit, fit, isNumber, labelReader, quoted, sampled, strip, toNumber } from "./sample.js";

const LABELS = ["target", "label"];
const MOST_CELL = 131072; // characters, as Python's csv has it

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
