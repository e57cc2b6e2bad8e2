// Takes the pictures in docs/images: every page light, dark and on a phone, of an installation that looks like one in use.
// Called by `run.sh --images`; arguments are names of pages, all without any.

import assert from "node:assert/strict";
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";

import { Acme } from "./acme.mjs";
import { DESKTOP, launch, PHONE, Visitor } from "./browser.mjs";
import { shrink } from "./palette.mjs";

const directory = new URL("../../docs/images/", import.meta.url).pathname;
const LARGEST = 150 * 1024;
/** The tallest picture: of a longer page its beginning. */
const TALLEST = 2400;
const LOOKS = [
  ["", { ...DESKTOP, colorScheme: "light" }],
  ["-dark", { ...DESKTOP, colorScheme: "dark" }],
  ["-phone", { ...PHONE, colorScheme: "light" }],
];

/** Every page: its name, its path, and what is done there before the picture. */
function shots({ event, webhooks, failed, delivered }) {
  const of = (webhook, rest = "") => `/webhooks/${webhook.id}${rest}`;
  const { orders, crm, slack } = webhooks;
  return [
    ["overview", ""],
    ["webhooks", "/webhooks"],
    ["new", "/webhooks/new"],
    ["summary", of(orders)],
    ["settings", of(orders, "/edit")],
    ["secret", of(slack, "/secret")],
    ["deliveries", of(orders, "/deliveries")],
    ["failure", of(orders, `/deliveries/${failed.id}`)],
    ["delivery", of(crm, `/deliveries/${delivered.id}`)],
    ["recover", of(webhooks.billing, "/recover")],
    ["test", of(crm, "/test")],
    ["verify", of(crm, "/verify")],
    ["event", `/events/${event.id}`],
    ["cluster", "/cluster"],
  ];
}

async function take(visitor, name) {
  await visitor.page.waitForLoadState("load");
  const path = join(directory, `dashboard-${name}.png`);
  const height = await visitor.page.evaluate(() => document.documentElement.scrollHeight);
  const { width } = visitor.page.viewportSize();
  await visitor.page.screenshot({ path, fullPage: true, clip: { x: 0, y: 0, width, height: Math.min(height, TALLEST) } });
  shrink(path);
  const { size } = statSync(path);
  console.log(`${path.replace(/.*\/docs/, "docs")} ${Math.round(size / 1024)} KiB`);
  return size <= LARGEST ? [] : [`${name}: ${size} bytes`];
}

mkdirSync(directory, { recursive: true });
const acme = await Acme.begin();
const browser = await launch();
const wrong = [];
try {
  const told = await acme.fill();
  const [failed] = (await told.person.attempts(told.webhooks.orders)).filter(({ success }) => !success);
  const [delivered] = await told.person.attempts(told.webhooks.crm);
  const wanted = process.argv.slice(2);
  for (const [suffix, options] of LOOKS) {
    const visitor = await Visitor.arrive(browser, acme.node, { ...options, person: told.person });
    for (const [name, path] of shots({ ...told, failed, delivered })) {
      if (wanted.length && !wanted.includes(name)) continue;
      await visitor.open(path);
      wrong.push(...(await take(visitor, name + suffix)));
    }
    await visitor.context.clearCookies();
    await visitor.open("/sign-in");
    if (!wanted.length || wanted.includes("sign-in")) wrong.push(...(await take(visitor, `sign-in${suffix}`)));
    await visitor.check();
    await visitor.leave();
  }
} finally {
  await browser.close();
  await acme.end();
}
assert.deepEqual(wrong, [], `pictures over ${LARGEST} bytes`);
