// What holds of every page: people who cannot see, who use a phone, who like it dark, and who have no JavaScript can use it;
// nothing jumps while it loads.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { DESKTOP, PHONE } from "./browser.mjs";
import { READ } from "./routes.mjs";
import { pagesOf, story } from "./story.mjs";
import { test } from "./suite.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const LOOKS = ["light", "dark"].flatMap((colorScheme) => [DESKTOP, PHONE].map((size) => ({ colorScheme, ...size })));
/** Layout shift that nobody notices; the bound that browsers' makers call good is 0.1. */
const MOST_SHIFT = 0.02;
/** Rows of the table of routes that are no pages by themselves. */
const NO_PAGES = ["/", "/assets/{name}", "/sign-in", "/webhooks/preview"];

/** Pages that only follow upon something that somebody did: a name, the status, and how they come about. */
function answersOf({ person, webhooks: { broken, fine, odd } }) {
  const page = (webhook, rest) => `/webhooks/${webhook.id}${rest}`;
  const pressing = (path, button, prepare = async () => {}) => async (visitor) => {
    await visitor.open(path);
    await prepare(visitor.page);
    return visitor.press(typeof button === "string" ? button : visitor.page.locator(button.selector));
  };
  const send = { selector: "#draft button[type=submit]" };
  return [
    ["new-faults", 400, pressing("/webhooks/new", "Create webhook")],
    ["settings-faults", 400, pressing(page(fine, "/edit"), "Save changes", (on) => on.getByLabel("Retries", { exact: true }).fill("many"))],
    ["settings-overtaken", 412, pressing(page(fine, "/edit"), "Save changes", async (on) => {
      await person.ask("PATCH", `/webhooks/${fine.id}`, { name: "Theirs" });
      await on.getByLabel("Name", { exact: true }).fill("Mine");
    })],
    ["secret-faults", 400, pressing(page(odd, "/secret"), "Make a new secret", (on) => on.locator("input[name=secret]").fill("mine"))],
    ["secret-made", 200, pressing(page(odd, "/secret"), "Make a new secret")],
    ["test-faults", 400, pressing(page(fine, "/test"), send, (on) => on.locator("#data").fill("{"))],
    ["test-taken", 200, pressing(page(fine, "/test"), send)],
    ["test-failed", 200, pressing(page(broken, "/test"), send)],
    ["log-faults", 400, (visitor) => visitor.open(page(broken, "/deliveries?time=own&since=soon&until=later&eventId=%3F"), 400)],
    ["recover-faults", 400, (visitor) => visitor.open(page(broken, "/recover?since=soon&until=later&count=1"), 400)],
    ["recover-counted", 200, pressing(page(broken, "/recover"), "Count")],
    ["sign-in-fault", 401, pressing("/sign-in", "Sign in", (on) => on.getByLabel("Token").fill("not.a.token"))],
  ];
}

/** What axe calls serious or worse, in lines. */
async function findings(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const grave = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  return grave.flatMap(({ id, help, nodes }) => nodes.map(({ html }) => `${id}: ${help}: ${html.slice(0, 200)}`));
}

/** All that is wrong with the page that a visitor sees. */
async function look(visitor, name, tally) {
  const { page } = visitor;
  await page.waitForLoadState("load");
  const wrong = await findings(page);
  const { wide, room, shifted, headings } = await page.evaluate(() => ({
    wide: document.documentElement.scrollWidth,
    room: document.documentElement.clientWidth,
    shifted: globalThis.shifted,
    headings: [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map(({ tagName }) => Number(tagName[1])),
  }));
  if (wide > room) wrong.push(`it is ${wide} px wide and has ${room}`);
  if (shifted >= MOST_SHIFT) wrong.push(`it jumps while it loads: ${shifted}`);
  if (headings[0] !== 1 || headings.some((level, at) => level > (headings[at - 1] ?? 0) + 1)) wrong.push(`headings: ${headings}`);
  tally.pages.add(name);
  tally.looks += 1;
  tally.findings += wrong.length;
  return wrong.map((line) => `${name}: ${line}`);
}

for (const options of LOOKS) {
  const { colorScheme, width } = options;
  test(`every page can be used by all, ${colorScheme} and ${width} px wide`, async (world) => {
    const told = await story(world);
    const visitor = await world.visit(told.person, options);
    const wrong = [];
    for (const [name, path] of pagesOf(told)) {
      await visitor.open(path);
      wrong.push(...(await look(visitor, name, world.tally)));
      await visitor.check();
    }
    await visitor.open("/webhooks/wh_00aaaaaaaaaaaaaaaaaaaaaa", 404);
    wrong.push(...(await look(visitor, "not-found", world.tally)));
    const newcomer = await world.visit(world.somebody(), options);
    for (const path of ["", "/webhooks"]) {
      await newcomer.open(path);
      wrong.push(...(await look(newcomer, `empty${path}`, world.tally)));
    }
    const stranger = await world.visit(undefined, options);
    await stranger.open("/sign-in");
    wrong.push(...(await look(stranger, "sign-in", world.tally)));
    assert.deepEqual(wrong, []);
  });

  test(`every page that answers a form can be used by all, ${colorScheme} and ${width} px wide`, async (world) => {
    const told = await story(world);
    const visitor = await world.visit(told.person, options);
    const stranger = await world.visit(undefined, options);
    const wrong = [];
    for (const [name, status, act] of answersOf(told)) {
      const one = name === "sign-in-fault" ? stranger : visitor;
      one.expected.add(status);
      assert.equal((await act(one)).status(), status, name);
      wrong.push(...(await look(one, name, world.tally)));
      await one.check();
    }
    assert.deepEqual(wrong, []);
  });
}

test("what is looked for is found where it is", async (world) => {
  const visitor = await world.visit(world.somebody());
  await visitor.open("");
  await visitor.page.evaluate(async () => {
    document.querySelector("main").append(...Array.from({ length: 30 }, () => Object.assign(document.createElement("p"), { textContent: "A line of words. ".repeat(9) })));
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    const late = document.createElement("div");
    late.innerHTML = '<h5>Hardly to be read</h5><input type="text"><img src="/dashboard/assets/icon.svg">';
    late.style.cssText = "height: 300px; width: 3000px; color: #aaa; background: #fff";
    document.querySelector("main").prepend(late);
  });
  await visitor.page.waitForFunction((most) => globalThis.shifted > most, MOST_SHIFT);
  const wrong = (await look(visitor, "spoilt", { pages: new Set(), looks: 0, findings: 0 })).join("\n");
  for (const part of ["label: ", "image-alt: ", "color-contrast: ", "px wide and has", "it jumps", "headings: 5"]) {
    assert.ok(wrong.includes(part), `${part} is not in: ${wrong}`);
  }
});

test("every page that can be opened is looked at", async (world) => {
  const seen = new Set(pagesOf(await story(world)).map(([, , route]) => route));
  assert.deepEqual(READ.filter((route) => !seen.has(route) && !NO_PAGES.includes(route)), []);
});

test("every page can be read without JavaScript", async (world) => {
  const told = await story(world);
  const [plain, scripted] = [await world.visit(told.person, { javaScriptEnabled: false }), await world.visit(told.person)];
  for (const [name, path] of pagesOf(told)) {
    for (const visitor of [plain, scripted]) await visitor.open(path);
    const titles = await Promise.all([plain, scripted].map((visitor) => visitor.text("h1")));
    assert.equal(titles[0], titles[1], name);
    assert.ok((await plain.text()).length > 20, `${name} is empty without JavaScript`);
  }
});
