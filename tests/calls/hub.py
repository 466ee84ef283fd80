"""A server with a thread for each client; its answers tell what others have said. Argument: its port."""

from __future__ import annotations

import random
import socketserver
import sys
import threading
import time

said: list[bytes] = []
grown = threading.Condition()


class Talk(socketserver.StreamRequestHandler):
    """Answers each line."""

    def handle(self) -> None:
        for line in self.rfile:
            with grown:
                said.append(line.strip())
                number = len(said)
                grown.notify_all()
                more = grown.wait_for(lambda n=number: len(said) > n, timeout=0.001)
            words: list[object] = [threading.current_thread().name, number, len(said), more]
            words += [random.choice(said), time.time()]
            self.wfile.write(" ".join(map(str, words)).encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    """It may be started again on its port."""

    allow_reuse_address = daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Talk).serve_forever()
