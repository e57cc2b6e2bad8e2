"""Serves a PHP program of the working directory with PHP's own server, in the way of the other programs: on a free port, which it
tells once it answers there. Called with the name of the file."""

import signal
import socket
import subprocess
import sys
import time

DEADLINE = 60


def answers(port: int) -> bool:
    """Whether something listens on the port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


# PHP does not say which port it chose. This one stays taken, so that nobody else gets it, and PHP may listen on it all the same.
reserved = socket.socket()
reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
reserved.bind(("127.0.0.1", 0))
port = reserved.getsockname()[1]
php = ["php", "-d", "display_errors=0", "-S", f"127.0.0.1:{port}", sys.argv[1]]
child = subprocess.Popen(php, stdin=subprocess.DEVNULL)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
try:
    end = time.monotonic() + DEADLINE
    while not answers(port):
        if child.poll() is not None or time.monotonic() > end:
            sys.exit("php does not listen")
        time.sleep(0.02)
    print("listening on", port, flush=True)
    child.wait()
finally:
    child.terminate()
    child.wait()
