<?php
// Takes the requests of one webhook and verifies them. PHP 8.0 or later, no package. To try it on your own machine:
//   WEBHOOK_SECRET=whsec_... php -d display_errors=0 -S 127.0.0.1:8000 webhook.php
// {{own_headers}}
//
// Every request carries two signatures. One is enough; this program checks the first, which also tells how old a request is.
// - {{signature_header}}: "v1," and the base64 of HMAC-SHA256 over "id.timestamp.body". The key is what follows whsec_ in
//   the secret, base64-decoded. While a secret is being replaced there are several, with a space between: one must be right.
// - {{hex_signature_header}}: the hex of HMAC-SHA256 over the body alone. The key is the whole secret as text.
declare(strict_types=1);

const TOLERANCE_SECONDS = 300;
const MOST_BYTES = 1024 * 1024;

/** A header of the request, whatever the case of its name; '' if there is none. */
function header_of(string $name): string
{
    return $_SERVER['HTTP_' . strtoupper(strtr($name, '-', '_'))] ?? '';
}

/** Whether the request is genuine and fresh. $body holds the bytes as they came, before any parser has touched them. */
function is_genuine(string $secret, string $body): bool
{
    $id = header_of('{{id_header}}');
    $timestamp = header_of('{{timestamp_header}}');
    if ($id === '' || !preg_match('/^[0-9]{1,12}$/D', $timestamp)) {
        return false;
    }
    if (abs(time() - (int) $timestamp) > TOLERANCE_SECONDS) {
        return false;
    }
    $key = base64_decode(preg_replace('/^whsec_/', '', $secret), true);
    if ($key === false || strlen($key) < 16) { // no secret, or not the whole of it
        return false;
    }
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    $right = false;
    foreach (explode(' ', header_of('{{signature_header}}')) as $entry) {
        // Compared in constant time: how long it takes tells nothing about how much of a guess is right.
        $right = hash_equals($expected, $entry) || $right;
    }
    return $right;
}

$body = (string) file_get_contents('php://input', false, null, 0, MOST_BYTES + 1);
if (strlen($body) > MOST_BYTES) {
    http_response_code(413);
} elseif (!is_genuine((string) getenv('WEBHOOK_SECRET'), $body)) {
    http_response_code(401);
} else {
    $event = json_decode($body, true);
    // Store the event here, once for each id (it may come again); answer 2xx; do the work afterwards.
    error_log($event['type'] . ' ' . $event['id']);
    http_response_code(204);
}
