// Runs every test of the dashboard against one node, one after another, and ends with a count; with 1 if one failed.
// Called by run.sh.

import { readdirSync } from "node:fs";

import { launch } from "./browser.mjs";
import { Node } from "./node.mjs";
import { Receiver } from "./receiver.mjs";
import { runAll } from "./suite.mjs";

const here = new URL(".", import.meta.url);
for (const file of readdirSync(here).sort()) if (file.endsWith(".test.mjs")) await import(new URL(file, here));

const tally = { pages: new Set(), looks: 0, findings: 0 };
const begun = [];
let result;
try {
  const node = await Node.start();
  begun.push(() => node.remove());
  const receiver = await Receiver.start();
  begun.push(() => receiver.end());
  const browser = await launch();
  begun.push(() => browser.close());
  result = await runAll(process.argv.slice(2), { node, receiver, browser, tally });
} finally {
  for (const end of begun.reverse()) await end();
}
console.log(`${result.ran} browser tests, ${result.failed} failed; axe: ${tally.pages.size} pages x 2 themes x 2 widths (${tally.looks} looks), ${tally.findings} serious`);
process.exit(result.failed || !result.ran ? 1 : 0);
