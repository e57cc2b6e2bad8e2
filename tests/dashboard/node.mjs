// A node of the service with a private Redis, on ports that were free, in a directory of its own; what people and programs
// do with its API; and how it ends.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const BINARY = process.env.BINARY;
/** The longest wait for what must come to be. */
export const SOON = 15_000;
const LOOK_EVERY = 25;

/** Waits until `look` answers something true, and gives that. */
export async function eventually(what, look, limit = SOON) {
  for (const end = Date.now() + limit; Date.now() < end; ) {
    const seen = await look();
    if (seen) return seen;
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY));
  }
  throw new Error(`it never came to this: ${what}`);
}

let made = 0;

export class Node {
  /** Starts one. `settings` are variables without `WEBHOOKS_`. */
  static async start(settings = {}) {
    const node = new Node();
    node.directory = mkdtempSync(join(tmpdir(), "sw-"));
    node.secret = randomBytes(32).toString("hex");
    await node.begin(settings);
    return node;
  }

  /** Starts it again over the same data, with other settings, on another port. */
  async restart(settings) {
    await this.end();
    await this.begin(settings);
  }

  async begin(settings) {
    const own = {
      SERVER__PORT: "0",
      SERVER__MANAGEMENT_PORT: "0",
      AUTH__JWT_SECRET: this.secret,
      REDIS__DATA_DIR: this.directory,
      TELEMETRY__LOG_FORMAT: "json",
      DELIVERY__ALLOWED_NETWORKS: "127.0.0.0/8,::1/128",
      API__RATE_LIMIT_PER_MINUTE: "1000000",
      ...settings,
    };
    this.env = { ...process.env };
    for (const [key, value] of Object.entries(own)) this.env[`WEBHOOKS_${key}`] = value;
    this.process = spawn(BINARY, ["serve"], { cwd: this.directory, env: this.env, stdio: ["ignore", "ignore", "pipe"] });
    this.ended = new Promise((resolve) => this.process.once("exit", resolve));
    const { api, management } = await this.listening();
    this.origin = `http://${api}`;
    this.management = `http://${management}`;
    await eventually("the node is ready", async () => (await fetch(`${this.management}/health/ready`)).ok);
  }

  /** Its addresses, from its log; the rest of the log is read and kept out of the way. */
  listening() {
    return new Promise((resolve, reject) => {
      const last = [];
      createInterface({ input: this.process.stderr }).on("line", (line) => {
        const entry = line.startsWith("{") ? JSON.parse(line) : {};
        if (entry.message === "listening") resolve(entry);
        if (last.push(line) > 20) last.shift();
      });
      this.ended.then((code) => reject(new Error(`the node ended with ${code}:\n${last.join("\n")}`)));
    });
  }

  async end() {
    this.process.kill("SIGTERM");
    await this.ended;
  }

  /** Ends it, and what it stored. */
  async remove() {
    await this.end();
    rmSync(this.directory, { recursive: true, force: true });
  }

  program(...words) {
    return execFileSync(BINARY, words, { cwd: this.directory, env: this.env, encoding: "utf8" });
  }

  /** Somebody that no other test knows, in an organization of their own unless another is given. */
  somebody({ name = `user${++made}`, organization = `org-of-${name}`, role, scope, ttl } = {}) {
    const given = { sub: name, org: organization, role, scope, ttl };
    const words = Object.entries(given).flatMap(([key, value]) => (value ? [`--${key}`, value] : []));
    return new Person(this, name, organization, this.program("token", ...words).trim());
  }

  redis(...words) {
    const socket = join(this.directory, "redis", "redis.sock");
    return execFileSync("redis-cli", ["-s", socket, ...words], { encoding: "utf8" }).trim();
  }

  async metric(start) {
    const text = await (await fetch(`${this.management}/metrics`)).text();
    return text.split("\n").filter((line) => line.startsWith(start));
  }
}

/** Somebody with a token, and what their programs do with it. */
export class Person {
  constructor(node, name, organization, token) {
    Object.assign(this, { node, name, organization, token });
  }

  async ask(method, path, body) {
    const answer = await fetch(`${this.node.origin}/api${path}`, {
      method,
      headers: { authorization: `Bearer ${this.token}`, ...(body && { "content-type": "application/json" }) },
      body: body && JSON.stringify(body),
    });
    const text = await answer.text();
    assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
    return text && JSON.parse(text);
  }

  /** A webhook that gives up at once, unless told otherwise. */
  create(settings) {
    return this.ask("POST", "/webhooks", { name: "Orders", events: ["lead.*"], retryAttempts: 0, ...settings });
  }

  async publish(data = { leadId: "l_1", name: "Ada Lovelace" }, type = "lead.created", rest = {}) {
    const service = this.node.somebody({ name: "service", organization: this.organization, role: "service" });
    return service.ask("POST", "/events", { type, data, ...rest });
  }

  webhooks() {
    return this.ask("GET", "/webhooks");
  }

  async attempts(webhook) {
    return (await this.ask("GET", `/webhooks/${webhook.id}/deliveries?limit=100`)).logs;
  }

  /** Waits for so many attempts in the log of the webhook; newest first. */
  attempted(webhook, count = 1) {
    return eventually(`${count} attempts for ${webhook.name}`, async () => {
      const attempts = await this.attempts(webhook);
      return attempts.length >= count && attempts;
    });
  }

  /** A webhook with one attempt to that address. */
  async tried(settings, data, type) {
    const webhook = await this.create(settings);
    const event = await this.publish(data, type);
    const [attempt] = await this.attempted(webhook);
    return { webhook, event, attempt };
  }
}
