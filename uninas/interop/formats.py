"""What `uninas export --to` writes; open to plug-ins."""

from __future__ import annotations

from collections.abc import Callable

from uninas.graph import Graph
from uninas.plugins import Registry

Export = Callable[[Graph], str | bytes]
"""Writes a graph in another format."""

EXPORTERS: Registry[Export | tuple[str, str]] = Registry(
    "format",
    {
        "uninas-json": ("uninas.interop", "write_json"),
        "py": ("uninas.backend.export", "to_python"),
        "onnx": ("uninas.backend.export", "to_onnx"),
        "dot": ("uninas.render", "dot"),
        "mermaid": ("uninas.render", "mermaid"),
    },
)
"""Functions by the name of their format, or where to import them from: those that need torch are loaded when used."""
