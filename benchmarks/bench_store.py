"""The database of a run with a million synthetic candidates: insert rate, size, and how long questions take.

    python benchmarks/bench_store.py [--candidates 1000000]

Candidates have the texts, edits and costs of real ones, a walk from CoAtNet of which each is used many times, and are
written in transactions of a thousand, but for some that are written as a run writes them, each in its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from uninas.cli.runs import state
from uninas.language.printer import dumps
from uninas.search.asktell import Search
from uninas.search.candidate import Candidate
from uninas.search.front import front
from uninas.search.store import _INSERT, COLUMNS, Store, _row
from uninas.search.top import merit_rows, top

MODELS = 300  # real ones
BATCH, SINGLE = 1000, 2000  # candidates written together; candidates written one by one and timed
FILES = ("run.sqlite", "run.sqlite-wal")


def models() -> Iterator[tuple[Candidate, str]]:
    """Real candidates of a walk with their texts."""
    search = Search.over("UniNAS", img_size=32, iterations=MODELS - 1)
    for draft in search:
        graph, cost = draft.graph, draft.graph.cost
        search.tell(draft, 1.0)
        yield Candidate(
            draft.number, draft.parent, draft.edit, graph.key, cost.params, cost.macs, graph.operations, 1.0,
            {"entropy": 2.0, "layers": 100.0, "params": float(cost.params)}, seed=draft.seed, seconds=1.0,
            refused={"budget": 2}, activations=graph.activations, peak=graph.peak, worker="worker 3", started=1.7e9,
        ), dumps(graph, explicit=True)  # fmt: skip


def synthetic(known: list[tuple[Candidate, str]], number: int) -> tuple[Candidate, str]:
    """A candidate like a real one, with a key and a score of its own; one in a hundred has failed."""
    candidate, text = known[number % len(known)]
    score = random.Random(number).gauss(2.0, 0.1) if number % 100 != 99 else None
    return dataclasses.replace(
        candidate, number=number, parent=number - 1 if number else None, edit=candidate.edit if number else None,
        key=sha256(str(number).encode()).hexdigest(), score=score, reason=None if score else "nan",
        failure=None if score else "the score is nan", started=1.7e9 + number,
    ), text  # fmt: skip


def fill(store: Store, known: list[tuple[Candidate, str]], numbers: range) -> None:
    """The same rows as `store.add` would write, faster: texts are packed once for all candidates that have them."""
    rows = [(_row(candidate), store._packed(1, text)) for candidate, text in known]
    rng, database = random.Random(numbers.start), store.db
    for first in numbers[::BATCH]:
        batch = range(first, min(first + BATCH, numbers.stop))
        database.execute("BEGIN")
        database.executemany(_INSERT, (_like(rows[n % len(rows)][0], n, rng) for n in batch))
        database.executemany("INSERT INTO texts VALUES (?, ?)", ((n, rows[n % len(rows)][1]) for n in batch))
        database.execute("COMMIT")
    database.execute("DELETE FROM totals")
    database.execute(
        "INSERT INTO totals SELECT rung, coalesce(reason, ''), count(*), sum(seconds), min(started), max(started) "
        "FROM candidates GROUP BY rung, coalesce(reason, '')"
    )
    database.execute("UPDATE refusals SET draws = 2 * (SELECT count(*) FROM candidates)")
    numbers, merits = merit_rows(store)
    best = [(numbers[index], json.dumps(list(merits[index]))) for index in front(merits)]
    database.execute("DELETE FROM front")
    database.executemany("INSERT INTO front VALUES (?, ?)", best)


def _like(row: tuple[object, ...], number: int, rng: random.Random) -> tuple[object, ...]:
    values = dict(zip(COLUMNS, row, strict=True))
    failed = number % 100 == 99
    values |= {"number": number, "parent": number - 1, "key": f"{rng.getrandbits(256):064x}", "started": 1.7e9 + number}
    values |= {"score": None if failed else rng.gauss(2.0, 0.1), "reason": "nan" if failed else None}
    return tuple(values.values())


@contextmanager
def stopwatch(what: str) -> Iterator[None]:
    """Print how long something takes, by the clock and of this processor: they differ where others use it too."""
    began, cpu = time.perf_counter(), time.process_time()
    yield
    print(f"{what:<52} {time.perf_counter() - began:9.3f} s, {time.process_time() - cpu:9.3f} s of CPU", flush=True)


def main() -> None:
    """Write, then ask."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--candidates", type=int, default=1_000_000)
    count = parser.parse_args().candidates
    known = list(models())
    texts = sum(len(text) for _, text in known) / len(known)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Store(folder) as store:
            store.put({"objectives": [[("score", "higher"), ("params", "lower")]], "iterations": count})
            store.add(*synthetic(known, 0))
            quarter = count // 4
            for first in range(0, 4 * quarter, quarter):
                fill(store, known, range(max(1, first), first + quarter - SINGLE))
                single = [synthetic(known, number) for number in range(first + quarter - SINGLE, first + quarter)]
                with stopwatch(f"{SINGLE:,} of {first + quarter:,}, each in its own transaction"):
                    for candidate, text in single:
                        store.add(candidate, text)
            written = len(store)
        size = sum((folder / file).stat().st_size for file in FILES if (folder / file).exists())
        print(
            f"{written:,} candidates: {size / 1e6:,.0f} MB, {size / written:,.0f} bytes each; a text has {texts:,.0f}"
        )

        for what, action in QUESTIONS.items():
            with stopwatch(what), Store(folder, read_only=True) as store:
                action(store)
        with stopwatch("opened for writing, with the check for damage"):
            Store(folder).close()


QUESTIONS: dict[str, Callable[[Store], object]] = {
    "uninas status": state,
    "uninas top -n 20": lambda store: top(store, 20),
    "the text of a candidate": lambda store: store.text(len(store) // 2),
    "uninas top --pareto, two objectives": Store.front,
    "all candidates, as a run that is resumed reads them": lambda store: sum(1 for _ in store),
}


if __name__ == "__main__":
    main()
