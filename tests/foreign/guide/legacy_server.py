"""Serves the guide's legacy.py, which lies in the working directory, in the way of the guide's complete programs."""

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

sys.path.insert(0, os.getcwd())

from legacy import verify_legacy  # noqa: E402


class Endpoint(BaseHTTPRequestHandler):
    """Verifies what it gets."""

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204 if verify_legacy(os.environ["WEBHOOK_SECRET"], self.headers, raw) else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


server = HTTPServer(("127.0.0.1", 0), Endpoint)
print("listening on", server.server_port, flush=True)
server.serve_forever()
