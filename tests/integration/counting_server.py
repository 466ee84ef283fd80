"""A small service with state in memory: each line of a client adds one, and the sum is the answer."""

import socket
import sys
import threading

lock = threading.Lock()
count = 0


def serve(client: socket.socket) -> None:
    """Answer one client."""
    global count
    with client, client.makefile("rb") as lines:
        for _ in lines:
            with lock:
                count += 1
                client.sendall(b"%09d\n" % count)


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("0.0.0.0", int(sys.argv[1])))
listener.listen(16)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
