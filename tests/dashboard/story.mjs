// A person with webhooks in every state, and events delivered and failed: what pages have to show.

import assert from "node:assert/strict";

import { PLANT } from "./receiver.mjs";
import { READ } from "./routes.mjs";

/** Webhooks of one person: what pages show of them is known by their names. */
export async function story(world, { plant = "", role = "ADMIN" } = {}) {
  const { receiver } = world;
  const person = world.somebody({ role });
  const settings = (name, answer, rest = {}) => ({ name: `${name}${plant}`, url: receiver.at(answer, `/${person.name}`), ...rest });
  const broken = await person.create(settings("Order intake", "broken", {
    description: `Sends new leads to the order system.${plant}`,
    headers: { "X-Api-Key": `k-1${plant.replace(/[^\x20-\x7e]/g, "")}` },
  }));
  const fine = await person.create(settings("CRM sync", "ok", { events: ["*"] }));
  const waiting = await person.create(settings("Partner portal", "broken", { retryAttempts: 3, retryDelaySeconds: 3600 }));
  const paused = await person.create(settings("Old warehouse", "ok", { isActive: false }));
  const odd = await person.create(settings("Odd answers", plant ? "planted" : "page"));
  const event = await person.publish({ leadId: "l_1", name: `Ada Lovelace${plant}`, [`note${plant}`]: [1, true, null] });
  const [failed] = await person.attempted(broken);
  const [delivered] = await person.attempted(fine);
  await person.attempted(waiting);
  const [strange] = await person.attempted(odd);
  return { person, event, webhooks: { broken, fine, waiting, paused, odd }, attempts: { failed, delivered, strange } };
}

/** The same where every text that somebody else can choose tries to become a part of the page. */
export function hostileStory(world) {
  return story(world, { plant: PLANT });
}

/** Every page, by a name for people: its path below /dashboard, and the row of the table of routes that it is of. */
export function pagesOf({ event, webhooks, attempts }) {
  const of = (webhook, rest = "") => `/webhooks/${webhook.id}${rest}`;
  const { broken, fine, waiting, paused } = webhooks;
  const pages = [
    ["overview", "", ""],
    ["webhooks", "/webhooks", "/webhooks"],
    ["new", "/webhooks/new", "/webhooks/new"],
    ["summary", of(broken), "/webhooks/{id}"],
    ["summary-fine", of(fine), "/webhooks/{id}"],
    ["summary-paused", of(paused), "/webhooks/{id}"],
    ["settings", of(broken, "/edit"), "/webhooks/{id}/edit"],
    ["pause", of(broken, "/pause"), "/webhooks/{id}/pause"],
    ["delete", of(broken, "/delete"), "/webhooks/{id}/delete"],
    ["secret", of(broken, "/secret"), "/webhooks/{id}/secret"],
    ["deliveries", of(broken, "/deliveries"), "/webhooks/{id}/deliveries"],
    ["deliveries-waiting", of(waiting, "/deliveries"), "/webhooks/{id}/deliveries"],
    ["deliveries-none", of(paused, "/deliveries"), "/webhooks/{id}/deliveries"],
    ["failure", of(broken, `/deliveries/${attempts.failed.id}`), "/webhooks/{id}/deliveries/{attemptId}"],
    ["success", of(fine, `/deliveries/${attempts.delivered.id}`), "/webhooks/{id}/deliveries/{attemptId}"],
    ["strange", of(webhooks.odd, `/deliveries/${attempts.strange.id}`), "/webhooks/{id}/deliveries/{attemptId}"],
    ["recover", of(broken, "/recover"), "/webhooks/{id}/recover"],
    ["test", of(broken, "/test"), "/webhooks/{id}/test"],
    ["verify", of(broken, "/verify"), "/webhooks/{id}/verify"],
    ["event", `/events/${event.id}`, "/events/{id}"],
    ["cluster", "/cluster", "/cluster"],
  ];
  for (const [name, , route] of pages) assert.ok(READ.includes(route), `${name}: there is no route ${route}`);
  return pages;
}
