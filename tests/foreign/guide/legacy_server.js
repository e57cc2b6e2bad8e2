// Serves the guide's legacy.js, which lies in the working directory, in the way of the guide's complete programs.
"use strict";

const { createServer } = require("node:http");
const { join } = require("node:path");
const { verifyLegacy } = require(join(process.cwd(), "legacy.js"));

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const genuine = verifyLegacy(process.env.WEBHOOK_SECRET, request.headers, Buffer.concat(chunks));
    response.writeHead(genuine ? 204 : 401).end();
  });
});
server.listen(0, "127.0.0.1", () => console.log("listening on", server.address().port));
