// Pages of other sites, opened by somebody who is signed in: on another port of the same host, which shares its cookies, and on
// another host. Whatever they send to the dashboard changes nothing.

import assert from "node:assert/strict";
import http from "node:http";

import { Node } from "./node.mjs";
import { listen } from "./receiver.mjs";
import { CHANGED } from "./routes.mjs";
import { test } from "./suite.mjs";

/** What any form of the dashboard could ask for. */
const FIELDS = {
  name: "Taken over", url: "http://127.0.0.1:1/taken", events: "*", description: "", isActive: "true", confirm: "yes",
  since: "2026-01-01T00:00", event: "lead.created", data: "{}", gracePeriodSeconds: "0", retryAttempts: "0",
};

/** An empty page at any address of another origin. */
async function elsewhere(host) {
  const server = http.createServer((_, answer) => answer.writeHead(200, { "content-type": "text/html" }).end("<title>x</title>"));
  const port = await listen(server, host);
  return { origin: `http://${host}:${port}`, end: () => (server.close(), server.closeAllConnections()) };
}

/** Sends the fields there in ways in which a page can; the last way takes the whole page there. */
function attack({ target, fields, way }) {
  if (way.startsWith("fetch")) {
    const body = new URLSearchParams(fields);
    const mode = way === "fetch" ? "no-cors" : "cors";
    return fetch(target, { method: "POST", mode, credentials: "include", body }).then(() => "sent", () => "refused");
  }
  const form = Object.assign(document.createElement("form"), { method: "post", action: target });
  if (way === "plain form") form.enctype = "text/plain";
  for (const [name, value] of Object.entries(fields)) {
    form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
  }
  if (way === "form in a frame") document.body.append(Object.assign(document.createElement("iframe"), { name: "frame" }));
  if (way === "form in a frame") form.target = "frame";
  document.body.append(form);
  form.submit();
  return "sent";
}

const WAYS = ["fetch", "fetch with cors", "plain form", "form in a frame", "form"];

/** Everything of that person that a change could touch. */
async function state(world, person) {
  const webhooks = await person.webhooks();
  const logs = await Promise.all(webhooks.map((webhook) => person.attempts(webhook)));
  const changes = await world.node.metric("salesos_webhooks_changes_total");
  const denied = changes.filter((line) => line.includes("denied")).reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  return { denied, all: { webhooks, logs, done: changes.filter((line) => !line.includes("denied")), sent: world.receiver.requests.length } };
}

/** Sends it from a page at `origin`; gives the statuses of all that came of it at the dashboard. */
async function send(context, world, origin, what) {
  const answers = [];
  const page = await context.newPage();
  page.on("response", (answer) => {
    if (answer.url() === what.target && answer.request().method() === "POST") answers.push(answer.status());
  });
  await page.goto(origin);
  // What the page may not read counts as failed there, though it was sent and answered.
  const over = new Promise((resolve) => {
    const end = (request) => request.url() === what.target && request.method() === "POST" && resolve();
    page.on("requestfinished", end).on("requestfailed", end);
  });
  await page.evaluate(attack, what);
  await over;
  await page.close();
  return answers;
}

/** Without a cookie there is no session to steal, and few tries are left: the 61st without a good token in a minute is a 429. */
const ATTACKERS = [
  { what: "another port of the same host", host: "127.0.0.1", ways: WAYS, marks: 2 },
  { what: "another host", host: "localhost", ways: ["fetch", "form in a frame", "form"], marks: 1 },
];

/** The same world around a node of its own, whose count of failed sign-ins no other test feels. */
async function apart(world, run) {
  const node = await Node.start();
  try {
    await run(Object.assign(Object.create(world), { node }));
  } finally {
    await node.remove();
  }
}

for (const { what, host, ways, marks } of ATTACKERS) {
  test(`forms and scripts of ${what} change nothing, even with the mark of the session`, (shared) => apart(shared, async (world) => {
    const person = world.somebody();
    const { webhook, attempt } = await person.tried({ url: world.receiver.at("broken", "/csrf") });
    const visitor = await world.visit(person);
    await visitor.open("");
    const mark = await visitor.page.locator("input[name=csrf]").first().inputValue();
    const evil = await elsewhere(host);
    const before = await state(world, person);
    const context = await world.browser.newContext({ storageState: await visitor.context.storageState() });
    try {
      for (const path of CHANGED.filter((path) => path !== "/sign-in")) {
        const address = path.replace("{id}", webhook.id).replace("{attemptId}", attempt.id);
        for (const csrf of [mark, undefined].slice(0, marks)) {
          for (const way of ways) {
            const fields = { ...FIELDS, ...(csrf && { csrf }) };
            const answers = await send(context, world, evil.origin, { target: `${world.node.origin}/dashboard${address}`, fields, way });
            const cookies = (await context.cookies()).map(({ name }) => name);
            // Sent without the cookie it is asked to sign in, and at last slowed down as who guesses is; with it the guard refuses.
            for (const status of answers) assert.ok([303, 401, 403, 415, 429].includes(status), `${path} by ${way}: ${status}`);
            assert.ok(cookies.includes("salesos_webhooks_session"), `${path} by ${way} signed the visitor out`);
          }
        }
      }
    } finally {
      await context.close();
      evil.end();
    }
    const after = await state(world, person);
    assert.deepEqual(after.all, before.all);
    // On the same host the cookie comes along: it is the guard of each route that refused, as the audit log counts.
    const guarded = CHANGED.filter((path) => !path.startsWith("/sign-")).length * marks * ways.length;
    assert.equal(after.denied - before.denied, host === "127.0.0.1" ? guarded : 0, "refused by the guard");
  }));
}

test("another site can sign nobody in", async (world) => {
  const person = world.somebody();
  for (const { host } of ATTACKERS) {
    const evil = await elsewhere(host);
    for (const way of WAYS) {
      const context = await world.browser.newContext();
      const fields = { token: person.token, csrf: "AAAAAAAAAAAAAAAAAAAAAAAA" };
      const answers = await send(context, world, evil.origin, { target: `${world.node.origin}/dashboard/sign-in`, fields, way });
      assert.ok(answers.every((status) => status === 403 || status === 415), `${way} from ${host}: ${answers}`);
      assert.deepEqual((await context.cookies()).filter(({ value }) => value === person.token), [], `${way} from ${host}`);
      await context.close();
    }
    evil.end();
  }
});

test("no other site can show a page in a frame of its own", async (world) => {
  const visitor = await world.visit(world.somebody());
  const evil = await elsewhere("127.0.0.1");
  const page = await world.browser.newPage({ storageState: await visitor.context.storageState() });
  const stopped = page.waitForEvent("console", (message) => message.text().includes("frame-ancestors"));
  await page.goto(evil.origin);
  await page.evaluate((src) => document.body.append(Object.assign(document.createElement("iframe"), { src })), `${world.node.origin}/dashboard`);
  await stopped;
  await page.close();
  evil.end();
});
