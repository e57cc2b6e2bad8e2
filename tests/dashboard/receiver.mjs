// Endpoints of webhooks that do as they are told: a path names what it answers.

import http from "node:http";
import https from "node:https";

import { Authority } from "./certificates.mjs";

/** What is shown on pages that must show it as a text: it would run, or stand out in the page, if it were not. */
export const PLANT = `"><img src=x data-planted onerror=alert(1)><script data-planted>alert(2)</script>`;

const answers = {
  "/ok": (answer) => answer.writeHead(200).end("thank you"),
  "/broken": (answer) =>
    answer.writeHead(500, { "content-type": "application/json" }).end('{"error":"database is locked","code":"E42"}'),
  "/slow": () => {},
  "/moved": (answer) => answer.writeHead(302, { location: "http://127.0.0.1:1/elsewhere" }).end(),
  "/gone": (answer) => answer.writeHead(410).end(),
  "/busy": (answer) => answer.writeHead(429, { "retry-after": "3600" }).end("slow down"),
  "/page": (answer) =>
    answer.writeHead(502, { "content-type": "text/html" }).end(`<h1 data-planted>Bad gateway</h1>${PLANT}`),
  "/planted": (answer) =>
    answer.writeHead(500, PLANT, { "content-type": `text/html; x=${PLANT}`, "x-planted": PLANT }).end(PLANT),
};

/** Listens at any free port of this machine. */
export function listen(server, host = "127.0.0.1") {
  return new Promise((resolve) => server.listen(0, host, () => resolve(server.address().port)));
}

export class Receiver {
  static async start() {
    const receiver = new Receiver();
    receiver.requests = [];
    // What a path answers instead, once told so.
    receiver.instead = {};
    receiver.plain = http.createServer((request, answer) => receiver.take(request, answer));
    receiver.expired = https.createServer(expiredCertificate(), (_, answer) => answer.end());
    receiver.port = await listen(receiver.plain);
    receiver.expiredPort = await listen(receiver.expired);
    return receiver;
  }

  take(request, answer) {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const { pathname } = new URL(request.url, "http://receiver");
      this.requests.push({ path: pathname, headers: request.headers, body: Buffer.concat(chunks).toString() });
      const path = this.instead[pathname] ?? pathname;
      const known = Object.keys(answers).find((start) => path.startsWith(start)) ?? "/ok";
      answers[known](answer);
    });
  }

  /** The address that answers so; `rest` tells webhooks apart. */
  at(answer, rest = "") {
    return `http://127.0.0.1:${this.port}/${answer}${rest}`;
  }

  /** The one whose certificate has expired. */
  get expiredUrl() {
    return `https://localhost:${this.expiredPort}/events`;
  }

  got(path) {
    return this.requests.filter((request) => request.path === path);
  }

  end() {
    for (const server of [this.plain, this.expired]) {
      server.close();
      server.closeAllConnections();
    }
  }
}

/** For `localhost`, and good until some years ago. */
function expiredCertificate() {
  const authority = new Authority();
  try {
    return authority.issue(["localhost"], "20200101000000Z", "20200401000000Z");
  } finally {
    authority.remove();
  }
}
