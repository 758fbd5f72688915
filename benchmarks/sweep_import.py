"""Networks of timm and torchvision as text: do they come in, are they the same, and how long is the text?

python benchmarks/sweep_import.py LOG [NAME ...] > docs/results/import.md

One model of every file of timm (see `smallest`) and ten of torchvision, without pretrained weights.
Each is imported; the text is read again and compiled, the weights are carried over, and parameters, FLOPs (against
torch's FlopCounterMode on the meta device) and logits are compared. Results go to LOG, a line of JSON each; what stands
there already is not done again. In the end the page with the table of all is printed.
"""

from __future__ import annotations

import json
import re
import sys
import time
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch
import torchvision
from click.testing import CliRunner
from torch.utils.flop_counter import FlopCounterMode

import uninas
from uninas.backend.trace import carried, import_module, traced
from uninas.cli.main import cli
from uninas.errors import UninasError
from uninas.interop.imported import imported
from uninas.language.elaborate import check
from uninas.language.library import find, load_text

TORCHVISION = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "maxvit_t", "mobilenet_v3_small",
    "shufflenet_v2_x0_5", "swin_t", "vit_b_16",
]  # fmt: skip
PUBLISHED = [
    "resnet18", "resnet50", "regnetx_032", "mobilenetv2_100", "efficientnet_b0", "convnext_tiny",
    "vit_small_patch16_224", "mixer_s16_224", "ghostnet_100", "densenet121", "swin_tiny_patch4_window7_224",
    "inception_v3", "coatnet_0_rw_224", "hrnet_w18",
]  # fmt: skip
MOVES = 4  # candidates of a search that is to start from a network
MOST = 40_000_000_000  # multiply-accumulates of a forward pass that is still compared by its logits


HEAD = """\
# Which networks come in

One model of every file of timm and ten of torchvision, without pretrained weights: imported as text, the text read
again and compiled, the weights carried over. FLOPs are compared with torch's FlopCounterMode on the meta device, logits
on one random image, relative to the largest; a dash stands for a network too large to be run here. As the smallest of a
file counts the one with the fewest parameters among the 14 with the shortest names that look small. From each text a
search is started (`uninas search UniNAS --start net.uni`, 4 candidates within twice its parameters and FLOPs), and the
networks that it finds are counted. What has no operation here stands in the last column; `uninas import --partial`
brings in the rest of it.

```sh
python benchmarks/sweep_import.py sweep.jsonl > docs/results/import.md
```
"""
LARGE = re.compile("large|huge|giant|base|xl|_[lhg]_|gigantic|so400m|384|448|512|1024")
TRIED = 14


def smallest(family: str) -> str | None:
    """The network of a file of timm with the fewest parameters, among those with the shortest names that look small."""
    found: list[tuple[int, str]] = []
    names = sorted(timm.list_models(module=family), key=lambda name: (bool(LARGE.search(name)), len(name), name))
    for name in names[:TRIED]:
        with suppress(Exception), torch.device("meta"):  # some compute with their weights while they are made
            found.append((sum(p.numel() for p in timm.create_model(name).parameters()), name))
    return min(found)[1] if found else None


def made(name: str, device: str = "cpu") -> tuple[torch.nn.Module, tuple[int, ...]]:
    """A model by its name, and the shape of its input."""
    torch.manual_seed(0)
    package, _, model = name.partition(":")
    with torch.device(device):
        if package == "torchvision":
            extra = {"init_weights": False, "aux_logits": False} if model == "googlenet" else {}
            return torchvision.models.get_model(model, **extra).eval(), (3, 224, 224)
        network = timm.create_model(model).eval()
    return network, tuple(network.default_cfg["input_size"])


def measured(name: str) -> dict[str, Any]:
    """What became of one model."""
    model, shape = made(name)
    start = time.process_time()
    trace = traced(model, shape, name.partition(":")[2].replace(".", "_"))
    found = imported(trace)
    seconds = time.process_time() - start
    text = found.text
    check(load_text(text))
    graph = uninas.load(text)
    params = sum(p.numel() for p in model.parameters())
    row: dict[str, Any] = {
        "seconds": round(seconds, 1),
        "lines": len(text.splitlines()),
        "rekeyed": graph.key == found.graph.key
        and uninas.dumps(uninas.load(uninas.dumps(graph))) == uninas.dumps(graph),
        "params": graph.cost.params == params,
        "missing": graph.cost.params - params,
        "folded": len(found.values),
    }
    try:
        twin, _ = made(name, "meta")
        with FlopCounterMode(display=False) as counter:
            twin(torch.empty(1, *shape, device="meta"))
        flops = counter.get_total_flops()
    except Exception:  # some cannot be made on the meta device
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, *shape))
        flops = counter.get_total_flops()
    row |= {"flops": graph.cost.flops == flops, "flops_ratio": graph.cost.flops / max(1, flops)}
    if not row["flops"] and trace.fixed is not None:
        row["fixed"] = 2 * trace.fixed()
        row["flops"] = graph.cost.flops + row["fixed"] == flops
    if not row["params"]:
        several = sorted(theirs for theirs, times in Counter(found.names.values()).items() if times > 1)
        row["apart"] = [*several[:1], len(several)]
    if graph.cost.macs <= MOST:
        copy = uninas.compile(graph).eval()
        carried(found, model.state_dict(), copy)
        x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            wanted, got = model(x), copy(x)
        row["error"] = float((wanted - got).abs().max() / wanted.abs().max().clamp(min=1e-12))
    row["search"] = found_from(text, graph)
    return row


def found_from(text: str, graph: uninas.Graph) -> int | str:
    """How many networks a search of MOVES candidates finds from a text, or the first thing that it says is wrong."""
    with TemporaryDirectory() as folder:
        start, run = Path(folder, "start.uni"), Path(folder, "run")
        start.write_text(text, encoding="utf-8")
        limits = ["--params-max", str(2 * graph.cost.params), "--flops-max", str(2 * graph.cost.flops)]
        told = CliRunner().invoke(cli, [
            "search", "UniNAS", "--start", str(start), "--proxy", "params", "--iterations", str(MOVES), "-j", "0",
            *limits, "-o", str(run),
        ])  # fmt: skip
        if told.exit_code:
            return next(iter(told.output.splitlines()), repr(told.exception))[:200]
        return len({one.key for one in uninas.open_run(run).candidates() if one.score is not None}) - 1


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The table of all rows, and sentences about them."""
    lines = ["| model | parameters | FLOPs | logits off by | same key | lines | search finds | |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    fine = []
    rows = {name: row for name, row in rows.items() if not name.startswith("written:")}
    for name, row in sorted(rows.items()):
        if "obstacle" in row:
            lines.append(f"| {name} | | | | | | | {row['obstacle']} |")
            continue
        same = row["params"] and row["flops"] and row["rekeyed"] and row.get("error", 0) <= 1e-4
        fine += [row["lines"]] if same else []
        notes = [] if row["params"] else [f"parameters off by {row['missing']:,}"]
        if not row["params"] and row.get("apart", [0])[-1]:
            first, count = row["apart"]
            notes.append(f"{count} weights, as {first}, serve in blocks that are not alike, and come in several times")
        if row["flops"] and row.get("fixed"):
            notes.append(f"{row['fixed']:,} FLOPs more in torch make a table that nothing learned or seen changes: "
                         "it comes in as its numbers")  # fmt: skip
        notes += [] if row["flops"] else [f"FLOPs times {row['flops_ratio']:.4f}"]
        error = f"{row['error']:.0e}" if "error" in row else "-"
        if isinstance(row.get("search"), str):
            notes.append(f"no search: {row['search']}")
        begins = row["search"] if isinstance(row.get("search"), int) else "-"
        words = ["yes" if row[key] else "no" for key in ("params", "flops", "rekeyed")]
        cells = [name, words[0], words[1], error, words[2], str(row["lines"]), str(begins), "; ".join(notes)]
        lines.append(f"| {' | '.join(cells)} |")
    total = len(rows)
    summary = f"{len(fine)} of {total} come in as they are ({len(fine) / max(1, total):.0%})"
    if fine:
        summary += f"; {median(fine):.0f} lines of text in the middle, {max(fine)} at most"
    tried = [row["search"] for row in rows.values() if "search" in row]
    starts = sum(isinstance(found, int) and found > 0 for found in tried)
    searches = f" A search starts from {starts} of the {len(tried)} texts." if tried else ""
    return "\n".join([f"{summary}.{searches}", "", *lines])


def beside_ours(rows: dict[str, dict[str, Any]]) -> str:
    """How long imported texts are beside those of spaces/networks, which people wrote."""
    lines = ["## Beside texts that people wrote", "",
             "Lines of the imported text, and of the shipped one with all blocks that it uses.", "",
             "| network | imported | written |", "|---|---|---|"]  # fmt: skip
    for name in PUBLISHED:
        found = rows.get(f"written:{name}")
        if found:
            lines.append(f"| {name} | {found['lines']} | {found['written']} |")
    near = sum(r["lines"] <= 4 / 3 * r["written"] for n, r in rows.items() if n.startswith("written:"))
    return "\n".join([*lines, "", f"{near} of them are at most a third longer.", ""])


def written_lines(name: str) -> dict[str, int]:
    """Lines of an import of a network that is shipped, and of what was written for it."""
    module, _ = find(name)
    network, shape = made(f"timm:{name}")
    text = import_module(network, shape, name).text
    definitions = {}
    waiting = [(module, module.definitions[name])]
    while waiting:
        home, definition = waiting.pop()
        span = definition.span
        body = span.source.text[span.start : span.end]
        key = (span.source.name, definition.name.text)
        if key not in definitions:
            definitions[key] = counted(body)
            waiting += [used for word in set(re.findall(r"\w+", body)) if (used := home.find(word)) is not None]
    return {"lines": counted(text), "written": sum(definitions.values())}


def counted(text: str) -> int:
    """Lines that say something."""
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in text.splitlines())


def known(log: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str | None]]:
    """What a log holds: rows by model, and the smallest model of every file of timm."""
    rows: dict[str, dict[str, Any]] = {}
    names: dict[str, str | None] = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        record = json.loads(line)
        if "family" in record:
            names[record["family"]] = record["name"]
        else:
            rows[record.pop("model")] = record
    return rows, names


def tried(name: str) -> dict[str, Any]:
    """The row of a model, or what stands in its way."""
    try:
        return written_lines(name.partition(":")[2]) if name.startswith("written:") else measured(name)
    except UninasError as problem:
        return {"obstacle": problem.diagnostics[0].message}
    except Exception as problem:
        return {"obstacle": f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"}


def main() -> None:
    """Go through all that is not in the log, and print the page."""
    log, asked = Path(sys.argv[1]), sys.argv[2:]
    rows, names = known(log)
    with log.open("a", encoding="utf-8") as file:

        def note(record: dict[str, Any]) -> None:
            file.write(json.dumps(record) + "\n")
            file.flush()

        for family in [] if asked else timm.list_modules():
            if family not in names:
                names[family] = smallest(family)
                note({"family": family, "name": names[family]})
        every = asked or [f"timm:{name}" for name in names.values() if name]
        every += [] if asked else [f"torchvision:{n}" for n in TORCHVISION] + [f"written:{n}" for n in PUBLISHED]
        for name in dict.fromkeys(every):
            if name not in rows or asked:
                rows[name] = tried(name)
                note({"model": name, **rows[name]})
                print(name, rows[name], file=sys.stderr, flush=True)
    print(f"{HEAD}\n{table(rows)}\n\n{beside_ours(rows)}", end="")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main()
