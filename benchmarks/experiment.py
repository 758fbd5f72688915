"""Found against known, trained alike: `make experiment`.

Reads the plan (benchmarks/experiment.yaml), searches, trains every network with every seed, and writes a page. Every
step lives in a folder and is gone on with where it stopped, so the command may be killed and run again at any time.
Seeds are in the outer loop: a cut leaves whole seeds.

    python benchmarks/experiment.py --data cifar.npz -o runs/experiment
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from math import inf, isnan
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
import yaml

from uninas import dumps, load
from uninas.runs.process import keep_memory, write_text
from uninas.search.candidate import Candidate
from uninas.search.store import Store
from uninas.training.compare import paired
from uninas.training.recipe import Recipe
from uninas.training.run import RESULT, TrainingRun, train

PLAN = Path(__file__).with_name("experiment.yaml")


def searched(plan: dict[str, Any], folder: Path) -> None:
    """Begin the search, or go on with it."""
    asked = plan["search"]
    options = [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
               for name, value in asked.items() if name != "space"]  # fmt: skip
    subprocess.run([sys.executable, "-m", "uninas", "search", asked["space"], *options, "-o", str(folder)], check=True)


def networks(plan: dict[str, Any], run: Path, folder: Path) -> dict[str, str]:
    """The texts of all networks by name. Those of the search are kept as files beside its run."""
    with Store(run, read_only=True) as store:
        scored = [candidate for candidate in store if candidate.score is not None]
        best = {name: max(scored, key=lambda each: (_figure(each, what), -each.number))
                for name, what in plan["chosen"].items()}  # fmt: skip
        taken = {scored[0].key, *(candidate.key for candidate in best.values())}
        others = [candidate for candidate in scored if candidate.key not in taken]
        drawn = random.Random(plan["search"]["seed"]).sample(others, plan["random"])
        chosen = {**best, **{f"random_{number}": each for number, each in enumerate(drawn, 1)}}
        texts = {name: dumps(load(store.text(candidate.number)), name) for name, candidate in chosen.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(folder / f"{name}.uni", text)
    return {**{name: name for name in plan["hand_made"]}, **texts}


def _figure(candidate: Candidate, what: str) -> float:
    """A figure of a scored candidate; what has none comes last."""
    value = (candidate.numbers or {}).get(what, -inf)
    return -inf if isnan(value) else value


def trained(
    plan: dict[str, Any], texts: dict[str, str], data: str, folder: Path, device: str
) -> dict[str, list[TrainingRun]]:
    """Train every network with every seed, seeds in the outer loop."""
    recipe = Recipe.load(plan["recipe"], "classification").but(**plan.get("changes", {}))
    runs: dict[str, list[TrainingRun]] = {name: [] for name in texts}
    for seed in plan["seeds"]:
        for name, text in texts.items():
            done = train(text, data=data, recipe=recipe, out=folder / f"{name}_{seed}", seed=seed, device=device)
            runs[name].append(done)
            top = done.figures.get("top1", float("nan"))
            print(f"seed {seed}  {name:<20} {top:6.2f} %  {done.outcome}", flush=True)
    return runs


def finished(plan: dict[str, Any], texts: dict[str, str], folder: Path) -> dict[str, list[TrainingRun]]:
    """The trainings that have ended so far; nothing is trained."""
    return {
        name: [TrainingRun.open(place) for seed in plan["seeds"]
               if (place := folder / f"{name}_{seed}").joinpath(RESULT).is_file()]
        for name in texts
    }  # fmt: skip


def page(plan: dict[str, Any], texts: dict[str, str], runs: dict[str, list[TrainingRun]]) -> str:
    """What came out, as Markdown: every seed, means and deviations, paired differences, and what it is not."""
    tops = {
        name: {int(run.settings["seed"]): run.figures["top1"] for run in some if run.outcome == "finished"}
        for name, some in runs.items()
    }
    seeds = plan["seeds"]
    heads = ["network", *(f"seed {seed}" for seed in seeds), "mean", "sd", "parameters", "FLOPs", "images/s"]
    lines = [_OPENING, row(heads), "|---" * len(heads) + "|"]
    for name, some in runs.items():
        values, result = list(tops[name].values()), some[0].result
        ended = {int(run.settings["seed"]) for run in some}
        cells = [f"{tops[name][seed]:.2f}" if seed in tops[name] else "diverged" if seed in ended else "not yet"
                 for seed in seeds]  # fmt: skip
        cells += [f"{mean(values):.2f}" if values else "", f"{stdev(values):.2f}" if len(values) > 1 else ""]
        cells += [f"{result['params'] / 1e6:.2f} M", f"{result['flops'] / 1e6:.1f} M"]
        cells.append(f"{mean(float(run.result.get('images_per_second', 0)) for run in some):.0f}")
        lines.append(row([name, *cells]))
    lines += same(texts)
    for chosen, what in plan["chosen"].items():
        title = plan["search"]["proxy"] if what == "score" else what
        lines += [_DIFFERENCES.format(chosen=chosen, title=title)]
        lines += [row(["against", "difference", "interval", ""]), "|---|---|---|---|"]
        for name in runs:
            difference = paired(tops[chosen], tops[name]) if name != chosen else None
            if difference:
                middle, half = difference
                low, high = middle - half, middle + half
                word = "better" if low > 0 else "worse" if high < 0 else "no difference found"
                lines.append(row([name, f"{middle:+.2f}", f"{low:+.2f} .. {high:+.2f}", word]))
    return "\n".join([*lines, _LIMITS])


def same(texts: dict[str, str]) -> list[str]:
    """A sentence for every network that is another one of the table: a walk may end where it began."""
    keys = {name: load(text).key for name, text in texts.items()}
    first = {key: name for name, key in reversed(keys.items())}
    return [f"\n`{name}` is `{first[key]}`: the same network." for name, key in keys.items() if first[key] != name]


def row(cells: list[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


_OPENING = """# Found against known, trained alike

Written by `make experiment` from the plan in `benchmarks/experiment.yaml`. Accuracy on the test images, in percent.
"""
_DIFFERENCES = """
## {chosen}, the best by {title}

Differences of its accuracy to that of the others, over the same seeds, with 95 % intervals (Student):
"""
_LIMITS = """
What this is not: ImageNet, images of 224 px, or 150 epochs. The pictures are CIFAR-10 after JPEG, so the figures are
not comparable with published ones; without pre-training they favour convolutions. A figure on 4,000 test images has a
standard error of about 0.7 points.
"""


def main() -> None:
    """Search, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="an .npz file, see docs/training.md")
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--page-only", action="store_true", help="train nothing; a page of what has ended")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/experiment"))
    given = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    plan = yaml.safe_load(given.plan.read_text(encoding="utf-8"))
    if not given.page_only:
        searched(plan, given.output / "search")
    texts = networks(plan, given.output / "search", given.output / "networks")
    place = given.output / "trainings"
    runs = finished(plan, texts, place) if given.page_only else trained(plan, texts, given.data, place, given.device)
    write_text(given.output / "experiment.md", page(plan, texts, runs))
    print(f"wrote {given.output / 'experiment.md'}")


if __name__ == "__main__":
    main()
