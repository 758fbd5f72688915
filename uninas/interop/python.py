"""The text that an exported Python file carries: comments at its end, which are read without running the file.

#| network tiny {
#|     input 3 x 32 x 32
"""

from __future__ import annotations

from pathlib import Path

from uninas.errors import contents, error, shown

MARK = "#|"
MAX_BYTES = 16 * 2**20


def comments(text: str) -> str:
    """A text as comments of Python."""
    return "\n".join(f"{MARK} {line}".rstrip() for line in text.splitlines()) + "\n"


def text_in(path: Path) -> str:
    """The text in an exported file. Raises UNI001 for a file that cannot be read, UNI054 for one that has none."""
    try:
        content = contents(path, MAX_BYTES).decode()
    except UnicodeDecodeError:
        raise error("UNI001", f"cannot read {shown(path)}: it is not UTF-8 text") from None
    lines = [line.removeprefix(MARK).removeprefix(" ") for line in content.splitlines() if line.startswith(MARK)]
    if not lines:
        raise error("UNI054", f"expected a file of `uninas export --to py`, but {shown(path)} carries no network", None,
                    "import a module of your own by its callable: uninas import package.module:callable")  # fmt: skip
    return "\n".join(lines) + "\n"
