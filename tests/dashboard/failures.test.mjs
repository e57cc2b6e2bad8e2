// The question that the dashboard is for: why did a delivery fail? For four causes, from the first page, by clicks alone.

import assert from "node:assert/strict";

import { Node } from "./node.mjs";
import { test } from "./suite.mjs";

const MOST_CLICKS = 3;

/** What fails, and the words that a person must find: what happened, and what to do about it. */
const CAUSES = [
  {
    name: "an expired certificate",
    settings: ({ receiver }) => ({ url: receiver.expiredUrl }),
    says: [/The certificate of the endpoint (has )?expired[^.]*/, /Renew the certificate at the endpoint/],
  },
  {
    name: "an answer 500",
    settings: ({ receiver }) => ({ url: receiver.at("broken") }),
    says: [/The endpoint answered 500[^.]*/, /look into its own log/, /database is locked/],
  },
  {
    name: "an endpoint that does not answer",
    settings: ({ receiver }) => ({ url: receiver.at("slow"), timeoutSeconds: 1 }),
    says: [/The endpoint gave no complete answer within 1 s/, /Let the endpoint answer 2xx first/],
  },
  {
    name: "a private address",
    settings: ({ receiver }) => ({ url: `http://127.0.0.2:${receiver.port}/private` }),
    says: [/The address of this webhook is not allowed[^.]*/, /Use a host whose addresses are all public/],
  },
];

/** Follows the way to the explanation, and counts the clicks; the first page is where signing in leads. */
async function clicksTo(visitor, says) {
  const shown = async () => (await visitor.text()).replace(/\s+/g, " ");
  const said = (text) => says.every((part) => text.match(part));
  const ways = [/^What went wrong/, /^Look at this delivery/];
  for (let clicks = 0; ; clicks++) {
    const text = await shown();
    if (said(text)) return { clicks, words: says.map((part) => text.match(part)[0]).join("; ") };
    assert.ok(clicks < MOST_CLICKS, `not found: ${says}; the page says: ${text}`);
    const next = ways.map((name) => visitor.page.getByRole("link", { name }).first());
    const there = await Promise.all(next.map((link) => link.count()));
    const chosen = next[there.findIndex(Boolean)];
    assert.ok(chosen, `no way on from ${visitor.path}: ${text}`);
    await visitor.press(chosen);
  }
}

test("from the first page the cause of a failure is at most three clicks away", async (world) => {
  const { receiver } = world;
  // What is allowed when the webhook is saved and not any more when it is delivered: as with a name that leads elsewhere by then.
  const node = await Node.start();
  try {
    const failing = [];
    for (const cause of CAUSES) {
      const person = node.somebody();
      const webhook = await person.create({ name: cause.name, ...cause.settings(world) });
      failing.push({ ...cause, person, webhook });
    }
    await node.restart({ DELIVERY__ALLOWED_NETWORKS: "127.0.0.1/32,::1/128" });
    for (const { name, person, webhook, says } of failing) {
      await person.publish();
      await person.attempted(webhook);
      const visitor = await world.visit(undefined, { node });
      await visitor.open("");
      await visitor.page.getByLabel("Token").fill(person.token);
      await visitor.press("Sign in");
      await visitor.reads("Needs attention", name);
      const { clicks, words } = await clicksTo(visitor, says);
      console.log(`        ${name}: ${clicks} click${clicks === 1 ? "" : "s"}: ${words}`);
      await visitor.check();
    }
    assert.equal(receiver.got("/private").length, 0, "a private address was reached");
  } finally {
    await node.remove();
  }
});
