#!/usr/bin/python3
"""Python's http.server on the first socket that it is passed, by socket.fromfd. It says READY=1 when
it has it; at SIGTERM it answers those who are connected, and ends."""

import http.server
import os
import signal
import socket
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer is one write: who is killed has given it, or has not.
    wbufsize = -1

    def do_GET(self):
        body = f"pid={os.getpid()} generation=0 tag=http.server\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    # They are waited for.
    daemon_threads = False

    def __init__(self, listener):
        super().__init__(listener.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener


def ready():
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.sendto(b"READY=1", path.replace("@", "\0", 1) if path[0] == "@" else path)


def main():
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise SystemExit("no socket")
    listener = socket.fromfd(3, socket.AF_INET, socket.SOCK_STREAM)
    # Another one may be quicker to accept.
    listener.setblocking(False)
    server = Server(listener)
    stop = threading.Thread(target=server.shutdown)
    signal.signal(signal.SIGTERM, lambda *_: stop.start())
    ready()
    server.serve_forever()
    server.server_close()


main()
