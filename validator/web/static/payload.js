// Payloads where the data are: safetensors and JSON Lines by a manifest's rules, written and read as validators do it
// (validator/payload). What this takes, they take; where the two could read something differently, this refuses.

import { encodeLines, parseLines } from "./lines.js";
import { LEAST_TOKENS, PADDING, Refused } from "./rules.js";
import { encodeTensors, parseTensors } from "./tensors.js";

/** The bytes of these records. `targets` is null for sequences. */
export function encode(schema, { inputs, targets }) {
  return (schema.format === "jsonl" ? encodeLines : encodeTensors)(schema, inputs, targets);
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
