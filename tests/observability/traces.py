"""A collector that takes OTLP over HTTP, and what must be true of one event's trace over several nodes."""

import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Wire
from stage import Account, Node, Receiver, Server, eventually

# Webhooks of the traced event, each in a partition of its own: enough for every node to have some.
WEBHOOKS = 12
KINDS = {Wire.SPAN_KIND_SERVER: "server", Wire.SPAN_KIND_INTERNAL: "internal", Wire.SPAN_KIND_CLIENT: "client"}


@dataclass(frozen=True)
class Span:
    """What is looked at of a span."""

    node: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    attempt: int
    outcome: str


class Collector:
    """Keeps every span that it gets."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.spans: list[Span] = []
        self.server = Server(("127.0.0.1", 0), self.handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def of(self, trace: str) -> list[Span]:
        with self.lock:
            return [span for span in self.spans if span.trace == trace]

    def take(self, message: bytes) -> None:
        spans = list(read(ExportTraceServiceRequest.FromString(message)))
        with self.lock:
            self.spans += spans

    def handler(collector) -> type[BaseHTTPRequestHandler]:
        class Endpoint(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                message = self.rfile.read(int(self.headers["content-length"]))
                right = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
                if right:
                    collector.take(message)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200 if right else 400)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        return Endpoint

    def __enter__(self) -> "Collector":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def read(message: ExportTraceServiceRequest) -> Iterator[Span]:
    for of_node in message.resource_spans:
        node = attribute(of_node.resource, "service.instance.id")
        for span in (span for scope in of_node.scope_spans for span in scope.spans):
            yield Span(
                node=node,
                name=span.name,
                kind=KINDS.get(span.kind, str(span.kind)),
                trace=span.trace_id.hex(),
                id=span.span_id.hex(),
                parent=span.parent_span_id.hex(),
                attempt=int(attribute(span, "salesos_webhooks.attempt") or 0),
                outcome=attribute(span, "salesos_webhooks.outcome"),
            )


def attribute(of: object, key: str) -> str:
    """As text; empty when there is none."""
    for each in of.attributes:
        if each.key == key:
            return str(getattr(each.value, each.value.WhichOneof("value")))
    return ""


def check(account: Account, nodes: list[Node], receiver: Receiver, collector: Collector) -> list[str]:
    """Publishes one event with a `traceparent`, one endpoint of which fails once; prints its trace, gives faults."""
    for number in range(WEBHOOKS - 1):
        account.webhook(nodes[0], receiver.url(f"/ok/traced/{number}"), ["quote.*"])
    account.webhook(nodes[0], receiver.url("/flaky"), ["quote.*"], retryDelaySeconds=1)
    trace, caller = secrets.token_hex(16), secrets.token_hex(8)
    body = {"type": "quote.created", "data": {"n": 0}}
    event = account.must(nodes[0], "POST", "/api/events", body, traceparent=f"00-{trace}-{caller}-01")["id"]
    attempts = lambda: [span for span in collector.of(trace) if span.name == "attempt"]
    # One for each webhook, and one more for what failed first.
    eventually("all spans of the trace come", lambda: len(attempts()) >= WEBHOOKS + 1)
    spans = collector.of(trace)
    show(spans)
    return list(faults(spans, nodes[0], caller)) + list(at_receiver(receiver, event, attempts()))


def faults(spans: list[Span], published_at: Node, caller: str) -> Iterator[str]:
    publishes = [span for span in spans if span.kind == "server"]
    dispatches = {span.id for span in spans if span.name == "dispatch"}
    attempts = [span for span in spans if span.name == "attempt"]
    if [(span.name, span.node, span.parent) for span in publishes] != [("POST /api/events", published_at.name, caller)]:
        yield f"the publication must be one span of {published_at.name} below the publisher's: {publishes}"
    roots = {span.id for span in publishes}
    yield from (f"a dispatch is not below the publication: {span}" for span in spans if span.id in dispatches and span.parent not in roots)
    yield from (f"an attempt is not below a dispatch: {span}" for span in attempts if span.parent not in dispatches)
    yield from (f"an attempt is no client span: {span}" for span in attempts if span.kind != "client")
    not_at_once = sorted((span.attempt, span.outcome) for span in attempts if (span.attempt, span.outcome) != (1, "success"))
    if not_at_once != [(1, "http_status"), (2, "success")]:
        yield f"one attempt must fail and be made again: {attempts}"
    if len({span.node for span in spans}) < 2:
        yield f"all spans are of one node: {spans}"


def at_receiver(receiver: Receiver, event: str, attempts: list[Span]) -> Iterator[str]:
    """Every endpoint got the `traceparent` of its attempt's span."""
    got = {header for (of, _, _), header in receiver.traceparents.items() if of == event}
    sent = {f"00-{span.trace}-{span.id}-01" for span in attempts}
    if got != sent:
        yield f"receivers got {sorted(got)} instead of {sorted(sent)}"


def show(spans: list[Span]) -> None:
    """The trace as a tree."""
    below: dict[str, list[Span]] = {}
    for span in spans:
        below.setdefault(span.parent, []).append(span)
    known = {span.id for span in spans}

    def line(span: Span, depth: int) -> None:
        more = f" {span.attempt} {span.outcome}" if span.name == "attempt" else ""
        print(f"{'  ' * depth}{span.name}{more}  ({span.node})")
        for child in sorted(below.get(span.id, []), key=lambda each: each.attempt):
            line(child, depth + 1)

    print("\none event's trace")
    for root in (span for span in spans if span.parent not in known):
        line(root, 1)
