#!/usr/bin/python3
"""An HTTP server on the sockets that systemd-python finds. It says READY=1 when it has them, and
tells at /status what they are."""

import os
import selectors
import socket

from systemd import daemon


def describe(fd, name):
    if daemon.is_socket_inet(fd, socket.AF_INET, socket.SOCK_STREAM, 1):
        host, port = socket.socket(fileno=os.dup(fd)).getsockname()
        return f"{name} tcp {host}:{port}\n"
    if daemon.is_socket_unix(fd, socket.SOCK_STREAM, 1):
        path = socket.socket(fileno=os.dup(fd)).getsockname()
        return f"{name} unix {path}\n"
    return f"{name} other\n"


def serve(client, line, status):
    # Nobody else is served meanwhile.
    client.settimeout(1)
    request = b""
    while b"\r\n\r\n" not in request:
        more = client.recv(4096)
        if not more:
            return
        request += more
    body = status if request.startswith(b"GET /status ") else line
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    client.sendall((head + body).encode())


def main():
    # Its names are those of sd_listen_fds_with_names(3), its fds from 3 on.
    fds = daemon.listen_fds_with_names()
    line = f"pid={os.getpid()} generation=0 tag=systemd-python\n"
    status = line + "".join(describe(fd, name) for fd, name in sorted(fds.items()))
    selector = selectors.DefaultSelector()
    for fd in fds:
        selector.register(socket.socket(fileno=fd), selectors.EVENT_READ)
    daemon.notify("READY=1")
    while True:
        for key, _ in selector.select():
            try:
                # The predecessor may have been quicker.
                client, _ = key.fileobj.accept()
            except BlockingIOError:
                continue
            with client:
                try:
                    serve(client, line, status)
                except OSError:
                    pass


main()
