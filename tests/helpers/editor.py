"""An editor that speaks to the language server: JSON-RPC over the standard input and output of a subprocess."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Editor:
    """Speaks to a server: requests wait for their answer, and what is published meanwhile is kept."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uninas", "lsp", "--stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.number = 0
        self.published: dict[str, list[dict[str, Any]]] = {}
        self.seconds: dict[str, float] = {}
        self.capabilities = self.ask("initialize", processId=None, rootUri=folder.as_uri(), capabilities={})
        self.tell("initialized")

    def tell(self, method: str, **params: Any) -> None:
        self.write({"method": method, "params": params})

    def ask(self, method: str, **params: Any) -> Any:
        self.number += 1
        began = time.perf_counter()
        self.write({"id": self.number, "method": method, "params": params})
        while True:
            message = self.read()
            if message.get("id") == self.number and "method" not in message:
                self.seconds[method] = time.perf_counter() - began
                assert "error" not in message, message
                return message["result"]
            if message["method"] == "textDocument/publishDiagnostics":
                self.published[message["params"]["uri"]] = message["params"]["diagnostics"]

    def write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout
        length = 0
        while (line := self.process.stdout.readline().strip()) or not length:
            assert line, "the server has gone"
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        message: dict[str, Any] = json.loads(self.process.stdout.read(length))
        return message

    def open(self, path: Path, text: str) -> None:
        document = {"uri": path.as_uri(), "languageId": "uninas", "version": 1, "text": text}
        self.tell("textDocument/didOpen", textDocument=document)

    def about(self, method: str, path: Path, text: str, before: str, **more: Any) -> Any:
        """Ask about the place after `before`, counted in UTF-16 units."""
        lines = text[: text.index(before) + len(before)].split("\n")
        position = {"line": len(lines) - 1, "character": len(lines[-1].encode("utf-16-le")) // 2}
        uri = {"uri": path.as_uri()}
        return self.ask(f"textDocument/{method}", textDocument=uri, position=position, **more)

    def problems(self, path: Path) -> list[dict[str, Any]]:
        """What has been published about a document: an answer to a later request comes after it."""
        self.ask("textDocument/documentSymbol", textDocument={"uri": path.as_uri()})
        return self.published[path.as_uri()]
