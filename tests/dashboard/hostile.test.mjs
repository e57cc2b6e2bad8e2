// Texts that others choose and pages show: names, descriptions, headers, events, answers of endpoints, tokens, addresses. Each
// tries to become a part of the page, and stays a text.

import assert from "node:assert/strict";

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

/** Parameters that a page may take from its address. */
const PARAMETERS = ["search", "q", "status", "event", "success", "since", "until", "page", "limit", "sort", "next", "done", "name", "url", "events", "filter", "kind", "all", "data"];

test("what others write is shown as a text on every page", async (world) => {
  const told = await hostileStory(world);
  const visitor = await world.visit(told.person);
  const without = ["new", "cluster", "verify"];
  for (const [name, path, route] of pagesOf(told)) {
    if (!READ.includes(route)) continue;
    await visitor.open(path);
    await visitor.check();
    const html = await visitor.page.content();
    if (!without.includes(name) && name !== "event" && name !== "overview") assert.ok(html.includes("data-planted"), `${name} shows nothing of it`);
  }
});

test("what an address holds is shown as a text on every page", async (world) => {
  const told = await hostileStory(world);
  const visitor = await world.visit(told.person);
  // A page may refuse what makes no sense.
  visitor.expected.add(400);
  for (const [name, path, route] of pagesOf(told)) {
    if (!READ.includes(route)) continue;
    for (const payload of PAYLOADS) {
      const query = new URLSearchParams(PARAMETERS.map((parameter) => [parameter, payload]));
      const answer = await visitor.page.goto(`${world.node.origin}/dashboard${path}?${query}`);
      assert.ok([200, 400].includes(answer.status()), `${name}: ${answer.status()}`);
      await visitor.check();
    }
  }
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
