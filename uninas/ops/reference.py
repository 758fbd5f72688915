"""The reference of operations, from the registry: `python -m uninas.ops.reference > docs/ops.md`.

    >>> entry("relu")["doc"]
    'Rectified linear unit, max(x, 0) (Nair & Hinton 2010).'

Nothing here knows an operation. Formulas are the text of the cost rules; the example of an operation is the first
input and the first values of its required attributes that its shape rule accepts.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from uninas import ops  # noqa: F401  (fills the registry)
from uninas.errors import did_you_mean, error, shown
from uninas.ops.op import FAMILIES, MAX_PORTS, REGISTRY, Attr, Op, Shape, ShapeError, show_shape, show_value

COSTS = {"params": "parameters", "macs": "MACs", "elementwise": "element-wise operations"}

INTRODUCTION = """\
<!-- Written by `python -m uninas.ops.reference > docs/ops.md`; a test compares this page with the operations. -->

# Operations

Every elementary operation, as `uninas/ops/` defines it. `x` (`y`, ...) is the shape of an input without its batch axis:
C x H x W for images, C x 1 x N for tokens, C for a vector, so `x[0]` is its number of channels; `size` counts the
elements of a shape. Costs are for one sample. MACs are multiply-accumulates of convolutions and matrix products; FLOPs
are 2 x MACs; everything else is counted in operations on single elements. `uninas ops NAME` prints one entry.
"""

# Tried in this order to find an example.
_SHAPES: tuple[Shape, ...] = ((64, 56, 56), (64, 1, 49), (1, 49, 49), (64, 49, 49), (64,), (576, 56, 56))
_NUMBERS = (2, 7, 56, 3)
_CHANNELS = (128, 32, 0)


def signature(name: str) -> str:
    """An operation with its attributes and defaults, as it is written.

    >>> signature("relu"), signature("linear")
    ('relu', 'linear(out, bias=true)')
    """
    parts = [each.name if each.required else f"{each.name}={show_value(each.default)}" for each in REGISTRY[name].attrs]
    return f"{name}({', '.join(parts)})" if parts else name


def entry(name: str) -> dict[str, Any]:
    """Everything about an operation as plain values. Raises UninasError UNI010 for an unknown name."""
    if name not in REGISTRY:
        raise error("UNI010", f"there is no operation {shown(name)!r}", None, did_you_mean(name, REGISTRY))
    op = REGISTRY[name]
    low, high = op.arity
    return {
        "name": name,
        "family": op.family,
        "doc": inspect.cleandoc(op.__doc__ or ""),
        "inputs": {"least": low, "most": None if high >= MAX_PORTS else high, "order_matters": not op.commutative},
        "attributes": [attribute_entry(attribute) for attribute in op.attrs],
        "costs": {word: rule for method, word in COSTS.items() if (rule := formula(op, method))},
        "example": example(op),
    }


def listing() -> list[dict[str, str]]:
    """Name, family and first sentence of every operation."""
    return [
        {"name": name, "family": op.family, "doc": sentence(op.__doc__ or "")} for name, op in sorted(REGISTRY.items())
    ]


def sentence(doc: str) -> str:
    """The first sentence of a documentation, in one line. 'et al.' and such do not end it."""
    text = " ".join(inspect.cleandoc(doc).split("\n\n")[0].split())
    ends = (match.end() - 1 for match in re.finditer(r"\. (?=[A-Z])", text))
    return text[: next((end for end in ends if not text[:end].endswith(("al.", "e.g.", "i.e.", "vs."))), len(text))]


def attribute_entry(attribute: Attr) -> dict[str, Any]:
    """Name, meaning, domain in words, and default (absent where a value is required) of an attribute."""
    known = {"name": attribute.name, "doc": attribute.doc, "type": attribute.type.__name__, "domain": attribute.domain}
    return known if attribute.required else {**known, "default": attribute.default}


def formula(op: type[Op], method: str) -> str:
    """The body of a cost rule without `self.`, or '' where the operation has none."""
    rule = getattr(op, method)
    if rule is getattr(Op, method):
        return ""
    body = ast.parse(textwrap.dedent(inspect.getsource(rule))).body[0]
    assert isinstance(body, ast.FunctionDef)
    lines = [line.value if isinstance(line, ast.Return) else line for line in body.body]
    return "; ".join(ast.unparse(line).replace("self.", "") for line in lines if line is not None)


def example(op: type[Op]) -> dict[str, Any]:
    """One use of the operation: how it is written, shapes that go in and come out, and what it costs."""
    made, x = next(_accepted(op))
    cost = made.cost(*x)
    return {
        "operation": str(made),
        "inputs": [list(shape) for shape in x],
        "outputs": [list(shape) for shape in made.outputs(*x)],
        "params": cost.params,
        "macs": cost.macs,
        "elementwise": cost.elementwise,
    }


def _accepted(op: type[Op]) -> Iterator[tuple[Op, tuple[Shape, ...]]]:
    """Uses that the shape rule accepts, the plainest first."""
    required = [attribute for attribute in op.attrs if attribute.required]
    values = [_CHANNELS if attribute.channels else _NUMBERS for attribute in required]
    number = min(2, op.arity[1])
    for x in itertools.product(_SHAPES, repeat=number):
        for chosen in itertools.product(*values):
            try:
                made = op(**dict(zip((attribute.name for attribute in required), chosen, strict=True)))
                made.outputs(*x)
            except ShapeError:
                continue
            yield made, x


# ---- as a page -------------------------------------------------------------------------------------------------------


def markdown() -> str:
    """The whole reference as a page."""
    parts = [INTRODUCTION]
    for family in FAMILIES:
        members = sorted(name for name, op in REGISTRY.items() if op.family == family and _ours(op))
        if members:
            parts.append(f"## {family}\n")
            parts.append(inspect.cleandoc(sys.modules[REGISTRY[members[0]].__module__].__doc__ or "") + "\n")
            parts += [section(name) for name in members]
    return "\n".join(parts)


def _ours(op: type[Op]) -> bool:
    return op.__module__.startswith("uninas.")


def section(name: str) -> str:
    """One operation as a section of the page."""
    known = entry(name)
    lines = [f"### {name}", "", known["doc"], ""]
    if known["attributes"]:
        lines += ["| attribute | domain | default | meaning |", "|---|---|---|---|"]
        lines += [_row(attribute) for attribute in known["attributes"]] + [""]
    lines += [f"- {text}" for text in facts(known, code="`")]
    return "\n".join(lines) + "\n"


def _row(attribute: dict[str, Any]) -> str:
    default = f"`{show_value(attribute['default'])}`" if "default" in attribute else "required"
    cells = [f"`{attribute['name']}`", attribute["domain"], default, attribute["doc"]]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def facts(known: dict[str, Any], code: str = "") -> list[str]:
    """Inputs, costs and the example of an entry in words; `code` surrounds what is code."""
    least, most = known["inputs"]["least"], known["inputs"]["most"]
    lines = []
    if (least, most) != (1, 1):
        number = str(least) if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        lines.append(f"Inputs: {number}{'' if known['inputs']['order_matters'] else ', in any order'}")
    lines += [f"{word[0].upper()}{word[1:]}: {code}{rule}{code}" for word, rule in known["costs"].items()]
    use = known["example"]
    parts = [f"{code}{use['operation']}{code}: {_shapes(use['inputs'])} -> {_shapes(use['outputs'])}"]
    parts += [f"{use[method]:,} {word}" for method, word in COSTS.items() if use[method]]
    return [*lines, f"Example: {', '.join(parts)}"]


def _shapes(shapes: list[list[int]]) -> str:
    texts = [show_shape(tuple(shape)) for shape in shapes]
    return f"{len(texts)} of {texts[0]}" if len(texts) > 1 and len(set(texts)) == 1 else " and ".join(texts)


if __name__ == "__main__":
    sys.stdout.write(markdown())
