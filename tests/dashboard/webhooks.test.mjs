// Managing webhooks by clicks: create, change, pause, a new secret, delete, find.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";

import { test } from "./suite.mjs";

/** The faults beside a field, as those hear them who do not see the page. */
async function faultsOf(visitor, label) {
  const control = visitor.page.getByLabel(label, { exact: true });
  assert.equal(await control.getAttribute("aria-invalid"), "true", `${label} is marked`);
  const ids = (await control.getAttribute("aria-describedby")).split(" ");
  return (await Promise.all(ids.map((id) => visitor.text(`#${id}`)))).join(" ");
}

async function fill(visitor, fields) {
  for (const [label, value] of Object.entries(fields)) await visitor.page.getByLabel(label, { exact: true }).fill(value);
}

/** Ticks the box of that pattern, which may lie in a group that is closed. */
async function tick(visitor, pattern) {
  const box = visitor.page.locator(`input[name=events][value="${pattern}"]`);
  if (!(await box.isVisible())) await visitor.page.locator("details", { has: box }).locator("summary").click();
  await box.check();
}

const only = async (person) => {
  const webhooks = await person.webhooks();
  assert.equal(webhooks.length, 1, JSON.stringify(webhooks));
  return webhooks[0];
};

for (const javaScriptEnabled of [true, false]) {
  const how = javaScriptEnabled ? "" : ", without JavaScript too";

  test(`a webhook is created after its faults are mended, and its secret is shown once${how}`, async (world) => {
    const person = world.somebody();
    const visitor = await world.visit(person, { javaScriptEnabled });
    visitor.expected.add(400);
    await visitor.open("");
    await visitor.follow("Create your first webhook");
    await fill(visitor, { Name: "", Endpoint: "ftp://example.com/x", Retries: "many" });
    assert.equal((await visitor.press("Create webhook")).status(), 400);
    assert.match(await faultsOf(visitor, "Name"), /name should not be empty/);
    assert.match(await faultsOf(visitor, "Endpoint"), /url must be an http or https URL/);
    assert.match(await faultsOf(visitor, "Retries"), /retryAttempts must be/);
    await visitor.reads("Nothing was saved yet.", "events");
    assert.equal(await visitor.page.getByLabel("Endpoint", { exact: true }).inputValue(), "ftp://example.com/x", "what was typed is kept");
    assert.deepEqual(await person.webhooks(), []);

    await fill(visitor, { Name: "Order intake", Endpoint: world.receiver.at("ok", `/${person.name}`), Retries: "2" });
    await tick(visitor, "lead.*");
    assert.equal((await visitor.press("Create webhook")).status(), 201);
    await visitor.reads("Store it now: it is shown this once.");
    const secret = (await visitor.text("#secret-value")).trim();
    assert.match(secret, /^whsec_[A-Za-z0-9+/]+=*$/);
    const webhook = await only(person);
    assert.deepEqual([webhook.name, webhook.events, webhook.retryAttempts], ["Order intake", ["lead.*"], 2]);
    await visitor.follow("Go to the webhook");
    await visitor.reads("Order intake");
    for (const path of ["", "/edit", "/secret", "/verify"]) {
      await visitor.page.goto(`${world.node.origin}/dashboard/webhooks/${webhook.id}${path}`);
      assert.ok(!(await visitor.page.content()).includes(secret), `the secret is shown again on ${path}`);
    }
  });

  test(`a webhook is changed, and only what was changed${how}`, async (world) => {
    const person = world.somebody();
    const before = await person.create({ url: world.receiver.at("ok"), headers: { "X-Api-Key": "k-1" }, description: "Ünïcode \u{1f980}" });
    const visitor = await world.visit(person, { javaScriptEnabled });
    visitor.expected.add(400);
    await visitor.open(`/webhooks/${before.id}`);
    await visitor.press(visitor.page.locator("nav.tabs").getByRole("link", { name: "Settings" }));
    await fill(visitor, { Name: "x".repeat(255), Wait: "90000" });
    assert.equal((await visitor.press("Save changes")).status(), 400);
    assert.match(await faultsOf(visitor, "Wait"), /retryDelaySeconds must/);
    assert.equal((await only(person)).name, before.name, "nothing is saved while something is wrong");
    await fill(visitor, { Name: "Order desk", Wait: "90" });
    await visitor.press("Save changes");
    await visitor.reads("The changes were saved.", "Order desk");
    const after = await only(person);
    const expected = { ...before, name: "Order desk", retryDelaySeconds: 90, updatedAt: after.updatedAt, secret: undefined };
    assert.deepEqual({ ...after, secret: undefined }, expected);
  });

  test(`a webhook is paused, resumed, and deleted after a question${how}`, async (world) => {
    const person = world.somebody();
    const webhook = await person.create({ url: world.receiver.at("ok") });
    const visitor = await world.visit(person, { javaScriptEnabled });
    await visitor.open(`/webhooks/${webhook.id}`);
    await visitor.press(visitor.page.getByRole("link", { name: "Pause", exact: true }).first());
    await visitor.press("Pause this webhook");
    await visitor.reads("The webhook is paused.", "Paused");
    assert.equal((await only(person)).isActive, false);
    await visitor.press(visitor.page.getByRole("button", { name: "Resume", exact: true }).first());
    await visitor.reads("The webhook is active again.");
    assert.equal((await only(person)).isActive, true);
    await visitor.press(visitor.page.getByRole("link", { name: "Delete", exact: true }).first());
    await visitor.reads("This cannot be undone.");
    await visitor.press(visitor.page.getByRole("link", { name: "Keep it as it is" }));
    assert.equal((await person.webhooks()).length, 1, "asking deletes nothing");
    await visitor.page.goBack();
    await visitor.press("Delete this webhook");
    await visitor.reads("The webhook was deleted");
    assert.deepEqual(await person.webhooks(), []);
    await visitor.open(`/webhooks/${webhook.id}`, 404);
  });

  test(`a new secret is made, shown once, and signs from then on${how}`, async (world) => {
    const person = world.somebody();
    const path = `/ok/${person.name}`;
    const webhook = await person.create({ url: world.receiver.at("ok", `/${person.name}`) });
    const visitor = await world.visit(person, { javaScriptEnabled });
    await visitor.open(`/webhooks/${webhook.id}`);
    await visitor.press(visitor.page.getByRole("link", { name: "New secret", exact: true }).first());
    await visitor.page.getByLabel("Not at all").check();
    await visitor.press("Make a new secret");
    const secret = (await visitor.text("#secret-value")).trim();
    assert.notEqual(secret, webhook.secret);
    await person.publish();
    await person.attempted(webhook);
    const [{ headers, body }] = world.receiver.got(path);
      assert.equal(headers["x-webhook-signature"], createHmac("sha256", secret).update(body).digest("hex"));
    assert.equal(headers["webhook-signature"].split(" ").length, 1, "the former one signs no more");
  });
}

test("the failures in a row are forgotten at a press", async (world) => {
  const person = world.somebody();
  const { webhook } = await person.tried({ url: world.receiver.at("broken") });
  assert.equal((await only(person)).consecutiveFailures, 1);
  const visitor = await world.visit(person);
  await visitor.open(`/webhooks/${webhook.id}`);
  await visitor.press("Try again now");
  await visitor.reads("The failures in a row were forgotten");
  assert.equal((await only(person)).consecutiveFailures, 0);
});

test("the secret is copied at a press", async (world) => {
  const person = world.somebody();
  const webhook = await person.create({ url: world.receiver.at("ok") });
  const visitor = await world.visit(person, { permissions: ["clipboard-read", "clipboard-write"] });
  await visitor.open(`/webhooks/${webhook.id}/secret`);
  await visitor.press("Make a new secret");
  await visitor.page.getByRole("button", { name: "Copy" }).first().click();
  await visitor.page.getByRole("button", { name: "Copied" }).waitFor();
  const copied = await visitor.page.evaluate(() => navigator.clipboard.readText());
  assert.equal(copied, (await visitor.text("#secret-value")).trim());
});

test("webhooks are searched, and narrowed by their state", async (world) => {
  const person = world.somebody();
  for (const name of ["Order intake", "Order desk", "CRM sync"]) await person.create({ name, url: world.receiver.at("ok"), isActive: name !== "Order desk" });
  const visitor = await world.visit(person);
  const names = () => visitor.page.locator("tbody tr td:first-child a").allInnerTexts();
  await visitor.open("/webhooks");
  assert.deepEqual((await names()).sort(), ["CRM sync", "Order desk", "Order intake"]);
  await visitor.page.getByRole("searchbox").fill("order");
  await visitor.press("Search");
  assert.deepEqual((await names()).sort(), ["Order desk", "Order intake"]);
  await visitor.press(visitor.page.getByRole("navigation", { name: "Narrow by state" }).getByRole("link", { name: /^Paused/ }));
  assert.deepEqual(await names(), ["Order desk"]);
  await visitor.page.getByRole("searchbox").fill("nothing of that name");
  await visitor.press("Search");
  await visitor.reads("None found");
  await visitor.follow("Show all");
  assert.equal((await names()).length, 3);
});

test("the form tells what it comes to while it is filled in", async (world) => {
  const visitor = await world.visit(world.somebody());
  await visitor.open("/webhooks/new");
  await tick(visitor, "lead.created");
  await visitor.page.locator("#preview").getByText("Matches 1 type").waitFor();
  await fill(visitor, { Retries: "2", Wait: "30" });
  await visitor.page.waitForFunction(() => document.querySelectorAll("#preview ol.steps li").length === 2);
});

test("two who change one webhook do not overwrite each other", async (world) => {
  const person = world.somebody();
  const webhook = await person.create({ url: world.receiver.at("ok") });
  const visitor = await world.visit(person);
  visitor.expected.add(412);
  await visitor.open(`/webhooks/${webhook.id}/edit`);
  await person.ask("PATCH", `/webhooks/${webhook.id}`, { name: "Theirs" });
  await fill(visitor, { Name: "Mine" });
  assert.equal((await visitor.press("Save changes")).status(), 412);
  await visitor.reads("Somebody else changed this webhook");
  assert.equal((await only(person)).name, "Theirs");
  await visitor.press("Save changes");
  assert.equal((await only(person)).name, "Mine");
});

test("a form that is sent twice creates one webhook", async (world) => {
  const person = world.somebody();
  const visitor = await world.visit(person);
  visitor.expected.add(409);
  await visitor.open("/webhooks/new");
  await fill(visitor, { Name: "Once", Endpoint: world.receiver.at("ok") });
  await tick(visitor, "*");
  await visitor.press("Create webhook");
  const again = visitor.page.waitForResponse((answer) => answer.request().method() === "POST");
  await visitor.page.reload();
  assert.equal((await again).status(), 409);
  assert.equal((await person.webhooks()).length, 1);
});

test("the keyboard alone creates a webhook", async (world) => {
  const person = world.somebody();
  const visitor = await world.visit(person);
  const { keyboard } = visitor.page;
  await visitor.open("");
  await visitor.tabTo(visitor.page.getByRole("link", { name: "Create your first webhook" }));
  await visitor.arriving(() => keyboard.press("Enter"));
  for (const [label, value] of [["Name", "By hand"], ["Endpoint", world.receiver.at("ok")]]) {
    await visitor.tabTo(visitor.page.getByLabel(label, { exact: true }));
    await keyboard.type(value);
  }
  await visitor.tabTo(visitor.page.locator("input[name=events][value='*']"));
  await keyboard.press("Space");
  await visitor.tabTo(visitor.page.getByRole("button", { name: "Create webhook" }));
  await visitor.arriving(() => keyboard.press("Enter"));
  await visitor.reads("Store it now");
  assert.equal((await only(person)).name, "By hand");
});

test("a viewer sees webhooks, and nothing to change them with", async (world) => {
  const owner = world.somebody();
  const webhook = await owner.create({ url: world.receiver.at("ok") });
  const viewer = world.somebody({ name: owner.name, organization: owner.organization, role: "VIEWER" });
  const visitor = await world.visit(viewer);
  visitor.expected.add(403);
  for (const path of ["", "/webhooks", `/webhooks/${webhook.id}`, `/webhooks/${webhook.id}/edit`]) {
    await visitor.open(path);
    const controls = visitor.page.locator("main form[method=post], main a.danger, main a[href$='/new'], main a[href$='/pause'], main a[href$='/secret']");
    assert.equal(await controls.count(), 0, `${path}: ${await controls.allInnerTexts()}`);
  }
  for (const path of ["/pause", "/delete", "/secret"]) {
    const answer = await visitor.page.goto(`${world.node.origin}/dashboard/webhooks/${webhook.id}${path}`);
    const forms = await visitor.page.locator("main form[method=post]").count();
    assert.ok(answer.status() === 403 || forms === 0, `${path}: ${answer.status()}, ${forms} forms`);
  }
});

test("an administrator sees everybody's webhooks, may stop them and not change them", async (world) => {
  const owner = world.somebody();
  const webhook = await owner.create({ name: "Theirs", url: world.receiver.at("ok") });
  const admin = world.somebody({ organization: owner.organization, role: "ADMIN" });
  const visitor = await world.visit(admin);
  await visitor.open("/webhooks");
  await visitor.follow("Whole organization");
  await visitor.follow("Theirs");
  await visitor.reads(owner.name);
  assert.equal(await visitor.page.getByRole("button", { name: "Save changes" }).count(), 0);
  await visitor.press(visitor.page.getByRole("link", { name: "Pause", exact: true }).first());
  await visitor.press("Pause this webhook");
  assert.equal((await owner.webhooks())[0].isActive, false);
  assert.equal((await owner.webhooks())[0].id, webhook.id);
});

test("the webhook of somebody else is not there", async (world) => {
  const owner = world.somebody();
  const webhook = await owner.create({ url: world.receiver.at("ok") });
  const visitor = await world.visit(world.somebody({ organization: owner.organization }));
  for (const path of ["", "/edit", "/pause", "/delete", "/secret"]) await visitor.open(`/webhooks/${webhook.id}${path}`, 404);
});
