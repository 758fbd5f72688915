"""Writes docs/_llms/, the language for language models: llms.txt for a prompt, llms-full.txt to look things up.

`make docs` runs this and puts both files beside the pages; they are not kept in git. Operations, moves, costs and codes
of errors come from the registries, the three files from the library, so nothing here can fall behind them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from uninas.cli.main import shipped_definitions
from uninas.errors import CODES
from uninas.language.resources import grammar_text, library_root
from uninas.ops.op import REGISTRY
from uninas.ops.reference import sentence, signature
from uninas.space import COSTS, MOVES

DOCS = Path(__file__).resolve().parent
FOLDER = DOCS / "_llms"

RULES = """\
# UniNAS toolkit

> A `.uni` file describes blocks, networks and search spaces of neural networks. Arrows carry tensors, parentheses carry
> attributes. `uninas check FILE --json` says what is wrong and where, `uninas fmt FILE` lays out, `uninas summary FILE`
> prints shapes and costs. `uninas grammar --for llguidance` (or `gbnf`) prints a grammar for guided writing.

## Rules

- A block has parameters and statements. `in` is what flows in, `out` what it gives; every other wire is named once,
  before it is used, and must lead to `out`. Every name must exist: an operation, a block of this file, or an import.
- `a -> relu -> conv(C, 3)` leads a wire through steps. An arrow binds weakest: put a branch of a sum in parentheses.
  `+`, `-`, `*` between wires work on elements; shapes must be equal, or 1 on an axis. Only a wire may begin a pipeline.
- `(a, b)` bundles wires for what takes several: `(a, b) -> concat`. `a, b = in -> chunk(2)` takes a bundle apart.
- Shapes are C x H x W without the batch; tokens are C x 1 x N. `C`, `H`, `W` are the sizes of what flows into the
  block, and in braces of what flows into these; `a.C` are the channels of `a`. `/` must be exact, `//` rounds down.
- Arguments: in order, then by name: `conv(64, 3, stride=2)`. Convolutions and pools keep H x W at stride 1 unless
  `padding=` is given. Defaults and empty parentheses may be left out.
- Parameters: `n`, `n = 4`, `p: float = 0.1`, `flag = true`, `how: {a, b} = a`, `body: block = relu` (an operation, a
  block, or steps in braces).
- `if CONDITION { steps } else { steps }` as a step, `repeat n { steps }`, `each part { statements }` over a bundle,
  `(first, second) -> each a, b { statements }` over two bundles side by side.
- A network: `input C x H x W`, then `stem steps`, stages, `head steps`. `stage WIDTH x COUNT stride S { steps }`
  repeats a block: inside, `width` is WIDTH, `stride` is S in the first block and 1 after, `index` counts. Or a list:
  `stage 96 { Down(width), Block x 2 }`. A block must use `width` and `stride`, or they have no effect.
- A space leaves something open: `choose a in {1, 2}`, `8..64 step 8` for a width or count, `with k in {3, 5}` on a
  stage, `kernel in {3, 5}` as an argument, `relu | gelu` as a step. Or it has `start NETWORK` and moves that change it:
  `moves insert 0.7 {conv(C, 3), gelu, conv(C * 4, 1) -> conv(C, 1)} where H <= 28, remove 0.3`.
- `budget params <= 5M, flops 1G..2G`. FLOPs are 2 x MACs.
- `from blocks.mbconv import MBConv` imports; `#` begins a comment; line breaks mean nothing.
"""

FILES = ("blocks/mbconv.uni:SqueezeExcite", "networks/resnet18.uni", "mobilenetv2.uni")
"""Shown in the short text: a block, a network, a space."""

MENDS = {
    "UNI002": "The message lists what may stand there. Words such as `stage` begin members of networks only.",
    "UNI010": "Take the name after 'did you mean', define the block in this file, or import it.",
    "UNI012": "The note lists the parameters: give each once, in order or by name.",
    "UNI013": "Give the argument that has no default: `conv(C)` needs its number of output channels.",
    "UNI014": "A wire was given for a number, or the reverse: write `in -> relu`, not `relu -> ...`.",
    "UNI016": "Use every wire you name, or delete its statement; the last statement defines `out`.",
    "UNI020": "Give both branches of a sum the same shape: project one by `conv(other.C, 1, stride)`, or condition the "
    "sum: `if stride == 1 and width == C { in + body } else { body }`.",
    "UNI021": "Bundle the wires for an operation of several inputs: `(q, k) -> matmul1`; take bundles apart first.",
    "UNI022": "Choose a divisor of the channels, or write `//`.",
    "UNI042": "Open choices (`..`, `|`, `in {}`) belong in a `space`; in a block or network name one value.",
}
"""The errors that writers meet most, and what mends them."""


def operations() -> str:
    """The table of operations of this package: by family, each as it is written."""
    families: dict[str, list[str]] = {}
    for name in sorted(REGISTRY):
        if REGISTRY.owner(name).partition(".")[0] == "uninas":
            families.setdefault(REGISTRY[name].family, []).append(signature(name))
    lines = [f"| {family} | {'; '.join(names)} |" for family, names in families.items()]
    return "\n".join(["| family | operations with their attributes and defaults |", "|---|---|", *lines]) + "\n"


def shown_file(name: str) -> str:
    """A file of the library, or one definition of it, as a snippet."""
    path, _, definition = name.partition(":")
    text = (library_root() / path).read_text(encoding="utf-8")
    if definition:
        text = next(part for part in text.split("\n\n") if f"block {definition}(" in part).strip() + "\n"
    return f"`{path}`:\n\n```uni\n{text}```\n"


def llms() -> str:
    """For a prompt: rules, operations, three files, ten errors."""
    shipped = shipped_definitions()
    blocks = "; ".join(
        f"{module} {', '.join(one['name'] for one in shipped if one['module'] == module)}"
        for module in dict.fromkeys(one["module"] for one in shipped if one["kind"] == "block")
    )
    networks = ", ".join(one["name"] for one in shipped if one["kind"] == "network")
    errors = [f"- **{code}** ({CODES[code]}). {mend}" for code, mend in MENDS.items()]
    return "\n".join([
        RULES, "## Operations\n", operations(),
        f"Moves of a space: {', '.join(MOVES)}. Costs: {', '.join(COSTS)}.\n",
        f"Blocks, by the module to import from: {blocks}.\n",
        f"Networks (`from networks.NAME import NAME`): {networks}.\n",
        "## Files\n", *map(shown_file, FILES), "## Errors and what mends them\n", *errors, "",
    ])  # fmt: skip


def llms_full() -> str:
    """To look things up: the language, all operations, moves, errors, the grammar, and every shipped file."""
    pages = [(DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("language", "ops", "errors")]
    moves = [f"- `{name}`: {kind.doc}" for name, kind in MOVES.items()]
    files = sorted(library_root().rglob("*.uni"))
    lines = [f"- `{name}`: {sentence(REGISTRY[name].__doc__ or '')}" for name in sorted(REGISTRY)]
    return "\n".join([
        RULES, "## Operations in short\n", *lines, "", "## Moves in short\n", *moves, "", *pages,
        "# Grammar\n", f"```text\n{grammar_text()}```\n", "# Shipped files\n",
        *(shown_file(path.relative_to(library_root()).as_posix()) for path in files),
    ])  # fmt: skip


PAGES = {"llms.txt": llms, "llms-full.txt": llms_full}


def write(folder: Path = FOLDER) -> None:
    """Both files, into a folder."""
    folder.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
    sys.stdout.write(f"wrote {', '.join(PAGES)} into docs/_llms\n")
