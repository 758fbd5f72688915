"""The page of a run that goes on, served to this computer: `uninas view RUN`.

It answers GET and HEAD alone, reads the run and never writes, and answers nobody who does not call it by an address
or a name of its own: a page from elsewhere could otherwise ask for it under a foreign name (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import json
import logging
import re
import socket
import sys
import threading
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from uninas.errors import UninasError, error
from uninas.report.content import Content
from uninas.report.diagrams import LEVELS, THEMES, draw
from uninas.report.page import assembled
from uninas.report.reading import Reader

MAX_DRAWN = 64  # pictures kept ready
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

Answer = tuple[str, str]
"""Media type and body."""

logger = logging.getLogger(__name__)


class NotHere(Exception):
    """What was asked for does not exist; the message says so to the reader."""


class Live:
    """A run that may grow: everything in the order in which it was found, so that a reader can ask for the rest."""

    def __init__(self, folder: Path):
        self.reader = Reader(folder)
        self.content = Content(self.reader)
        self.parts: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self.drawn = lru_cache(MAX_DRAWN)(self._drawn)

    def page(self) -> str:
        """The page, without candidates."""
        return assembled(self.content.about(), None)

    def after(self, arrived: int) -> dict[str, Any]:
        """The parts after the first `arrived`, joined; its own `arrived` is the number to ask for next."""
        with self._lock:
            fresh = self.content.new()
            if fresh["changes"] or not self.parts:
                self.parts.append(fresh)
            parts = self.parts[max(0, arrived) :]
            return {**joined(parts), "about": self.content.about(), "arrived": len(self.parts)}

    def _drawn(self, number: int, level: str) -> Mapping[str, str]:
        with self.reader.texts() as texts:
            text = texts[number]
        return {} if text is None else draw(text, [level]).get(level, {})


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Several answers as one; a component, or a choice, that a part does not have is missing in its rows."""
    size = [len(part["changes"]) for part in parts]
    named = ("components", "choices")
    plain = [name for part in parts[:1] for name in part["columns"] if name not in named]
    columns: dict[str, Any] = {name: [value for part in parts for value in part["columns"][name]] for name in plain}
    columns.setdefault("number", [])
    for group in named:
        names = list(dict.fromkeys(name for part in parts for name in part["columns"][group]))
        columns[group] = {
            name: [
                value
                for part, count in zip(parts, size, strict=True)
                for value in part["columns"][group].get(name, [None] * count)
            ]
            for name in names
        }
    return {"columns": columns, "changes": [change for part in parts for change in part["changes"]]}


class Server(ThreadingHTTPServer):
    """Serves one run. `address` is where a browser finds it."""

    daemon_threads = True

    def __init__(self, folder: Path, host: str = "127.0.0.1", port: int = 0):
        self.live = Live(folder)
        self.host = host
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as problem:
            reason = getattr(problem, "strerror", None) or problem
            raise error(
                "UNI120", f"cannot serve on {host}, port {port}: {reason}", None, "leave out --port for a free one"
            ) from None

    def server_bind(self) -> None:
        """As the class above does it, but without asking the network for the own name, which may take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing of clients that have left, a line of anything else: a browser that closes a page is no mistake."""
        problem = sys.exception()
        if not isinstance(problem, ConnectionError | TimeoutError):
            logger.error("a question from %s failed", client_address[0], exc_info=problem)

    @property
    def exposed(self) -> bool:
        """Whether other computers can reach the server."""
        return self.host != "localhost" and not (_is_address(self.host) and ipaddress.ip_address(self.host).is_loopback)

    @property
    def address(self) -> str:
        """http://127.0.0.1:8123/"""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/"

    def knows(self, name: str) -> bool:
        """Whether a Host header means this server: an address, never a name that somebody else could have given."""
        found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(\d{1,5}))?", name)
        if found is None or int(found[2] or 80) != self.server_port:
            return False
        host = found[1].strip("[]").lower()
        return host in ("localhost", self.host.lower()) or _is_address(host)


class Handler(BaseHTTPRequestHandler):
    """Answers one question."""

    server: Server
    server_version = "uninas"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """The page, the run as JSON, or a picture."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not self.server.knows(hosts[0]):
            self._send(HTTPStatus.FORBIDDEN, ("text/plain", f"This server answers at {self.server.address} alone.\n"))
            return
        url = urlsplit(self.path)
        try:
            self._send(HTTPStatus.OK, self._answer(url.path, {k: v[0] for k, v in parse_qs(url.query).items()}))
        except NotHere as problem:
            self._send(HTTPStatus.NOT_FOUND, ("text/plain", f"{problem}\n"))
        except UninasError as problem:
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, ("text/plain", f"{problem.diagnostics[0].message}\n"))

    do_HEAD = do_GET

    def _answer(self, path: str, asked: Mapping[str, str]) -> Answer:
        live = self.server.live
        if path == "/":
            return "text/html", live.page()
        if path == "/run.json":
            return "application/json", json.dumps(live.after(_count(asked.get("after", "0"))), separators=(",", ":"))
        if path == "/diagram":
            level, theme = asked.get("level", LEVELS[0]), asked.get("theme", THEMES[0])
            picture = live.drawn(_count(asked.get("number", "")), level) if level in LEVELS else {}
            if theme in picture:
                return "image/svg+xml", picture[theme]
            raise NotHere("there is no such diagram")
        raise NotHere("there is no such page; the run is at /")

    def _send(self, status: HTTPStatus, answer: Answer) -> None:
        kind, text = answer
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if kind == "image/svg+xml":
            self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal belongs to whoever looks at the page."""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise NotHere("expected a number")
    return int(text)
