# Takes the requests of one webhook and verifies them. Python 3.9 or later, the standard library alone:
#   WEBHOOK_SECRET=whsec_... PORT=8000 python3 webhook.py
# {{own_headers}}
#
# Every request carries two signatures. One is enough; this program checks the first, which also tells how old a request is.
# - {{signature_header}}: "v1," and the base64 of HMAC-SHA256 over "id.timestamp.body". The key is what follows whsec_ in
#   the secret, base64-decoded. While a secret is being replaced there are several, with a space between: one must be right.
# - {{hex_signature_header}}: the hex of HMAC-SHA256 over the body alone. The key is the whole secret as text.
import base64, hashlib, hmac, json, os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_SECONDS = 300
MOST_BYTES = 1024 * 1024
SECRET = os.environ.get("WEBHOOK_SECRET", "")


def is_genuine(headers, body):
    """Whether a request is genuine and fresh. `body` holds the bytes as they came, before any parser has touched them."""
    names = ("{{id_header}}", "{{timestamp_header}}", "{{signature_header}}")
    event_id, timestamp, signatures = (headers.get(name, "") for name in names)
    if not (event_id and timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    if abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    try:
        key = base64.b64decode(SECRET.removeprefix("whsec_"), validate=True)
    except ValueError:
        return False
    if len(key) < 16:  # no secret, or not the whole of it
        return False
    signed = f"{event_id}.{timestamp}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    # Compared in constant time: how long it takes tells nothing about how much of a guess is right.
    return any([hmac.compare_digest(entry.encode(), expected) for entry in signatures.split(" ")])


class Endpoint(BaseHTTPRequestHandler):
    timeout = 30

    def do_POST(self):
        self.close_connection = True
        length = self.headers.get("content-length", "")
        fits = length.isascii() and length.isdigit() and len(length) <= 7 and int(length) <= MOST_BYTES
        self.send_response(self.take(self.rfile.read(int(length))) if fits else 413)
        self.end_headers()

    def take(self, body):
        if not is_genuine(self.headers, body):
            return 401
        event = json.loads(body)
        # Store the event here, once for each id (it may come again); answer 2xx; do the work afterwards.
        print(event["type"], event["id"], flush=True)
        return 204


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Endpoint)
print("listening on", server.server_port, flush=True)
server.serve_forever()
