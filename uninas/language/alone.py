"""Texts that hold one architecture, as runs store them and as programs outside hand them in."""

from __future__ import annotations

from uninas.errors import error, shown
from uninas.graph import Graph
from uninas.language.elaborate import build
from uninas.language.library import Module, load_text


def alone(text: str, what: str) -> tuple[Module, str]:
    """The file that a text is and its last definition, which is the architecture; `what` is its name in messages.

    It is read as a text, whatever it says: never as a path. Raises UninasError for what is wrong with it.
    """
    module = load_text(text, what)
    if not module.definitions:
        raise error("UNI023", f"expected an architecture, but got {shown(text)}", None, "network NAME { input ... }")
    return module, list(module.definitions)[-1]


def architecture(text: str, what: str = "candidate") -> Graph:
    """The graph of a text that holds one architecture."""
    return build(*alone(text, what))
