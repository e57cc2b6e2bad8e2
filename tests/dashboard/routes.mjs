// The pages' routes, from their table in the program's source, so that a new one is missed by no test.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const source = readFileSync(new URL("../../src/dashboard/routes.rs", import.meta.url), "utf8");
const rows = [...source.matchAll(/^\s*"(\/[^"]*|)"(?: via [\w:]+)? => \{([^}]*)\}/gm)];

function routes(method) {
  const found = rows.filter(([, , handlers]) => new RegExp(`\\b${method}:`).test(handlers)).map(([, path]) => path);
  assert.ok(found.length > 1, `the table of routes is not found any more: ${found}`);
  return found;
}

/** Paths below /dashboard that answer GET and POST, with `{id}` and the like in them. */
export const READ = routes("get");
export const CHANGED = routes("post");
