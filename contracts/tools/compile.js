#!/usr/bin/env node
// Compiles variants of src/ for scripts/contracts-mutate, one after the other in one process: starting the compiler takes longer than
// using it. A line in: {"file": "src/X.sol", "content": "...", "contracts": ["X"]}. A line out: {"code": {"X": "0x..."}},
// or {"errors": ["..."]}.
"use strict";

const fs = require("fs");
const path = require("path");
const readline = require("readline");
const solc = require("solc");

const root = path.dirname(__dirname);

function read(name) {
  const place = name.startsWith("@") ? path.join("node_modules", name) : name;
  return fs.readFileSync(path.join(root, place), "utf8");
}

function compile({ file, content, contracts }) {
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(contracts.map((name) => [`src/${name}.sol`, { content: read(`src/${name}.sol`) }])),
    settings: { evmVersion: "prague", metadata: { bytecodeHash: "none", appendCBOR: false }, outputSelection: {} },
  };
  for (const name of contracts) input.settings.outputSelection[`src/${name}.sol`] = { [name]: ["evm.bytecode.object"] };
  input.sources[file] = { content };
  const find = (name) => (name === file ? { contents: content } : { contents: read(name) });
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: find }));
  const errors = (output.errors ?? []).filter((error) => error.severity === "error");
  if (errors.length > 0) return { errors: errors.map((error) => error.formattedMessage) };
  const code = contracts.map((name) => [name, `0x${output.contracts[`src/${name}.sol`][name].evm.bytecode.object}`]);
  return { code: Object.fromEntries(code) };
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  process.stdout.write(`${JSON.stringify(compile(JSON.parse(line)))}\n`);
});
