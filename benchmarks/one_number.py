"""One number everywhere: a network is scored through every door, and the numbers stand side by side.

    python benchmarks/one_number.py            # --ray too, if Ray is installed

Doors: `uninas score`, a search in which the proxy is the score, one in which it is a further objective, a worker
process, `uninas rank`, and the functions of `uninas.proxies` alone. Exit status 1 where numbers differ in any digit.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from uninas import compile, load, proxies
from uninas.language.printer import dumps
from uninas.ranking.members import dataset
from uninas.ranking.scoring import Job, Work
from uninas.runs.scorer import scored
from uninas.scores.objectives import Recipe
from uninas.search.candidate import Candidate
from uninas.search.executor import Execution, make_executor
from uninas.search.tasks import evaluated, score_functions

NAMES = ("vkdnw", "coherence", "jacov", "naswot", "zen", "snip", "swap", "grasp", "synflow", "expressivity", "flops")
BATCH, SIZE, CLASSES = 8, 32, 10


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--ray", action="store_true")
    options = parser.parse_args()
    graph = load(options.network, img_size=SIZE)
    seed, text = options.seed, dumps(graph, explicit=True)

    def searched(names: tuple[str, ...], executor: str = "") -> dict[str, float]:
        recipe = Recipe((names,), BATCH)
        if executor:
            pool = make_executor(recipe, Execution(jobs=1, executor=executor))
            pool.submit(Candidate(0, seed=seed, text=text))
            found = pool.wait()[0]
            pool.close()
        else:
            (function,), _ = score_functions(recipe)
            found = evaluated(Candidate(0, seed=seed, text=text), function, "main")
        return {names[0]: found.score or 0.0, **{name: found.components[name] for name in names[1:]}}

    def by_hand(name: str) -> float:
        module = compile(graph, generator=proxies.stream(seed, "own weights")).eval()
        return proxies.score(name, module, proxies.source("normal", graph.inputs, BATCH), seed).value

    work = Work("", Path(), (dataset("plain"),), Recipe((NAMES,), BATCH))
    ranked = work(0).work(Job(0, text, "plain", tuple((seed, name) for name in NAMES)))
    doors = {
        "score": {one["proxy"]: one["value"] for one in scored(graph, NAMES, seed=seed, batch_size=BATCH)["scores"]},
        "search, first": {name: searched((name,))[name] for name in NAMES},
        "search, further": searched((*NAMES[-1:], *NAMES[:-1])),
        "worker": searched(NAMES, "local"),
        **({"Ray": searched(NAMES, "ray")} if options.ray else {}),
        "rank": {one.proxy: one.value or 0.0 for one in ranked.scores},
        "Python": {name: by_hand(name) for name in NAMES},
    }
    print(f"{options.network}, {SIZE} px, batch {BATCH}, seed {seed}")
    print("".join(f"{head:>24}" for head in ("proxy", *doors)))
    for name in NAMES:
        print("".join(f"{cell:>24}" for cell in (name, *(repr(door[name]) for door in doors.values()))))
    different = [name for name in NAMES if len({door[name] for door in doors.values()}) > 1]
    print(f"{len(NAMES) - len(different)} of {len(NAMES)} are the same in every digit", *different)
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
