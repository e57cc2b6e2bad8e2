// Opens the page of the API in a real browser, below both prefixes: it shows every operation, takes a token, calls the API
// with it, breaks no rule of its own policy, and asks no other host for anything.
//
// Called by run.sh, with the path of the binary. Ends with 1 if any of that is not so.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

// NODE_PATH is for `require` alone.
const { chromium } = createRequire(import.meta.url)("playwright-core");

const [binary] = process.argv.slice(2);
const directory = mkdtempSync(join(tmpdir(), "sw-"));
const env = {
  ...process.env,
  WEBHOOKS_SERVER__PORT: "0",
  WEBHOOKS_SERVER__MANAGEMENT_PORT: "0",
  WEBHOOKS_AUTH__JWT_SECRET: randomBytes(32).toString("hex"),
  WEBHOOKS_REDIS__DATA_DIR: directory,
  WEBHOOKS_TELEMETRY__LOG_FORMAT: "json",
};

function program(...args) {
  return execFileSync(binary, args, { env, encoding: "utf8" }).trim();
}

/** The address of the API, from the node's log. */
async function listening(node) {
  for await (const line of createInterface({ input: node.stderr })) {
    const entry = line.startsWith("{") ? JSON.parse(line) : {};
    if (entry.message === "listening") return `http://${entry.api}`;
  }
  throw new Error("the node ended before it listened");
}

/** What one look at the page comes to. */
async function look(browser, address, token, operations) {
  const page = await browser.newPage();
  const faults = [];
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) faults.push(message.text());
  });
  await page.goto(address);
  await page.waitForSelector(".opblock");
  // The webhooks section is shown as an operation, too.
  assert.equal(await page.locator(".opblock").count(), operations + 1, "operations on the page");

  await page.locator(".btn.authorize").first().click();
  await page.locator(".auth-container input").first().fill(token);
  await page.locator(".auth-btn-wrapper button[type=submit]").click();
  await page.locator(".auth-btn-wrapper .btn-done").click();

  const list = page.locator("#operations-Webhooks-listWebhooks");
  await list.locator(".opblock-summary-control").click();
  const answered = page.waitForResponse((response) => response.url().includes("/webhooks?") || response.url().endsWith("/webhooks"));
  await list.locator(".btn.execute").click();
  const response = await answered;
  assert.equal(response.status(), 200, "a call from the page");
  assert.equal(await response.text(), "[]");
  await list.locator(".live-responses-table .response-col_status", { hasText: "200" }).waitFor();

  const log = page.locator("#operations-Deliveries-listDeliveries");
  await log.locator(".opblock-summary-control").click();
  await log.locator(".parameters input").first().waitFor();
  const filled = await log.locator(".parameters input").evaluateAll((inputs) => inputs.map((input) => input.value).filter(Boolean));
  assert.deepEqual(filled, ["20"], "what the page puts into a request by itself");

  const create = page.locator("#operations-Webhooks-createWebhook");
  await create.locator(".opblock-summary-control").click();
  await create.locator("text=JWT").first().isVisible();
  assert.ok((await create.locator(".body-param__text").inputValue()).includes("hooks.example.com"), "the example of a body");

  const origin = new URL(address).origin;
  const foreign = asked.filter((url) => !url.startsWith("data:") && new URL(url).origin !== origin);
  assert.deepEqual(foreign, [], "requests to other hosts");
  assert.deepEqual(faults, [], "faults in the browser");
  if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT });
  await page.close();
  return `${address.replace(origin, "")}: ${operations} operations, ${asked.length} requests, all to this host; ${response.url().replace(origin, "")} 200`;
}

const node = spawn(binary, ["serve"], { env, stdio: ["ignore", "ignore", "pipe"] });
const ended = new Promise((resolve) => node.once("exit", resolve));
try {
  const api = await listening(node);
  const token = program("token", "--sub", "browser");
  const { paths } = JSON.parse(program("openapi"));
  const operations = Object.values(paths).flatMap((item) => Object.keys(item).filter((key) => key !== "parameters")).length;
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
  try {
    for (const prefix of ["/api", "/api/api"]) console.log(await look(browser, `${api}${prefix}/docs`, token, operations));
  } finally {
    await browser.close();
  }
} finally {
  node.kill("SIGTERM");
  await ended;
  rmSync(directory, { recursive: true, force: true });
}
