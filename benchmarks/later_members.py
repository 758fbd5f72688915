"""What scores that were chosen before say of the members of walks that were trained later.

    python benchmarks/later_members.py [--first 44] [--table docs/results/micro_table.csv]

Sums of scores were chosen, and read, with the first 44 members in view (`aggregates.py`). Here are all later ones
alone: Kendall's tau with accuracy, and how much it is above the better of parameters and FLOPs; 95 % intervals.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from aggregates import FORMER, TERMS
from proxy_spaces import PASSES, measured
from rank_spaces import Space
from tensors import Member

from uninas import load
from uninas.scores.aggregate import AGGREGATES


def main() -> None:
    """Score the later members and print a row for each score."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--first", type=int, default=44)
    parser.add_argument("--table", type=Path, default=Path("docs/results/micro_table.csv"))
    given = parser.parse_args()
    with given.table.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["first"] == "1" and int(row["member"]) >= given.first]
    proxies = (*PASSES["counts"][0], *PASSES["leaders"][0])
    scores = [measured(Member(row["key"], load(row["architecture"]), {}), proxies) for row in rows]
    columns = {}
    for name in proxies:
        values = np.array([float(row[name]) if row[name] else np.nan for row in scores])
        columns[name] = np.where(np.isfinite(values), values, np.nanmin(values) - 1)
    space = Space("later members", columns, {"c10": np.array([float(row["c10"]) for row in rows])})
    formulas = {name: {name: 1.0} for name in TERMS if name in columns}
    formulas |= {name: dict.fromkeys(AGGREGATES[name].components, 1.0) for name in ("broad_agg", "steady_agg")}
    print(f"{len(rows)} members\n\n| score | tau | less the better of parameters and FLOPs |\n|---|---|---|")
    for name, formula in {**formulas, "consensus_agg": FORMER}.items():
        found = space.score(formula)
        low, high, _ = space.intervals(found, "c10")
        value, below, above = space.differences(found)["c10"]
        print(f"| {name} | {space.taus(found)[0]:+.2f} [{low:+.2f}, {high:+.2f}] "
              f"| {value:+.2f} [{below:+.2f}, {above:+.2f}] |")  # fmt: skip


if __name__ == "__main__":
    main()
