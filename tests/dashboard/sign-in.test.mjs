// Coming in and going out.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";

import { test } from "./suite.mjs";

async function enter(visitor, token) {
  await visitor.page.getByLabel("Token").fill(token);
  return visitor.press("Sign in");
}

/** A token of that person that ended an hour ago. */
function ended(person) {
  const part = (claims) => Buffer.from(JSON.stringify(claims)).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) - 3600;
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: person.name, exp })}`;
  return `${signed}.${createHmac("sha256", person.node.secret).update(signed).digest("base64url")}`;
}

test("a good token signs in, and signing out ends the session", async (world) => {
  const person = world.somebody();
  const visitor = await world.visit(undefined);
  await visitor.open("");
  assert.match(visitor.path, /^\/sign-in\?/);
  await enter(visitor, person.token);
  assert.equal(visitor.path, "");
  assert.ok((await visitor.text("header.top")).includes(person.name));
  await visitor.press("Sign out");
  await visitor.reads("You are signed out.");
  await visitor.open("");
  assert.match(visitor.path, /^\/sign-in/);
});

test("a wrong token is refused in words, and the field is asked for again", async (world) => {
  const visitor = await world.visit(undefined);
  visitor.expected.add(401);
  await visitor.open("");
  assert.equal((await enter(visitor, "not.a.token")).status(), 401);
  await visitor.reads("This token is not taken");
  const said = await visitor.page.getByLabel("Token").getAttribute("aria-describedby");
  assert.ok(said.split(" ").includes("fault"), `the fault belongs to the field: ${said}`);
  assert.equal(await visitor.page.getByLabel("Token").inputValue(), "", "the token is not sent back");
});

test("a session that ended comes back to the page that was asked for", async (world) => {
  const person = world.somebody();
  const visitor = await world.visit(undefined);
  await visitor.carry({ token: ended(person) });
  await visitor.open("?from=a&to=b");
  assert.match(visitor.path, /^\/sign-in\?/);
  await visitor.reads("Your sign-in has ended.");
  await enter(visitor, person.token);
  assert.equal(visitor.path, "?from=a&to=b");
});

test("a link with a token fills the field, and signs in only when the button is pressed", async (world) => {
  const person = world.somebody();
  const visitor = await world.visit(undefined);
  await visitor.open(`/sign-in#${person.token}`);
  assert.equal(await visitor.page.getByLabel("Token").inputValue(), person.token);
  assert.ok(!visitor.page.url().includes(person.token), "the address holds no token any more");
  assert.deepEqual((await visitor.context.cookies()).filter(({ value }) => value === person.token), []);
  await visitor.press("Sign in");
  assert.equal(visitor.path, "");
  const [session] = (await visitor.context.cookies()).filter(({ value }) => value === person.token);
  assert.ok(session.httpOnly && session.sameSite === "Strict" && session.path === "/dashboard", JSON.stringify(session));
});

test("a link opened a second time hands its token on to no other address", async (world) => {
  const person = world.somebody();
  const visitor = await world.visit(undefined);
  await visitor.open(`/sign-in#${person.token}`);
  await visitor.press("Sign in");
  await visitor.open(`/sign-in?next=${encodeURIComponent("/dashboard/webhooks")}#${person.token}`);
  await visitor.reads(`You are signed in as ${person.name}.`);
  assert.ok(!visitor.page.url().includes(person.token), "the address holds no token any more");
  await visitor.arriving(() => visitor.page.getByRole("link", { name: "Go on", exact: true }).click());
  assert.equal(visitor.path, "/webhooks");
  assert.ok(!visitor.page.url().includes(person.token), visitor.page.url());
});

test("no address leads away from this site after signing in", async (world) => {
  const person = world.somebody();
  const nexts = ["https://example.com/", "//example.com", "/\\example.com", "/dashboard/../api", "javascript:alert(1)", "/api/docs"];
  for (const next of nexts) {
    const visitor = await world.visit(undefined);
    await visitor.open(`/sign-in?next=${encodeURIComponent(next)}`);
    await enter(visitor, person.token);
    assert.equal(visitor.path, "", next);
  }
});

test("the keyboard alone signs in", async (world) => {
  const person = world.somebody();
  const visitor = await world.visit(undefined);
  await visitor.open("");
  await visitor.tabTo(visitor.page.getByLabel("Token"));
  await visitor.page.keyboard.insertText(person.token);
  await visitor.arriving(() => visitor.page.keyboard.press("Enter"));
  assert.equal(visitor.path, "");
  await visitor.page.keyboard.press("Tab");
  assert.equal(await visitor.focused(), "To the content");
  await visitor.page.keyboard.press("Enter");
  assert.equal(await visitor.page.evaluate(() => document.activeElement.id), "content");
});

test("without JavaScript one signs in and out all the same", async (world) => {
  const person = world.somebody();
  const visitor = await world.visit(undefined, { javaScriptEnabled: false });
  await visitor.open("");
  await enter(visitor, person.token);
  assert.equal(visitor.path, "");
  await visitor.press("Sign out");
  await visitor.reads("You are signed out.");
});

test("a token without the right to read is told so", async (world) => {
  const person = world.somebody({ scope: "events:publish" });
  const visitor = await world.visit(undefined);
  visitor.expected.add(403);
  await visitor.open("");
  assert.equal((await enter(visitor, person.token)).status(), 403);
  await visitor.reads("This token cannot be used here");
});
