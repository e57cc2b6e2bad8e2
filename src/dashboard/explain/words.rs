//! What to do about failures that have no status: by kind, and within a kind by how the message begins. Pure.
//!
//! Each beginning is one of a message that `delivery` or `actors` makes. One that is not listed gets the advice of its kind;
//! the tests of `explain` say of which kinds every message must be listed.

use super::{Advice, Known};

pub(super) const TIMEOUT: Known = &[
    ("no complete answer within", SLOW),
    ("no connection could be made in time", UNREACHABLE),
    ("the connection timed out", UNREACHABLE),
];

pub(super) const SLOW: Advice = &[
    "Let the endpoint answer 2xx first, as soon as it has stored the event, and do the work afterwards.",
    "If it needs longer, raise this webhook's time limit (timeoutSeconds, at most 60).",
    "Check that it is not overloaded; then retry this delivery.",
];

const UNREACHABLE: Advice = &[
    "Check that the server of the endpoint runs, and that its firewall lets this service through.",
    "Check host and port in this webhook's URL.",
];

pub(super) const DNS: Known = &[
    (
        "the host name could not be resolved in time",
        &[
            "The name servers of the endpoint's domain answer slowly or not at all: check them with whoever runs the domain.",
            "If it happens to all webhooks, tell the operator of this service (delivery.dns_servers).",
        ],
    ),
    ("the host name could not be resolved", NO_SUCH_NAME),
];

pub(super) const NO_SUCH_NAME: Advice = &[
    "Check the spelling of the host in this webhook's URL.",
    "Check that the domain is not expired and has an address (an A or AAAA record) that the public can see.",
];

pub(super) const CONNECT: Known = &[
    ("the connection was refused", NOT_LISTENING),
    ("no connection could be made", NOT_LISTENING),
    (
        "the host could not be reached",
        &[
            "Check that the server of the endpoint is up and connected to the internet.",
            "Check the address that its host name leads to: it may be an old one.",
        ],
    ),
    ("the connection was reset", BROKEN_OFF),
    ("the connection was closed before an answer", BROKEN_OFF),
    (
        "the proxy refused the connection",
        &[
            "Requests leave through a proxy, which does not connect to this endpoint: ask the operator of this service to permit it.",
            "Check host and port in this webhook's URL.",
        ],
    ),
];

pub(super) const NOT_LISTENING: Advice = &[
    "Check that the endpoint's program runs, and listens on the port in this webhook's URL.",
    "Check that its firewall lets this service through; then retry this delivery.",
];

const BROKEN_OFF: Advice = &[
    "The endpoint, or a proxy in front of it, ended the connection: look into its log for a crash or a restart at that time.",
    "Check that the port in this webhook's URL is that of the endpoint, and that https is used where it expects it.",
];

pub(super) const TLS: Known = &[
    ("the certificate has expired", EXPIRED_CERTIFICATE),
    ("the certificate expired", EXPIRED_CERTIFICATE),
    (
        "the certificate is not valid",
        &[
            "Check the clock of the machine that made the certificate, and from when on it is valid.",
            "Install a certificate that is valid now; then retry this delivery.",
        ],
    ),
    (
        "the certificate is for another host name",
        &[
            "Use the host name that the certificate is for in this webhook's URL, or get a certificate for the present one.",
            "If several sites share the server, check which certificate it shows for this name.",
        ],
    ),
    (
        "the certificate was issued by an unknown authority",
        &[
            "Install the intermediate certificates together with the certificate at the endpoint (the file often called fullchain): a missing one is the usual cause.",
            "A self-signed certificate is refused: get one from a public authority, such as Let's Encrypt.",
            "If your organization has an authority of its own, ask the operator of this service to trust it.",
        ],
    ),
    (
        "the certificate has been revoked",
        &[
            "Get a new certificate for the endpoint and install it: its authority has withdrawn the present one.",
            "Then retry this delivery.",
        ],
    ),
    (
        "the certificate was refused",
        &[
            "Get the endpoint's certificate from a public authority again and install it: the present one breaks a rule.",
            "An online TLS checker names what is wrong with it.",
        ],
    ),
    (
        "the endpoint does not speak TLS on this port",
        &[
            "Check the port in this webhook's URL: https is usually on 443.",
            "If the endpoint has no https, use http in the URL, where the operator of this service allows that.",
        ],
    ),
    (
        "the endpoint supports no common TLS version or cipher",
        &["Update the endpoint's server, or allow TLS 1.2 or 1.3 there: older versions are not used."],
    ),
    (
        "the endpoint refused the TLS handshake",
        &[
            "Check that the server has a certificate for the host name in this webhook's URL.",
            "If it asks for a client certificate, switch that off for this address: none is shown.",
        ],
    ),
    (
        "the TLS handshake is too long",
        &["Send fewer certificates from the endpoint: its own and the intermediate ones are enough."],
    ),
    (
        "the connection was closed during the TLS handshake",
        &[
            "Check that the port in this webhook's URL is one where the endpoint speaks https.",
            "Look for a firewall or a load balancer in front of it that ends connections.",
        ],
    ),
    ("the TLS connection failed", TLS_OTHERWISE),
];

const EXPIRED_CERTIFICATE: Advice = &[
    "Renew the certificate at the endpoint, and let its server load the new one; then retry this delivery.",
    "Let it be renewed by itself, so that it does not happen again.",
];

pub(super) const TLS_OTHERWISE: Advice = &[
    "Open this webhook's URL in a browser, or with an online TLS checker: it often shows what is wrong.",
    "Check the certificate and the TLS settings of the endpoint's server.",
];

pub(super) const BLOCKED: Known = &[
    (
        "url must not use port",
        &["Use another port in this webhook's URL: this one belongs to a service that is no web server."],
    ),
    (
        "url must be an https URL",
        &[
            "Use https in this webhook's URL: the operator of this service requires it (delivery.require_https).",
        ],
    ),
    (
        "url must not hold credentials",
        &[
            "Take user name and password out of this webhook's URL, and put them into its headers (Authorization).",
        ],
    ),
    ("url must be an http or https URL", BAD_URL),
    ("url must have a port", BAD_URL),
    ("url must be shorter", BAD_URL),
    ("url must not point to a private or reserved address", PRIVATE_ADDRESS),
    ("the host name leads to a private or reserved address", PRIVATE_ADDRESS),
];

const BAD_URL: Advice = &["Correct this webhook's URL and save it; then retry this delivery."];

pub(super) const PRIVATE_ADDRESS: Advice = &[
    "Use a host whose addresses are all public: others are refused, so that nobody can reach internal systems through this service.",
    "If the endpoint really is in your own network, the operator of this service can allow that network (delivery.allowed_networks).",
];

pub(super) const PROTOCOL: Known = &[
    ("the head of the answer is not valid HTTP, or too long", NOT_HTTP),
    ("the answer was not valid HTTP", NOT_HTTP),
    ("the endpoint gave no answer", NOT_HTTP),
    (
        "the answer is too long",
        &["Let the endpoint answer with a short text or none at all: 204 without a body is enough."],
    ),
    (
        "the answer broke off before its end",
        &[
            "The endpoint, or a proxy in front of it, ended the connection within its answer: look into its log for a crash at that time.",
            "An answer without a body (204) is enough.",
        ],
    ),
    ("the request could not be written as HTTP", BAD_URL),
];

pub(super) const NOT_HTTP: Advice = &[
    "Check host and port in this webhook's URL: what answers there may be no web server, or expect https.",
    "Check what the endpoint's program writes; curl -i with the URL shows it.",
];

pub(super) const CANCELLED: Known = &[
    (
        "the proxy of the service",
        &[
            "You need not do anything: the attempt is made again by itself while retries are left.",
            "If it goes on, tell the operator of this service that its proxy does not work (delivery.proxy_url).",
        ],
    ),
    ("the service has as many connections open as it may", AGAIN_BY_ITSELF),
    ("an internal error prevented the attempt", AGAIN_BY_ITSELF),
];

pub(super) const AGAIN_BY_ITSELF: Advice = &[
    "You need not do anything: the attempt is made again by itself while retries are left.",
    "If it goes on, tell the operator of this service.",
];

pub(super) const EXPIRED: Known = &[
    ("it waited too long to be delivered", TOO_OLD),
    (
        "its event is not stored any more",
        &["Ask the sender of the event to publish it again: its content is not kept any more."],
    ),
];

pub(super) const TOO_OLD: Advice = &[
    "It waited longer than this service keeps trying (delivery.max_age_days): look whether the webhook was switched off or failing for that long.",
    "Recover it while its content is kept, or ask the sender to publish the event again.",
];

pub(super) const OVERFLOW: Known = &[("the queue of the webhook is full", FULL)];

pub(super) const FULL: Advice = &[
    "Make room first: let the endpoint take what waits, faster than it comes (see why the attempts before this one failed).",
    "Then recover the events of that time: they are kept for some days.",
];
