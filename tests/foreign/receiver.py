"""An endpoint in Python. Prints its port, reads the webhook's secret as the first line of its input, then prints one
line of JSON for each request: what each way of verifying said."""

import hashlib
import hmac
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks import Webhook, WebhookVerificationError


def recipe(secret: str, body: bytes, signature: str) -> bool:
    """SalesOS's recipe: hex HMAC-SHA256 with the whole secret string."""
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, signature)


def accepts(secret: str, body: bytes, headers: dict[str, str]) -> bool:
    """Whether the package accepts the body."""
    try:
        Webhook(secret).verify(body.decode(), headers)
        return True
    except WebhookVerificationError:
        return False


class Endpoint(BaseHTTPRequestHandler):
    """Verifies what it gets."""

    secret = ""

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        signature = headers["x-webhook-signature"]
        checks = {
            "PyPI standardwebhooks, raw body": accepts(self.secret, raw, headers),
            "PyPI standardwebhooks refuses another body": not accepts(self.secret, raw + b" ", headers),
            "Python hex HMAC, raw body": recipe(self.secret, raw, signature),
            "Python hex HMAC refuses another body": not recipe(self.secret, raw + b" ", signature),
        }
        self.send_response(204)
        self.end_headers()
        print(json.dumps({"id": headers["webhook-id"], "checks": checks}), flush=True)

    def log_message(self, *_: object) -> None:
        """Says nothing: standard output belongs to the verdicts."""


server = HTTPServer(("127.0.0.1", 0), Endpoint)
print(server.server_port, flush=True)
Endpoint.secret = sys.stdin.readline().strip()
server.serve_forever()
