// Texts that others choose and pages show: names, descriptions, headers, events, answers of endpoints, tokens, addresses. Each
// tries to become a part of the page, and stays a text.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";

import { PLANT } from "./receiver.mjs";
import { READ } from "./routes.mjs";
import { hostileStory, pagesOf } from "./story.mjs";
import { test } from "./suite.mjs";

/** Other ways out of the places where a text may stand. */
const PAYLOADS = [
  PLANT,
  "'><svg data-planted onload=alert(1)>",
  "</title></textarea></pre></script><b data-planted>x</b>",
  "javascript:alert(1)//",
  "{{constructor.constructor('alert(1)')()}}${alert(1)}<!--",
  "\u202e<img data-planted src=x onerror=alert`1`>",
];

/** Parameters that pages take from their addresses. */
const PARAMETERS = ["q", "state", "all", "page", "result", "time", "event", "eventId", "since", "until", "live", "count", "done"];
/** Those that the part beside the form of a webhook takes. */
const FIELDS = [
  "name", "description", "url", "events", "headerName", "headerValue", "isActive", "retryAttempts", "retryDelaySeconds", "retryBackoff",
  "retrySchedule", "timeoutSeconds", "rateLimitPerSecond", "maxConcurrency", "ordered", "filter", "secret",
];
const RETRIES = { retryAttempts: "3", retryDelaySeconds: "60", retryBackoff: "fixed" };

const all = (names, text) => Object.fromEntries(names.map((name) => [name, text]));

/** Addresses with a text in them. A choice that makes no sense keeps a page from reading the rest, so it is made well too. */
const queries = (text) => [
  [[200, 400], all(PARAMETERS, text)],
  [[200, 400], { ...all(["since", "until", "eventId"], text), time: "own", live: "1" }],
  [[200, 400], { ...all(["since", "until", "event"], text), count: "1" }],
  [[200], { ...all(["q", "event", "page", "done"], text), state: "active", all: "true" }],
  [[200], { event: text, part: "1" }],
];

test("what others write is shown as a text on every page", async (world) => {
  const told = await hostileStory(world);
  const visitor = await world.visit(told.person);
  const without = ["new", "cluster", "verify"];
  for (const [name, path] of pagesOf(told)) {
    await visitor.open(path);
    await visitor.check();
    const html = await visitor.page.content();
    if (!without.includes(name) && name !== "event" && name !== "overview") assert.ok(html.includes("data-planted"), `${name} shows nothing of it`);
  }
});

test("what an address holds is shown as a text on every page", async (world) => {
  const told = await hostileStory(world);
  const visitor = await world.visit(told.person);
  // A page may refuse what makes no sense; a part names no icon, so the browser asks the host for one.
  for (const status of [400, 404]) visitor.expected.add(status);
  for (const [name, path] of pagesOf(told)) {
    for (const [statuses, parameters] of PAYLOADS.flatMap(queries)) {
      const query = new URLSearchParams(parameters);
      const answer = await visitor.page.goto(`${world.node.origin}/dashboard${path}?${query}`);
      assert.ok(statuses.includes(answer.status()), `${name}: ${answer.status()}: ${query}`);
      await visitor.check();
    }
  }
});

test("what the form of a webhook holds is shown as a text beside it", async (world) => {
  assert.ok(READ.includes("/webhooks/preview"));
  const visitor = await world.visit(world.somebody());
  // A part names no icon, so the browser asks the host for one.
  visitor.expected.add(404);
  for (const payload of PAYLOADS) {
    for (const parameters of [all(FIELDS, payload), { ...all(FIELDS, payload), ...RETRIES }, { ...RETRIES, retrySchedule: payload, events: payload }]) {
      await visitor.open(`/webhooks/preview?${new URLSearchParams(parameters)}`);
      assert.ok((await visitor.text("body")).includes("What this comes to"));
      await visitor.check();
    }
  }
});

test("what an address is attacked with is read somewhere", () => {
  const source = new URL("../../src/dashboard/", import.meta.url);
  const files = readdirSync(source, { recursive: true }).filter((file) => file.endsWith(".rs"));
  const text = files.map((file) => readFileSync(new URL(file, source), "utf8")).join("\n");
  assert.deepEqual([...PARAMETERS, ...FIELDS, "part"].filter((name) => !text.includes(`"${name}"`)), []);
});

test("an address that leads nowhere is answered without a part of it", async (world) => {
  const visitor = await world.visit(world.somebody());
  visitor.expected.add(400);
  for (const place of ["/webhooks/", "/events/", "/assets/", "/"]) {
    for (const payload of PAYLOADS) await visitor.open(`${place}${encodeURIComponent(payload)}`, 404);
    await visitor.check();
  }
});

test("the user and the organization of a token are shown as a text", async (world) => {
  const person = world.somebody({ name: `mallory ${PLANT}`, organization: `org ${PLANT}` });
  const visitor = await world.visit(person);
  await visitor.open("");
  assert.ok((await visitor.text("header.top")).includes("<img src=x data-planted"), "the header shows the name");
});

test("the address to go on to is a text on the sign-in page", async (world) => {
  const visitor = await world.visit(undefined);
  for (const payload of PAYLOADS) {
    await visitor.open(`/sign-in?next=${encodeURIComponent(`/dashboard?x=${payload}`)}`);
    await visitor.check();
  }
  visitor.expected.add(401);
  await visitor.open(`/sign-in#${encodeURIComponent(PLANT)}`);
  await visitor.press("Sign in");
});

test("a page that did run a foreign script would be found out", async (world) => {
  const visitor = await world.visit(world.somebody());
  await visitor.open("");
  await visitor.page.evaluate((plant) => document.querySelector("main").insertAdjacentHTML("beforeend", plant), `<b data-planted>${PLANT}`);
  await visitor.page.waitForFunction(() => document.querySelectorAll("[data-planted]").length > 1);
  await assert.rejects(visitor.check(), /planted elements in the page/);
  assert.ok(visitor.faults.some((fault) => fault.includes("policy")), visitor.faults.join());
  visitor.faults.length = 0;
  await visitor.open("");
});
