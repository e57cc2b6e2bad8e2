// Sending a test and learning how to verify requests, and who sees the cluster, by clicks.

import assert from "node:assert/strict";

import { test } from "./suite.mjs";

for (const javaScriptEnabled of [true, false]) {
  const how = javaScriptEnabled ? "" : ", without JavaScript too";

  test(`a test is sent with data of one's own, and its answer is shown${how}`, async (world) => {
    const person = world.somebody();
    const path = `/ok/${person.name}`;
    const webhook = await person.create({ url: world.receiver.at("ok", `/${person.name}`), events: ["*"] });
    const visitor = await world.visit(person, { javaScriptEnabled });
    visitor.expected.add(400);
    await visitor.open(`/webhooks/${webhook.id}`);
    await visitor.press(visitor.page.locator("nav.tabs").getByRole("link", { name: "Test" }));
    await visitor.page.getByLabel("Event type").selectOption("quote.sent");
    const load = visitor.page.getByRole("button", { name: "Load sample" });
    // With a script the sample comes by itself.
    if (!javaScriptEnabled) await visitor.press(load);
    const send = visitor.page.getByRole("button", { name: "Send quote.sent" });
    await send.waitFor();
    const data = visitor.page.locator("#data");
    assert.ok(Object.keys(JSON.parse(await data.inputValue())).length > 0, "the sample is there");

    await data.fill('{"total": 12.50,');
    assert.equal((await visitor.press(send)).status(), 400);
    assert.equal(await data.getAttribute("aria-invalid"), "true");
    await visitor.reads("The data is not valid JSON");
    assert.equal(world.receiver.got(path).length, 0, "nothing is sent while something is wrong");

    await data.fill('{"total": 12.50}');
    await visitor.press(send);
    await visitor.reads("The endpoint took the test", "200", "thank you");
    const [{ headers, body }] = world.receiver.got(path);
    assert.equal(headers["x-webhook-event"], "quote.sent");
    assert.ok(body.includes('"data":{"total":12.50}'), body);
    await visitor.follow("See it in the log");
    await visitor.reads("quote.sent");
  });

  test(`a test that fails is explained${how}`, async (world) => {
    const person = world.somebody();
    const webhook = await person.create({ url: world.receiver.at("broken") });
    const visitor = await world.visit(person, { javaScriptEnabled });
    await visitor.open(`/webhooks/${webhook.id}/test`);
    await visitor.press(visitor.page.locator("#draft button[type=submit]"));
    await visitor.reads("The test failed", "The endpoint answered 500", "database is locked");
    assert.equal((await person.webhooks())[0].consecutiveFailures, 0, "a test counts nowhere");
  });

  test(`a program that verifies can be read in each language${how}`, async (world) => {
    const person = world.somebody();
    const webhook = await person.create({ url: world.receiver.at("ok") });
    const visitor = await world.visit(person, { javaScriptEnabled });
    await visitor.open(`/webhooks/${webhook.id}/verify`);
    // The boxes themselves are out of sight: people press their labels.
    const languages = visitor.page.locator("input[name=language] + label");
    const seen = new Set();
    for (let at = 0; at < (await languages.count()); at++) {
      await languages.nth(at).click();
      const program = visitor.page.locator("pre[aria-label^='Program in']:visible");
      assert.equal(await program.count(), 1);
      seen.add(await program.innerText());
      assert.match(await program.innerText(), /WEBHOOK_SECRET/);
    }
    assert.ok(seen.size > 2, `${seen.size} programs`);
    assert.ok(!(await visitor.page.content()).includes(webhook.secret), "the secret is not there");
  });
}

test("who may only look, or somebody else, sends no test", async (world) => {
  const person = world.somebody();
  const webhook = await person.create({ url: world.receiver.at("ok", "/never") });
  const viewer = await world.visit(world.somebody({ name: person.name, organization: person.organization, role: "VIEWER" }));
  const stranger = await world.visit(world.somebody({ organization: person.organization }));
  for (const path of ["/test", "/verify"]) {
    await viewer.open(`/webhooks/${webhook.id}${path}`);
    assert.equal(await viewer.page.locator("main form[method=post]").count(), 0, path);
    await stranger.open(`/webhooks/${webhook.id}${path}`, 404);
  }
});

test("an administrator sees the cluster, and nobody else", async (world) => {
  const admin = await world.visit(world.somebody({ role: "ADMIN" }));
  await admin.open("");
  await admin.follow("Cluster");
  await admin.reads("Every partition has an owner", "Nodes", "Partitions");
  for (const role of [undefined, "VIEWER"]) {
    const other = await world.visit(world.somebody({ role }));
    await other.open("");
    assert.equal(await other.page.getByRole("link", { name: "Cluster" }).count(), 0);
    other.expected.add(403).add(404);
    const answer = await other.page.goto(`${world.node.origin}/dashboard/cluster`);
    assert.ok([403, 404].includes(answer.status()), `${answer.status()}`);
  }
});

test("the page of the cluster is refreshed by itself", async (world) => {
  const visitor = await world.visit(world.somebody({ role: "ADMIN" }));
  const asked = visitor.page.waitForResponse((answer) => answer.request().resourceType() === "fetch");
  await visitor.open("/cluster");
  assert.equal((await asked).status(), 200);
  await visitor.reads("Every partition has an owner");
});
