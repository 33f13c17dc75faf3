#!/usr/bin/env python3
"""Shows runs in a browser, while they go on.

    scripts/watch.py runs/mine runs/mine_64
    scripts/watch.py runs --port 8421                 # all runs below runs/, also those that begin later
    ssh -L 8420:localhost:8420 THE_MACHINE            # then open http://localhost:8420/ here for runs there

A RUN is a folder that `sgdscope run` wrote, a folder that holds such, or a pattern in quotes. The page draws the columns that
one picks: those of metrics.csv, and those of eval.csv with `eval.` in front. Only this machine can reach it, and only what these
runs hold is served. Ctrl-C ends it. Exit status: 0 ended, 2 wrong usage, 5 the port is taken.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import socket
import sys
import threading
import uuid
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sgdscope.libraries import numpy  # noqa: F401

# isort: split
from sgdscope import watching
from sgdscope.errors import RESOURCE, Error, exit_status_of
from sgdscope.runs import is_pattern

PAGE = Path(watching.__file__).with_name("watch.html")
ADDRESS, PORT = "127.0.0.1", 8420
EVERY_SECONDS = 2.0  # between two polls of a page
REQUEST_BYTES = 1 << 22  # more is no request of the page
SMALL = 4096  # bytes of an answer that is not worth packing
NAMES = ("localhost", "127.0.0.1", "[::1]")  # a page of another name has no business here
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; each name without a pattern must be a folder."""
    parser = argparse.ArgumentParser(
        prog="watch.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run folder, a folder that holds such, or a pattern")
    parser.add_argument("--port", type=int, default=PORT, help=f"of the page; 0: any that is free (default: {PORT})")
    options = parser.parse_args(arguments)
    if not 0 <= options.port <= 65535:
        raise Error("--port", f"found {options.port}, expected 0 to 65535", f"say --port {PORT}")
    for name in options.runs:
        if not is_pattern(name) and not os.path.isdir(name):
            hint = "give the folder that `sgdscope run` wrote or one that holds such; for runs to come, a pattern in quotes"
            raise Error(name, "is no folder" if os.path.exists(name) else "no such folder", hint)
    return options


class Handler(BaseHTTPRequestHandler):
    """Answers a page: the page itself, and what is new of the runs."""

    protocol_version = "HTTP/1.1"
    timeout = 60  # of a connection on which nothing comes

    def __init__(self, server: Server, *arguments: Any) -> None:
        self.watched = server
        super().__init__(*arguments)

    def do_GET(self) -> None:
        if not self._is_ours():
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", b"open http://localhost/ with the port\n")
        elif self.path == "/":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", PAGE.read_bytes())
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there is nothing here but /\n")

    def do_POST(self) -> None:
        size = self.headers.get("Content-Length", "")
        if not self._is_ours() or self.path != "/poll" or not size.isdigit() or int(size) > REQUEST_BYTES:
            self.close_connection = True  # what it sends is not read
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there is nothing here but /poll\n")
            return
        try:
            answer = self.watched.poll(json.loads(self.rfile.read(int(size))))
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            self._answer(HTTPStatus.BAD_REQUEST, "text/plain", f"no request of the page: {error}\n".encode())
            return
        self._answer(HTTPStatus.OK, "application/json", json.dumps(answer, separators=(",", ":")).encode())

    def _is_ours(self) -> bool:
        """Whether the browser was told to come here: a page from elsewhere that has itself sent here has its own name."""
        return self.headers.get("Host", "").rsplit(":", 1)[0] in NAMES

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        if len(body) > SMALL and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, 1)
            self.send_header("Content-Encoding", "gzip")
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Says nothing: the terminal keeps the address."""


class Server(ThreadingHTTPServer):
    """Serves one watch to any number of pages on this machine."""

    def __init__(self, watch: watching.Watch, port: int) -> None:
        self.watch, self.session = watch, uuid.uuid4().hex
        self._turn = threading.Lock()
        super().__init__((ADDRESS, port), partial(Handler, self))

    def poll(self, request: dict[str, Any]) -> dict[str, Any]:
        """What is new to a page; one that another server filled is to begin anew."""
        with self._turn:
            return {"session": self.session, "every": EVERY_SECONDS, **self.watch.poll(request)}

    def handle_error(self, *arguments: Any) -> None:
        """A page that has left is no error; others are."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(*arguments)


def open_server(watch: watching.Watch, port: int) -> Server:
    """A server that listens; where the port is taken an error that names one that is free."""
    try:
        return Server(watch, port)
    except OSError as error:
        with socket.socket() as other:
            other.bind((ADDRESS, 0))
            free = other.getsockname()[1]
        what = f"cannot be listened to: {error.strerror}"
        raise Error(f"port {port}", what, f"take another, say --port {free}", RESOURCE) from None


def serve(options: argparse.Namespace) -> None:
    """Serves the page of the runs, and says where."""
    watch = watching.Watch(options.runs)
    watch.look()
    with open_server(watch, options.port) as server:
        count, port = len(watch.runs), server.server_address[1]
        print(f"watching {count} run{'' if count == 1 else 's'} at http://localhost:{port}/ (Ctrl-C ends)", flush=True)
        server.serve_forever()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves the page until Ctrl-C; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        return exit_status_of(lambda: serve(parse_arguments(given)))
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
