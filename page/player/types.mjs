// Types of TypeScript from JSON Schema, for the protocol's messages and the REST interface.
import { compile } from "json-schema-to-typescript";

/** The text of a module with the types of `schemas`, by their names; `roots`: unions of some of them, by name. */
export async function typesOf(schemas, roots, banner) {
  const definitions = localised(schemas);
  const properties = Object.fromEntries(
    Object.entries(roots).map(([title, names]) => [
      title,
      { title, oneOf: names.map((name) => ({ $ref: `#/definitions/${name}` })) },
    ]),
  );
  const root = { title: "Said", type: "object", additionalProperties: false, properties, definitions };
  return compile(root, "Said", {
    bannerComment: `/* ${banner} */`,
    additionalProperties: false,
    ignoreMinAndMaxItems: true,
    format: true,
    style: { printWidth: 110 },
  });
}

// References into the document become references into the schema that is compiled; titles of fields are dropped, as
// each would become a type of its own.
function localised(value, isNamed = false) {
  if (Array.isArray(value)) return value.map((one) => localised(one));
  if (value === null || typeof value !== "object") return value;
  const found = {};
  for (const [name, one] of Object.entries(value)) {
    if (name === "title" && typeof one === "string" && !isNamed) continue;
    if (name === "discriminator") continue;
    if (name === "$ref") found[name] = one.replace("#/components/schemas/", "#/definitions/");
    else found[name] = localised(one, name === "properties");
  }
  return found;
}
