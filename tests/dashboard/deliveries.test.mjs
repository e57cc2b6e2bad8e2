// Finding out by clicks what became of events: the log, one delivery, sending again, one event at all webhooks.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";

import { eventually } from "./node.mjs";
import { test } from "./suite.mjs";

/** The types of the events in the rows of the log. */
const shown = (visitor) => visitor.page.locator("#rows tbody td[data-label=Event] a").allInnerTexts();

async function mixed(world) {
  const person = world.somebody();
  const path = `/flip/${person.name}`;
  const webhook = await person.create({ name: "Flip", url: `http://127.0.0.1:${world.receiver.port}${path}`, events: ["*"] });
  world.receiver.instead[path] = "/broken";
  await person.publish({ n: 1 }, "lead.created");
  await person.attempted(webhook, 1);
  world.receiver.instead[path] = "/ok";
  await person.publish({ n: 2 }, "quote.sent");
  const [newest, oldest] = await person.attempted(webhook, 2);
  return { person, webhook, path, newest, oldest };
}

for (const javaScriptEnabled of [true, false]) {
  const how = javaScriptEnabled ? "" : ", without JavaScript too";

  test(`the log is narrowed by result, event and time${how}`, async (world) => {
    const { person, webhook, oldest } = await mixed(world);
    const visitor = await world.visit(person, { javaScriptEnabled });
    await visitor.open(`/webhooks/${webhook.id}`);
    await visitor.follow("All deliveries");
    assert.deepEqual(await shown(visitor), ["quote.sent", "lead.created"]);
    const narrow = async (label, value) => {
      await visitor.page.getByLabel(label, { exact: true }).selectOption(value);
      await visitor.press("Show");
      return shown(visitor);
    };
    assert.deepEqual(await narrow("Result", "failed"), ["lead.created"]);
    await visitor.follow("Clear");
    assert.deepEqual(await narrow("Event", "quote.*"), ["quote.sent"]);
    await visitor.follow("Clear");
    assert.deepEqual(await narrow("Time", "1h"), ["quote.sent", "lead.created"]);
    await visitor.follow("Clear");
    await visitor.page.getByLabel("Event ID").fill(oldest.eventId);
    await visitor.press("Show");
    assert.deepEqual(await shown(visitor), ["lead.created"]);
    assert.deepEqual(await narrow("Result", "delivered"), []);
    await visitor.reads("Nothing matches");
    await visitor.follow("Clear the filters");
    assert.equal((await shown(visitor)).length, 2);
  });

  test(`a failed delivery is explained and sent again${how}`, async (world) => {
    const { person, webhook, path } = await mixed(world);
    const visitor = await world.visit(person, { javaScriptEnabled });
    await visitor.open(`/webhooks/${webhook.id}/deliveries`);
    await visitor.follow("lead.created");
    await visitor.reads("Why it failed", "The endpoint answered 500", "What to do", "database is locked", '"n": 1');
    const before = world.receiver.got(path).length;
    await visitor.press("Retry this delivery");
    await visitor.reads("The delivery was queued again.");
    const attempts = await person.attempted(webhook, 3);
    assert.deepEqual([attempts[0].event, attempts[0].success], ["lead.created", true]);
    assert.equal(world.receiver.got(path).length, before + 1);
  });

  test(`what failed for good is counted first and then sent again${how}`, async (world) => {
    const { person, webhook, path } = await mixed(world);
    const visitor = await world.visit(person, { javaScriptEnabled });
    await visitor.open(`/webhooks/${webhook.id}`);
    await visitor.press(visitor.page.getByRole("link", { name: "Recover what failed", exact: true }));
    const sent = world.receiver.got(path).length;
    await visitor.press("Count");
    await visitor.reads("2. Send them again", "lead.created");
    assert.equal(world.receiver.got(path).length, sent, "counting sends nothing");
    await visitor.press(visitor.page.getByRole("button", { name: /^Queue .*1.* again/ }));
    await visitor.reads("The recovery has begun");
    await person.attempted(webhook, 3);
    assert.equal(world.receiver.got(path).length, sent + 1);
  });
}

test("a new delivery shows up by itself while the log is followed", async (world) => {
  const person = world.somebody();
  const { webhook } = await person.tried({ url: world.receiver.at("ok"), events: ["*"] });
  const visitor = await world.visit(person);
  await visitor.open(`/webhooks/${webhook.id}/deliveries`);
  await visitor.page.getByRole("button", { name: "Follow live" }).click();
  await person.publish({ n: 2 }, "quote.sent");
  await visitor.page.locator("#rows").getByRole("link", { name: "quote.sent" }).waitFor();
  assert.deepEqual(await shown(visitor), ["quote.sent", "lead.created"]);
});

test("a delivery is copied as a curl command that sends it again", async (world) => {
  const { person, webhook, oldest, path } = await mixed(world);
  const visitor = await world.visit(person, { permissions: ["clipboard-read", "clipboard-write"] });
  await visitor.open(`/webhooks/${webhook.id}/deliveries/${oldest.id}`);
  await visitor.page.getByText("As a curl command").click();
  await visitor.page.getByRole("button", { name: "Copy the command" }).click();
  await visitor.page.getByRole("button", { name: "Copied" }).waitFor();
  const command = await visitor.page.evaluate(() => navigator.clipboard.readText());
  const [first] = world.receiver.got(path);
  const before = world.receiver.got(path).length;
  const ended = new Promise((resolve) => spawn("sh", ["-c", command], { stdio: "ignore" }).on("exit", resolve));
  assert.equal(await ended, 0, command);
  const again = world.receiver.got(path).slice(before);
  assert.deepEqual(again.map(({ body }) => body), [first.body]);
  assert.equal(again[0].headers["webhook-id"], first.headers["webhook-id"]);
  assert.equal(again[0].headers["webhook-signature"], undefined, "no signature leaves with it");
});

test("an event shows where it went, and the way there", async (world) => {
  const { person, webhook, oldest } = await mixed(world);
  await eventually("the event has ended", async () => (await person.ask("GET", `/events/${oldest.eventId}`)).webhooks?.[0]?.status !== "pending");
  const visitor = await world.visit(person);
  await visitor.open(`/webhooks/${webhook.id}/deliveries/${oldest.id}`);
  await visitor.follow("This event at all webhooks");
  await visitor.reads("Where it went", "Flip", "Failed for good", '"n": 1');
  await visitor.follow("Last attempt");
  await visitor.reads("Why it failed");
});

test("deliveries of somebody else are not there, and who may only look sends nothing again", async (world) => {
  const { person, webhook, oldest } = await mixed(world);
  const stranger = await world.visit(world.somebody({ organization: person.organization }));
  const below = ["/deliveries", `/deliveries/${oldest.id}`, "/recover"];
  for (const path of below) await stranger.open(`/webhooks/${webhook.id}${path}`, 404);
  await stranger.open(`/events/${"x".repeat(64)}`, 404);
  const viewer = await world.visit(world.somebody({ name: person.name, organization: person.organization, role: "VIEWER" }));
  for (const path of below) {
    await viewer.open(`/webhooks/${webhook.id}${path}`);
    assert.equal(await viewer.page.locator("main form[method=post]").count(), 0, path);
  }
});
