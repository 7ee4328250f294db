"""A web server for this machine alone: loopback, any free port, a secret in every address."""

import hmac
import secrets
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOOPBACK = "127.0.0.1"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Document:
    """What is served under one name.

    Attributes:
        kind: Its media type.
        content: All of it.
    """

    kind: str
    content: bytes


class Server(ThreadingHTTPServer):
    """Serves these documents and nothing else, from memory, to this machine.

    An address without the secret, or a request that names another host (a page elsewhere whose
    name was made to lead here), gets nothing.

    Args:
        documents: Name → document; the empty name is the page.

    Attributes:
        address: Of the page, with its secret.
        asked: Names that were asked for.
        complete: Set once all of them were.
    """

    daemon_threads = True

    def __init__(self, documents: Mapping[str, Document]) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.documents = documents
        self.secret = secrets.token_urlsafe(24)
        self.hosts = {f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost")}
        self.address = f"http://{LOOPBACK}:{self.server_port}/{self.secret}/"
        self.asked: set[str] = set()
        self.complete = threading.Event()

    def find(self, host: str, path: str) -> Document | None:
        """The document of an address, if whoever asks may have it."""
        secret, slash, name = path.removeprefix("/").partition("/")
        known = hmac.compare_digest(f"{secret}{slash}".encode(), f"{self.secret}/".encode())
        return self.documents.get(name) if known and host in self.hosts else None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that has gone; of anything else as usual."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)

    def note(self, path: str) -> None:
        """Note that a document was sent."""
        self.asked.add(path.rpartition("/")[2])
        if self.asked >= self.documents.keys():
            self.complete.set()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "medseg", ""
    timeout = 30

    def do_GET(self) -> None:
        self._send(with_content=True)

    def do_HEAD(self) -> None:
        self._send(with_content=False)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: addresses hold the secret."""

    def _send(self, *, with_content: bool) -> None:
        document = self.server.find(self.headers.get("Host", ""), self.path)
        if document is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", document.kind)
        self.send_header("Content-Length", str(len(document.content)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if with_content:
            self.wfile.write(document.content)
            self.server.note(self.path)
