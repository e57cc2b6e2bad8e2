// An endpoint in Node.js. Prints its port, reads the webhook's secret as the first line of its input, then prints one
// line of JSON for each request: what each way of verifying said.
"use strict";

const { createHmac, timingSafeEqual } = require("node:crypto");
const { createServer } = require("node:http");
const { createInterface } = require("node:readline");
const { Webhook } = require("standardwebhooks");

let secret;

/** SalesOS's recipe: hex HMAC-SHA256 with the whole secret string. */
function recipe(body, signature) {
  const expected = createHmac("sha256", secret).update(body).digest("hex");
  return signature.length === expected.length && timingSafeEqual(Buffer.from(signature), Buffer.from(expected));
}

/** Whether the package accepts the body. */
function accepts(body, headers) {
  try {
    new Webhook(secret).verify(body, headers);
    return true;
  } catch {
    return false;
  }
}

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const raw = Buffer.concat(chunks).toString("utf8");
    const again = JSON.stringify(JSON.parse(raw));
    const signature = request.headers["x-webhook-signature"];
    const checks = {
      "npm standardwebhooks, raw body": accepts(raw, request.headers),
      "npm standardwebhooks, JSON.stringify(body)": accepts(again, request.headers),
      "npm standardwebhooks refuses another body": !accepts(`${raw} `, request.headers),
      "Node.js hex HMAC, raw body": recipe(raw, signature),
      "Node.js hex HMAC, JSON.stringify(body)": recipe(again, signature),
      "Node.js hex HMAC refuses another body": !recipe(`${raw} `, signature),
    };
    response.end();
    console.log(JSON.stringify({ id: request.headers["webhook-id"], checks }));
  });
});

createInterface({ input: process.stdin })
  .once("line", (line) => { secret = line; })
  .once("close", () => process.exit());
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
