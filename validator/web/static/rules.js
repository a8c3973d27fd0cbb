// What a manifest asks of a payload, as the other modules need it, and what they share. Nothing here reads a file.

export const PADDING = -1,
  LEAST_TOKENS = 2;
export const ITEM = { float32: 4, uint8: 1, int64: 8 }; // bytes

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

/** Text from bytes. Throws Refused when they are not UTF-8. */
export function utf8(bytes, what, ignoreBOM = true) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM }).decode(bytes);
  } catch {
    throw new Refused(`${what} is not text in UTF-8`);
  }
}

/** Throws Refused unless a payload may hold so many records. */
export function checkRecords(schema, records) {
  if (!Number.isSafeInteger(records) || records < 1) throw new Refused("there is no record at all");
  if (records > schema.mostRecords) throw new Refused(`${records} records: at most ${schema.mostRecords} are accepted`);
}
