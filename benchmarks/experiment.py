"""Found against known, trained alike: `make experiment`.

Reads the plan (benchmarks/experiment.yaml), searches, trains every network with every seed, and writes a page. Every
step lives in a folder and is gone on with where it stopped, so the command may be killed and run again at any time.
Seeds are in the outer loop: a cut leaves whole seeds.

    python benchmarks/experiment.py --data cifar.npz -o runs/experiment
    python benchmarks/experiment.py --data cifar.npz --plan benchmarks/experiment2.yaml -o runs/experiment2
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
from uninas.runs.paired import paired
from uninas.runs.process import keep_memory, write_text
from uninas.search.candidate import Candidate
from uninas.search.store import Store
from uninas.training.recipe import Recipe
from uninas.training.run import RESULT, TrainingRun, train

PLAN = Path(__file__).with_name("experiment.yaml")


def searches(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The searches of a plan by name; the only one of a plan that has one is called search."""
    found: dict[str, dict[str, Any]] = plan.get("searches") or {"search": plan["search"]}
    return found


def searched(asked: dict[str, Any], data: str, folder: Path) -> None:
    """Begin a search, or go on with it. `DATA` in a value stands for the file of images."""
    options = [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}".replace("DATA", data))
               for name, values in asked.items() if name != "space"
               for value in (values if isinstance(values, list) else [values])]  # fmt: skip
    subprocess.run([sys.executable, "-m", "uninas", "search", asked["space"], *options, "-o", str(folder)], check=True)


def networks(plan: dict[str, Any], runs: Path, folder: Path) -> dict[str, str]:
    """The texts of all networks by name. Those of the searches are kept as files beside their runs."""
    texts: dict[str, str] = {}
    for search in searches(plan):
        with Store(runs / search, read_only=True) as store:
            chosen = members(plan, search, [candidate for candidate in store if candidate.score is not None])
            texts |= {name: dumps(load(store.text(one.number)), name) for name, one in chosen.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(folder / f"{name}.uni", text)
    return {**{name: name for name in plan["hand_made"]}, **texts}


def members(plan: dict[str, Any], search: str, scored: list[Candidate]) -> dict[str, Candidate]:
    """What a search found, and, of the first search, random members of what it scored."""
    best = {name: max(scored, key=lambda each: (_figure(each, what), -each.number))
            for name, (where, what) in chosen_by(plan).items() if where == search}  # fmt: skip
    if search != next(iter(searches(plan))):
        return best
    taken = {scored[0].key, *(candidate.key for candidate in best.values())}
    others = [candidate for candidate in scored if candidate.key not in taken]
    drawn = random.Random(searches(plan)[search]["seed"]).sample(others, plan["random"])
    return {**best, **{f"random_{number}": each for number, each in enumerate(drawn, 1)}}


def chosen_by(plan: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """The search and the figure by which each network is chosen."""
    only = next(iter(searches(plan)))
    return {name: tuple(what) if isinstance(what, list) else (only, what) for name, what in plan["chosen"].items()}


def _figure(candidate: Candidate, what: str) -> float:
    """A figure of a scored candidate; what has none comes last."""
    value = (candidate.numbers or {}).get(what, -inf)
    return -inf if isnan(value) else value


def trained(
    plan: dict[str, Any], texts: dict[str, str], data: str, folder: Path, device: str
) -> dict[str, list[TrainingRun]]:
    """Train every network with every seed, seeds in the outer loop; members drawn at random perhaps with fewer."""
    recipe = Recipe.load(plan["recipe"], "classification").but(**plan.get("changes", {}))
    runs: dict[str, list[TrainingRun]] = {name: [] for name in texts}
    for seed in plan["seeds"]:
        for name, text in texts.items():
            if not asked_of(plan, name, seed):
                continue
            done = train(text, data=data, recipe=recipe, out=folder / f"{name}_{seed}", seed=seed, device=device)
            runs[name].append(done)
            top = done.figures.get("top1", float("nan"))
            print(f"seed {seed}  {name:<20} {top:6.2f} %  {done.outcome}", flush=True)
    return runs


def asked_of(plan: dict[str, Any], name: str, seed: int) -> bool:
    """Whether the plan asks for this training: members drawn at random may have fewer seeds."""
    return not name.startswith("random_") or seed in plan.get("random_seeds", plan["seeds"])


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
    lines = [_OPENING.format(plan=plan["name"]), row(heads), "|---" * len(heads) + "|"]
    for name, some in runs.items():
        values, cost = list(tops[name].values()), load(texts[name]).cost
        ended = {int(run.settings["seed"]) for run in some}
        cells = [f"{tops[name][seed]:.2f}" if seed in tops[name] else "diverged" if seed in ended
                 else "not yet" if asked_of(plan, name, seed) else "" for seed in seeds]  # fmt: skip
        cells += [f"{mean(values):.2f}" if values else "", f"{stdev(values):.2f}" if len(values) > 1 else ""]
        cells += [f"{cost.params / 1e6:.2f} M", f"{cost.flops / 1e6:.1f} M"]
        speeds = [float(run.result.get("images_per_second", 0)) for run in some]
        cells.append(f"{mean(speeds):.0f}" if speeds else "")
        lines.append(row([name, *cells]))
    lines += same(texts)
    for chosen, (search, what) in chosen_by(plan).items():
        title = searches(plan)[search]["proxy"] if what == "score" else what
        lines += [_DIFFERENCES.format(chosen=chosen, title=title)]
        lines += [row(["against", "difference", "interval", ""]), "|---|---|---|---|"]
        for name, others in {**tops, **together(tops)}.items():
            difference = paired(tops[chosen], others) if name != chosen else None
            if difference:
                middle, half = difference
                low, high = middle - half, middle + half
                word = "better" if low > 0 else "worse" if high < 0 else "no difference found"
                lines.append(row([name, f"{middle:+.2f}", f"{low:+.2f} .. {high:+.2f}", word]))
    return "\n".join([*lines, _LIMITS])


def together(tops: dict[str, dict[int, float]]) -> dict[str, dict[int, float]]:
    """The mean of the members drawn at random, by seed, where there are several of them and all have it."""
    drawn = [values for name, values in tops.items() if name.startswith("random_")]
    seeds = sorted(set.intersection(*map(set, drawn))) if len(drawn) > 1 else []
    return {f"the mean of {len(drawn)} random members": {seed: mean(one[seed] for one in drawn) for seed in seeds}}


def same(texts: dict[str, str]) -> list[str]:
    """A sentence for every network that is another one of the table: a walk may end where it began."""
    keys = {name: load(text).key for name, text in texts.items()}
    first = {key: name for name, key in reversed(keys.items())}
    return [f"\n`{name}` is `{first[key]}`: the same network." for name, key in keys.items() if first[key] != name]


def row(cells: list[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


_OPENING = """# Found against known, trained alike: {plan}

Written by `python benchmarks/experiment.py --plan benchmarks/{plan}`; the plan says what was asked, and why.
Accuracy on the test images, in percent.
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
    plan = {"name": given.plan.name, **yaml.safe_load(given.plan.read_text(encoding="utf-8"))}
    if not given.page_only:
        for name, asked in searches(plan).items():
            searched(asked, given.data, given.output / name)
    texts = networks(plan, given.output, given.output / "networks")
    place = given.output / "trainings"
    runs = finished(plan, texts, place) if given.page_only else trained(plan, texts, given.data, place, given.device)
    write_text(given.output / "experiment.md", page(plan, texts, runs))
    print(f"wrote {given.output / 'experiment.md'}")


if __name__ == "__main__":
    main()
