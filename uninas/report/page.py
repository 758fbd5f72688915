"""The page as one file. Everything in it is inside it, and nothing that a user wrote can become markup or a script.

Libraries and data stand in the page as packed text (gzip, base64), which has no character that HTML knows; the
browser unpacks them. A Content-Security-Policy lets run only the script of this folder, known by its hash, and what
it unpacks, and forbids every connection (the served page may ask the server that it came from).
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from html import escape
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Any

from uninas.errors import error
from uninas.report.content import Content, objectives
from uninas.report.diagrams import album
from uninas.report.reading import Reader
from uninas.runs.process import write_text

PARTS = Path(__file__).parent / "page"
SCRIPTS = ("parts.js", "run.js", "format.js", "charts.js", "table.js", "diff.js", "detail.js", "insight.js", "main.js")
LIBRARIES = {
    "bokeh": ("bokeh", "server/static/js/bokeh.min.js"),
    "bokeh-api": ("bokeh", "server/static/js/bokeh-api.min.js"),
    "datatables": ("itables", "html/dt_bundle.js"),
}
"""Scripts that the wheels of other packages carry: Bokeh draws the charts, DataTables (in itables) the table."""

POLICY = (
    "default-src 'none'; script-src '{script}' blob:; style-src 'unsafe-inline'; img-src data: blob:{images}; "
    "connect-src {connect}; base-uri 'none'; form-action 'none'"
)


def write_page(folder: Path, path: Path | None = None) -> Path:
    """Write the page of a run, whole or not at all; by default into its folder. Returns the path.

    Raises UNI070 when the run cannot be read, UNI100 when the page cannot be written.
    """
    target = path or folder / "report.html"
    return write_text(target, page(folder))


def page(folder: Path) -> str:
    """The page of a run with all its candidates inside."""
    reader = Reader(folder)
    content = Content(reader)
    data = content.new()
    data["about"] = content.about()
    with reader.texts() as texts:
        data["diagrams"] = album(content.rows, objectives(reader.settings()), texts)
    return assembled(data["about"], data)


def assembled(about: Mapping[str, Any], data: Mapping[str, Any] | None) -> str:
    """The page around its data; without them it is the page of a run that goes on, and asks for them."""
    script = "\n".join((PARTS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    parts = {name: packed_library(*place) for name, place in LIBRARIES.items()}
    if data is not None:
        parts["data"] = packed(json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    return Template((PARTS / "page.html").read_text(encoding="utf-8")).substitute(
        policy=POLICY.format(
            script=f"sha256-{digest}", connect="'self'" if data is None else "'none'", images=" 'self'" * (data is None)
        ),
        title=escape(about.get("title") or f"{about['folder']} – a search by UniNAS toolkit"),
        style="\n".join([library("itables", "html/dt_bundle.css"), (PARTS / "page.css").read_text(encoding="utf-8")]),
        parts="\n".join(f'<script type="text/plain" id="part-{name}">{text}</script>' for name, text in parts.items()),
        script=script,
        libraries=escape(f"Bokeh {version('bokeh')} (BSD) and DataTables of itables {version('itables')} (MIT)"),
    )


def library(package: str, name: str) -> str:
    """A file that the wheel of another package carries, without loading that package."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise error("UNI100", f"the page needs {package}, which is not installed", None, f"pip install {package}")
    return (Path(found.origin).parent / name).read_text(encoding="utf-8")


@lru_cache
def packed_library(package: str, name: str) -> str:
    """A library, packed; it takes longer to pack than a run, so a server does it once."""
    return packed(library(package, name))


def packed(text: str) -> str:
    """Text as characters that mean nothing to HTML. The same text gives the same characters."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()
