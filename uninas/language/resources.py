"""Finds the folders that travel with the package: the grammar, the library of spaces, recipes, protocols of rankings.

In a checkout (and so in an editable install) they are `grammar/`, `spaces/`, `recipes/` and `protocols/` beside the
package; a wheel carries them inside it as `_grammar` and so on, as pyproject.toml says. Nobody else needs to know it.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def grammar_text() -> str:
    """Returns the grammar of the language, the whole of `uninas.lark`."""
    return (_folder("grammar") / "uninas.lark").read_text(encoding="utf-8")


def library_root() -> Path:
    """Returns the folder of the built-in library: `blocks/*.uni`, `networks/*.uni` and the search spaces."""
    return _folder("spaces")


def recipes_root() -> Path:
    """Returns the folder of the shipped recipes: `uninas.yaml`, `micro.yaml`."""
    return _folder("recipes")


def protocols_root() -> Path:
    """Returns the folder of the shipped protocols of rankings: `nb201-vkdnw.yaml`."""
    return _folder("protocols")


def _folder(name: str) -> Path:
    packed = _PACKAGE / f"_{name}"
    return packed if packed.is_dir() else _PACKAGE.parent / name
