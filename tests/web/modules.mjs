// Runs the explorer's modules in Node for tests: a JSON list of requests on standard input, a JSON list of answers.
// {"act": "convert", "name", "data": base64, "rules", "options"} or {"act": "cid", "data": base64, "chunk", "width"}.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const folder = pathToFileURL(process.argv[2] + "/").href;
const { convert } = await import(folder + "convert.js");
const { Refused, schemaOf } = await import(folder + "rules.js");
const { fileCid } = await import(folder + "cid.js");

const acts = {
  async convert({ name, rules, options }, data) {
    const { payload, dropped, ...told } = await convert(name, data, schemaOf(rules), options);
    return { ...told, payload: Buffer.from(payload).toString("base64"), dropped: [...dropped.values()].flat().length };
  },
  cid: ({ chunk, width }, data) => fileCid(new Blob([data]), chunk, width),
};

const answers = [];
for (const request of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    answers.push(await acts[request.act](request, Uint8Array.from(Buffer.from(request.data, "base64"))));
  } catch (fault) {
    answers.push(fault instanceof Refused ? { refused: fault.message } : { error: String(fault.stack) });
  }
}
process.stdout.write(JSON.stringify(answers));
