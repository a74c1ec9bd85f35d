// Writes src/messages.ts from the protocol's schemas: `npm run messages -w player`. A test compares the file with what
// this makes.
import { readFile, writeFile } from "node:fs/promises";
import { parse } from "yaml";

import { typesOf } from "./types.mjs";

const document = parse(await readFile(new URL("../../docs/dvr.asyncapi.yaml", import.meta.url), "utf8"));
const side = (operation) => document.operations[operation].messages.map(({ $ref }) => $ref.split("/").at(-1));
const text = await typesOf(
  document.components.schemas,
  { AnyRequest: side("ask"), AnyMessage: side("tell") },
  "Made by `npm run messages -w player` from docs/dvr.asyncapi.yaml; do not edit.",
);
await writeFile(process.argv[2] ?? new URL("src/messages.ts", import.meta.url), text);
