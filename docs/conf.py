"""How Sphinx builds docs/ (`make docs`). The pages are Markdown, so they read well unbuilt too."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docutils.nodes import SkipNode

from uninas.language.highlight import UniLexer
from uninas.version import __version__

project = "UniNAS toolkit"
author = "UniNAS toolkit authors"
copyright = "2026, UniNAS toolkit authors"
release = __version__

extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3  # so that [text](page.md#some-heading) works as it does on a code host

html_theme = "furo"
html_title = "UniNAS toolkit"
html_static_path = ["_static"]
html_css_files = ["uninas.css"]
html_math_renderer = "mathml"
html_extra_path = ["_llms"]  # llms.txt and llms-full.txt lie beside the first page
exclude_patterns = ["_build", "_llms", "_static"]


def formula(tex: str, *, block: bool) -> str:
    """A formula in MathML, which browsers draw by themselves, without a program from elsewhere."""
    from docutils.utils.math import latex2mathml

    return str(latex2mathml.tex2mathml(tex, as_block=block))


def visited(block: bool) -> Callable[[Any, Any], None]:
    def visit(writer: Any, node: Any) -> None:
        writer.body.append(formula(node.astext(), block=block))
        raise SkipNode

    return visit


def setup(app: Any) -> None:
    """Write what is generated; colour `uni` snippets, also where the package is only on the path."""
    for name in ("reference.py", "llms.py"):
        runpy.run_path(str(Path(__file__).with_name(name)))["write"]()
    app.add_lexer("uni", UniLexer)
    app.add_html_math_renderer("mathml", (visited(block=False), None), (visited(block=True), None))
