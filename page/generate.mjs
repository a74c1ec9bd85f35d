// Writes src/lib/rest.ts from the schemas of the REST interface: `npm run rest`. A test compares the file with what this
// makes.
import { readFile, writeFile } from "node:fs/promises";

import { typesOf } from "./player/types.mjs";

const document = JSON.parse(await readFile(new URL("../docs/openapi.json", import.meta.url), "utf8"));
const schemas = document.components.schemas;
// Answers have every field, also those with a default; requests may leave these out.
for (const [name, schema] of Object.entries(schemas)) {
  if (schema.properties && !name.endsWith("Request")) schema.required = Object.keys(schema.properties);
}
const text = await typesOf(
  schemas,
  { AnyModel: Object.keys(schemas).filter((name) => schemas[name].properties) },
  "Made by `npm run rest` from docs/openapi.json; do not edit.",
);
await writeFile(process.argv[2] ?? new URL("src/lib/rest.ts", import.meta.url), text);
