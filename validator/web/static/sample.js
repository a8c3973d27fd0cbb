// One record on its way into a payload, and why it may be left out (validator/actions/convert/sample.py).

import { Refused } from "./rules.js";

/** One record cannot be taken; the message is the reason. */
export class Unfit extends Error {}

/** The record that `make` makes, or the reason why it cannot. */
export function* sampled(place, make) {
  try {
    yield { place, ...make() };
  } catch (fault) {
    if (!(fault instanceof Unfit)) throw fault;
    yield { place, reason: fault.message };
  }
}

/** One record's numbers in the schema's dtype. Throws Unfit unless they are as many, finite, whole where they must be, in range. */
export function fit(values, schema) {
  if (values.length !== schema.values) throw new Unfit(`${values.length} values instead of ${schema.values}`);
  if (!values.every(Number.isFinite)) throw new Unfit("a value is missing or infinite");
  const isReal = schema.dtype === "float32";
  if (!isReal && !values.every(Number.isInteger)) throw new Unfit("a value is not a whole number");
  const [least, most] = isReal ? [schema.minimum, schema.maximum] : [schema.low, schema.high];
  if (values.some((value) => value < least || value > most))
    throw new Unfit(`a value lies outside ${least} to ${most}`);
  return values.map((value) => Math.min(Math.max(isReal ? Math.fround(value) : value, schema.low), schema.high) + 0); // no -0
}

/** What gives the class that a text stands for: by number, or by the names that the contributor gave. */
export function labelReader(names, classes) {
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

export const quoted = (words) => `'${words.slice(0, 40)}'`;

// Python's white space, which is not JavaScript's; a number may stand between all of it but the first four.
const SPACE = "\\t\\n\\v\\f\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const WHITE = new RegExp(`[\x1c-\x1f${SPACE}]`);
const NUMBER = new RegExp(
  `^[${SPACE}]*([+-]?)(?:((?:\\d+\\.?\\d*|\\.\\d+)(?:[eE][+-]?\\d+)?)|(inf(?:inity)?)|nan)[${SPACE}]*$`,
  "i",
);

// By hand: an expression for the end of a text tries every place of a long row of spaces.
export function strip(words) {
  let [start, end] = [0, words.length];
  while (start < end && WHITE.test(words[start])) start++;
  while (end > start && WHITE.test(words[end - 1])) end--;
  return words.slice(start, end);
}

export function isNumber(cell) {
  if (!NUMBER.test(cell) && NUMBER.test(cell.replace(/\p{Nd}/gu, "0"))) {
    throw new Refused(
      "the file writes numbers in digits other than 0 to 9: use the command line, validator contribute",
    );
  }
  return NUMBER.test(cell);
}

export function toNumber(cell) {
  const [, sign, digits, infinite] = NUMBER.exec(cell);
  const size = digits ? Number(digits) : infinite ? Infinity : NaN;
  return sign === "-" ? -size : size;
}
