// Takes the requests of one webhook and verifies them. Node.js 18 or later, no package:
//   WEBHOOK_SECRET=whsec_... PORT=8000 node webhook.mjs
// {{own_headers}}
//
// Every request carries two signatures. One is enough; this program checks the first, which also tells how old a request is.
// - {{signature_header}}: "v1," and the base64 of HMAC-SHA256 over "id.timestamp.body". The key is what follows whsec_ in
//   the secret, base64-decoded. While a secret is being replaced there are several, with a space between: one must be right.
// - {{hex_signature_header}}: the hex of HMAC-SHA256 over the body alone. The key is the whole secret as text.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const TOLERANCE_SECONDS = 300;
const MOST_BYTES = 1024 * 1024;
const secret = process.env.WEBHOOK_SECRET ?? "";

/** Whether a request is genuine and fresh. `body` holds the bytes as they came, before any parser has touched them. */
function isGenuine(headers, body) {
  const id = headers["{{id_header}}"];
  const timestamp = headers["{{timestamp_header}}"];
  const signatures = headers["{{signature_header}}"];
  if (!id || !signatures || !/^[0-9]{1,12}$/.test(timestamp ?? "")) return false;
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_SECONDS) return false;

  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  if (key.length < 16) return false; // no secret, or not the whole of it
  const signature = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest("base64");
  const expected = Buffer.from(`v1,${signature}`);
  // Compared in constant time: how long it takes tells nothing about how much of a guess is right.
  const isExpected = (entry) => entry.length === expected.length && timingSafeEqual(entry, expected);
  return signatures.split(" ").some((entry) => isExpected(Buffer.from(entry)));
}

const server = createServer((request, response) => {
  const chunks = [];
  let length = 0;
  request.on("data", (chunk) => {
    length += chunk.length;
    if (length <= MOST_BYTES) chunks.push(chunk);
  });
  request.on("end", () => {
    const body = Buffer.concat(chunks);
    if (length > MOST_BYTES) return response.writeHead(413).end();
    if (!isGenuine(request.headers, body)) return response.writeHead(401).end();
    const event = JSON.parse(body.toString("utf8"));
    // Store the event here, once for each id (it may come again); answer 2xx; do the work afterwards.
    console.log(event.type, event.id);
    response.writeHead(204).end();
  });
});
server.listen(Number(process.env.PORT ?? 8000), "127.0.0.1", () => console.log("listening on", server.address().port));
