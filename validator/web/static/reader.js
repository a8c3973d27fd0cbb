// Reads a contributor's file in a thread of its own, so that a large one does not stop the page.

import { convert } from "./convert.js";
import { Refused, schemaOf } from "./rules.js";

onmessage = async ({ data: { file, rules, options } }) => {
  try {
    postMessage({ done: await convert(file.name, new Uint8Array(await file.arrayBuffer()), schemaOf(rules), options) });
  } catch (fault) {
    postMessage(fault instanceof Refused ? { refused: fault.message } : { fault: fault.message });
  }
};
