// An installation that looks like one in use, for pictures: an organization with endpoints at names of its own, three nodes,
// and a week of history.
//
// Its endpoints are at `https://….acme.example`: names that exist nowhere, which a name server of its own leads to this machine,
// and a proxy of its own answers for.

import { execFileSync } from "node:child_process";
import { createSocket } from "node:dgram";
import http from "node:http";
import https from "node:https";
import { join } from "node:path";

import { Authority } from "./certificates.mjs";
import { Node } from "./node.mjs";
import { listen } from "./receiver.mjs";

const HOUR = 3_600_000;
const WEEK = 168;
const DAY = 24;
const BUCKETS = 29;
const DAY_SLOT = 12 + 4 * BUCKETS;

const sites = {
  "crm.acme.example": (answer) => setTimeout(() => answer.writeHead(200).end('{"received":true}'), 38),
  "hooks.slack.example": (answer) => setTimeout(() => answer.writeHead(200).end("ok"), 112),
  "warehouse.acme.example": (answer) => setTimeout(() => answer.writeHead(204).end(), 21),
  "orders.acme.example": (answer) =>
    answer.writeHead(500, { "content-type": "application/json" }).end('{"error":"database is locked","code":"E_DB_LOCKED","retry":true}'),
  "portal.partner.example": () => {},
};

/** Answers every question for an IPv4 address with this machine, all others with nothing. */
function names() {
  const socket = createSocket("udp4");
  socket.on("message", (question, { port, address }) => {
    let end = 12;
    while (question[end]) end += question[end] + 1;
    const asked = question.subarray(12, end + 5);
    const isIpv4 = question.readUInt16BE(end + 1) === 1;
    const head = Buffer.from([question[0], question[1], 0x81, 0x80, 0, 1, 0, isIpv4 ? 1 : 0, 0, 0, 0, 0]);
    const record = isIpv4 ? Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]) : Buffer.alloc(0);
    socket.send(Buffer.concat([head, asked, record]), port, address);
  });
  return new Promise((resolve) => socket.bind(0, "127.0.0.1", () => resolve(socket)));
}

/** A number between 0 and 1 that is the same in every run. */
function chance(number) {
  const sine = Math.sin(number * 12.9898) * 43758.5453;
  return sine - Math.floor(sine);
}

/** A week of attempts, busier by day; `failing` is the share of failures in the last hours. */
function week(now, most, failing) {
  return Array.from({ length: WEEK - 1 }, (_, at) => {
    const age = WEEK - 1 - at;
    const hour = Math.floor(now / HOUR) - age;
    const daylight = 0.25 + 0.75 * Math.max(0, Math.sin(((hour % DAY) - 6) * (Math.PI / 14)));
    const attempts = Math.round(most * daylight * (0.7 + 0.6 * chance(hour + most)));
    const share = age <= 5 ? failing : failing ? 0.015 * chance(hour) : 0;
    const fail = Math.round(attempts * share);
    return { hour, age, ok: attempts - fail, fail };
  });
}

export class Acme {
  static async begin() {
    const acme = new Acme();
    acme.authority = new Authority();
    const good = acme.authority.issue(Object.keys(sites), "20200101000000Z", "20490101000000Z");
    const expired = acme.authority.issue(["billing.acme.example"], "20250101000000Z", "20260301000000Z");
    acme.good = https.createServer(good, (request, answer) => request.resume().on("end", () => sites[request.headers.host](answer)));
    acme.expired = https.createServer(expired);
    // The tunnel ends where it begins: in the server of the name.
    acme.proxy = http.createServer().on("connect", ({ url }, socket) => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      (url.startsWith("billing.") ? acme.expired : acme.good).emit("connection", socket);
      socket.on("error", () => socket.destroy());
    });
    acme.names = await names();
    process.env.SSL_CERT_FILE = acme.authority.file;
    const settings = {
      DELIVERY__PROXY_URL: `http://127.0.0.1:${await listen(acme.proxy)}`,
      DELIVERY__DNS_SERVERS: `127.0.0.1:${acme.names.address().port}`,
    };
    acme.nodes = [await Node.start({ ...settings, NODE__ID: "webhooks-0" })];
    const [first] = acme.nodes;
    for (const id of ["webhooks-1", "webhooks-2"]) {
      acme.nodes.push(await Node.start({ ...settings, NODE__ID: id, AUTH__JWT_SECRET: first.secret, REDIS__URL: `unix://${first.directory}/redis/redis.sock` }));
    }
    acme.node = first;
    return acme;
  }

  /** Webhooks as people have them, what came of their last events, and their past. */
  async fill() {
    const dana = this.node.somebody({ name: "dana", organization: "acme", role: "ADMIN" });
    const create = (name, url, events, rest = {}) => dana.create({ name, url: `https://${url}`, events, retryAttempts: 3, retryDelaySeconds: 600, ...rest });
    const warehouse = await create("Data warehouse", "warehouse.acme.example/ingest", ["*"], { description: "Every event, for the reports of the sales team." });
    const slack = await create("Slack: new leads", "hooks.slack.example/services/T024/B51", ["lead.created"], { retryBackoff: "exponential" });
    const portal = await create("Partner portal", "portal.partner.example/webhooks/salesos", ["quote.*"], { timeoutSeconds: 1 });
    const billing = await create("Billing bridge", "billing.acme.example/hooks", ["quote.accepted"], { retryAttempts: 0 });
    const old = await create("Old intranet", "intranet.acme.example/in", ["lead.*"], { isActive: false });
    const orders = await create("Order intake", "orders.acme.example/webhooks/salesos", ["lead.*", "quote.accepted"], {
      description: "Turns accepted quotes into orders.", headers: { "X-Api-Key": "planted" }, retryBackoff: "exponential", retryAttempts: 5,
    });
    const crm = await create("CRM sync", "crm.acme.example/api/salesos", ["*"]);
    const event = await this.events(dana, { crm, orders, portal, billing });
    this.past(dana, [[crm, 420, 0], [warehouse, 390, 0], [slack, 60, 0.004], [orders, 130, 0.55], [billing, 25, 0.9], [portal, 45, 0.25]]);
    return { person: dana, event, webhooks: { crm, orders, slack, warehouse, portal, billing, old } };
  }

  async events(dana, { crm, orders, portal, billing }) {
    const lead = (id, name, company) => ({ leadId: id, name, company, email: `${name.split(" ")[0].toLowerCase()}@${company.toLowerCase().replace(/\W+/g, "")}.example`, score: 82, owner: { id: "u_17", name: "Grace Hopper" }, tags: ["inbound", "webinar"] });
    const leads = [["Ada Lovelace", "Analytical Engines"], ["Alan Turing", "Bletchley Ltd"], ["Katherine Johnson", "Orbital"], ["Edsger Dijkstra", "Shortest Path"], ["Barbara Liskov", "Substitution Inc"]];
    for (const [at, [name, company]] of leads.entries()) await dana.publish(lead(`lead_${4811 + at}`, name, company), at % 2 ? "lead.updated" : "lead.created");
    await dana.publish({ quoteId: "quote_2041", amount: 12_400, currency: "EUR" }, "quote.sent");
    const event = await dana.publish({ quoteId: "quote_2038", leadId: "lead_4790", amount: 8_950, currency: "EUR", acceptedBy: "Margaret Hamilton" }, "quote.accepted");
    await dana.attempted(crm, 7);
    for (const webhook of [orders, portal, billing]) await dana.attempted(webhook, 1);
    return event;
  }

  /** Writes the hours before this one into the statistics, as `store::stats` keeps them. */
  past(person, histories) {
    const now = Date.now();
    const hash = this.node.redis("--raw", "KEYS", "sw:*:stats:*").split("\n")[0];
    const sum = new Map();
    for (const [webhook, most, failing] of histories) {
      const hours = week(now, most, failing);
      this.hoursOf(webhook, hours, 20 + most / 6);
      for (const { hour, age, ok, fail } of hours) {
        const of = sum.get(hour) ?? { age, ok: 0, fail: 0 };
        sum.set(hour, { age, ok: of.ok + ok, fail: of.fail + fail });
      }
    }
    const fields = [...sum].flatMap(([hour, { ok, fail }]) => [`${hour % WEEK}:h`, hour, `${hour % WEEK}:ok`, ok, `${hour % WEEK}:fail`, fail]);
    for (const [hour, { age, ok }] of sum) {
      if (age < DAY) fields.push(`${hour % DAY}:lh`, hour, `${hour % DAY}:sum`, ok * 48, `${hour % DAY}:n`, ok, `${hour % DAY}:b10`, Math.round(ok * 0.8), `${hour % DAY}:b14`, Math.round(ok * 0.2));
    }
    this.node.redis("HSET", hash, ...fields.map(String));
  }

  hoursOf(webhook, hours, spent) {
    const [key] = this.node.redis("--raw", "KEYS", `sw:*:hours:${webhook.id}`).split("\n");
    const counts = this.node.redis("--raw", "KEYS", `sw:*:count:${webhook.id}`).split("\n")[0];
    if (!key || !counts) return;
    const commands = [];
    const put = (at, number) => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(number);
      commands.push(`SETRANGE ${key} ${at} "${bytes.toString("hex").replace(/../g, "\\x$&")}"`);
    };
    for (const { hour, age, ok, fail } of hours) {
      const at = (hour % WEEK) * 12;
      [hour, ok, fail].forEach((number, field) => put(at + field * 4, number));
      if (age >= DAY) continue;
      const day = WEEK * 12 + (hour % DAY) * DAY_SLOT;
      put(day, hour);
      put(day + 8, Math.round(ok * spent));
      put(day + 12 + 4 * 10, ok);
    }
    const [ok, fail] = ["ok", "fail"].map((name) => hours.reduce((sum, hour) => sum + hour[name], 0));
    const totals = { ok, fail, delivered: ok, dead: Math.round(fail / 4) };
    for (const [name, number] of Object.entries(totals)) commands.push(`HINCRBY ${counts} ${name} ${number}`);
    // All at once: a process for each would hold this one up until the node has closed its idle connections.
    execFileSync("redis-cli", ["-s", join(this.node.directory, "redis", "redis.sock")], { input: commands.join("\n") });
  }

  async end() {
    for (const node of this.nodes.reverse()) await node.remove();
    for (const server of [this.proxy, this.good, this.expired]) {
      server.close();
      server.closeAllConnections();
    }
    this.names.close();
    this.authority.remove();
  }
}
