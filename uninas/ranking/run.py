"""A ranking: draw a sample of the table, find the scores that are missing, compute and store them. It may stop at
any moment and go on later, with more proxies, seeds, data sets or networks if wanted.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from uninas import plugins, proxies
from uninas.errors import UninasError, error, shown
from uninas.ranking.members import Dataset, builder, dataset, fingerprint
from uninas.ranking.scoring import Job, Outcome, Work, lost
from uninas.ranking.store import Store
from uninas.ranking.table import Row, read_table
from uninas.runs.workers import Workers
from uninas.scores.aggregate import AGGREGATES, Aggregate, parts_of
from uninas.scores.input_sources import NORMAL, from_files, sources
from uninas.scores.objectives import PROTOCOL, Recipe
from uninas.scores.options import of as plain_options

MOST_SEEDS = 1000
PROBED = 100  # rows of which one must be a network, before any work


@dataclass(frozen=True)
class Settings:
    """Everything that decides what is scored, and how."""

    table: str
    proxies: tuple[str, ...]
    datasets: tuple[str, ...]
    """As on the command line: c10, mine:3x64x64:5."""
    space: str = ""
    limit: int | None = None
    seeds: int = 1
    sample_seed: int = 0
    where: str = ""
    architecture: str = ""
    accuracy: str = ""
    index: str = "index"
    metric: str = "percent"
    """What the numbers of the table are: one of `table.METRICS`."""
    batch_size: int = 64
    init: str = "kaiming_normal_fan_in"
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the proxies: by NAME for all that have it, or PROXY.NAME."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Where the images come from, by the proxy or under "": what `images.read` gives."""
    device: str = "cpu"
    by: str = ""
    """The protocol that was followed, with the digest of what it says, and what was changed in it; '' for none."""

    def __post_init__(self) -> None:
        if not self.proxies or not self.datasets:
            raise error("UNI110", "expected at least one proxy and one data set")
        if not 0 < self.seeds <= MOST_SEEDS:
            raise error("UNI110", f"expected 1 to {MOST_SEEDS} seeds, but got {shown(self.seeds)}")
        if len(set(self.names)) < len(self.names):
            raise error("UNI110", f"expected different names of data sets, but got {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the data sets."""
        return tuple(dataset(text).name for text in self.datasets)

    @property
    def components(self) -> tuple[str, ...]:
        """The proxies to compute: those asked for, and the components of the aggregates."""
        return tuple(dict.fromkeys(part for name in self.proxies for part in parts_of(name)))

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def aggregate(name: str, directions: Mapping[str, str]) -> Aggregate | None:
    """The aggregate of that name, or None for a single proxy."""
    parts = parts_of(name)
    if name in AGGREGATES or len(parts) == 1:
        return AGGREGATES.get(name)
    return Aggregate(name, {part: "lower" if directions[part] == "lower" else "higher" for part in parts})


# What makes scores in one folder comparable. The rest (proxies, seeds, data sets, limit) says only how many there are.
_FIXED = ("space", "where", "architecture", "accuracy", "index", "metric", "sample_seed", "batch_size", "init",
          "device")  # fmt: skip


class Ranking:
    """A folder in which scores are gathered. Opening one that is there continues it."""

    def __init__(self, folder: Path, settings: Settings, retry: Collection[str] = ("crash",), *,
                 any_version: bool = False):  # fmt: skip
        """What failed for a reason of `retry` is scored again: a crash may have been an accident.

        `any_version` goes on without the plug-ins, or their versions, that the ranking was made with.
        """
        self.folder, self.settings, self.retry = folder, settings, retry
        path = Path(settings.table)
        table = read_table(
            path, settings.names, architecture=settings.architecture, accuracy=settings.accuracy,
            index=settings.index, where=settings.where, metric=settings.metric,
        )  # fmt: skip
        sets = tuple(map(dataset, settings.datasets))
        images = sources(settings.proxies, settings.images)
        recipe = Recipe((settings.components,), settings.batch_size, images, options=settings.options,
                        init=settings.init, device=settings.device)  # fmt: skip
        self.work = Work(settings.space, path.resolve().parent, sets, recipe)
        directions = self.work.check()
        meant = {"table": table.digest, "space": fingerprint(settings.space)} | {s.name: s.label for s in sets}
        meant |= {text: proxies.digest(text) for text in from_files(images)}
        rows = list(table.rows)
        random.Random(settings.sample_seed).shuffle(rows)  # so that a larger sample contains the smaller ones
        self._check_rows(rows, sets)
        self.store = Store(folder)
        try:
            used = self._plugins(any_version)
            fixed = self._compared({f"what {name} is": value for name, value in meant.items()})
            for proxy, direction in directions.items():
                own = {} if images[proxy] == NORMAL else {"input": images[proxy]}
                known = proxies.get(proxy).options if proxy in proxies.proxies() else {}
                given = {n: one for n, one in plain_options(proxy, settings.options).items() if n in known}
                self.store.use(proxy, direction, {**given, **own})
            self.store.put({**settings.as_dict(), **fixed, "plugins": used})
            self.store.sample(rows[: settings.limit])
            self.jobs = list(self._jobs())
        except BaseException:
            self.store.close()
            raise
        self.empty = table.empty
        """Rows of the table that are left out as they lack a number."""
        self.total = min(len(rows), settings.limit or len(rows)) * len(sets)
        self.failures: Counter[str] = Counter()

    def _check_rows(self, rows: Sequence[Row], sets: Sequence[Dataset]) -> None:
        """Raises UNI110 where none of the first rows is a network."""
        build, first = builder(self.work.space, self.work.folder), None
        for row in rows[: min(PROBED, self.settings.limit or PROBED)]:
            try:
                build(row.architecture, sets[0])
                return
            except UninasError as problem:
                first = first or problem
        if first is not None:
            what, found = shown(self.settings.table, 200), first.diagnostics[0]
            message = f"expected networks, but none of the first rows of {what} can be read"
            raise error("UNI110", message, None, f"the first: {found.message}", *found.notes)

    def outcomes(
        self, workers: int = 1, *, time_limit: float | None = None, memory_limit: float | None = None
    ) -> Iterator[Outcome]:
        """Do what is missing; yields each outcome when it is safely stored.

        Limits are for one network on one data set (seconds), and for one worker process (bytes). One worker without a
        limit is this process.
        """
        for outcome in self._done(workers, time_limit, memory_limit):
            self.store.add(outcome)
            self.failures.update(score.failure for score in outcome.scores if score.failure is not None)
            yield outcome

    def _done(self, workers: int, time_limit: float | None, memory_limit: float | None) -> Iterator[Outcome]:
        if workers == 1 and not time_limit and not memory_limit:
            return map(self.work(0).work, self.jobs)
        count = max(1, min(workers, len(self.jobs)))
        pool = Workers(self.work, lost, count, time_limit=time_limit, memory_limit=memory_limit)
        return pool.results(self.jobs)

    def _jobs(self) -> Iterator[Job]:
        """Network by network, on all data sets, so that whatever is done can be ranked."""
        wanted = [(seed, proxy) for seed in range(self.settings.seeds) for proxy in self.settings.components]
        there: dict[tuple[str, int], set[tuple[int, str]]] = {}
        networks = {}
        for name in self.settings.names:
            for line, seed, proxy, _, reason, *_ in self.store.scores(name):
                if reason not in self.retry:
                    there.setdefault((name, line), set()).add((seed, proxy))
            networks[name] = self.store.networks(name, self.settings.limit)
        for together in zip(*networks.values(), strict=True):
            for name, network in zip(networks, together, strict=True):
                known = there.get((name, network.line), set())
                missing = tuple(one for one in wanted if one not in known)
                if missing:
                    yield Job(network.line, network.architecture, name, missing)

    def _plugins(self, any_version: bool) -> dict[str, str]:
        """All plug-ins that scores here were made with. Raises UNI140 where one is missing or another version."""
        before = self.store.settings.get("plugins")
        if not any_version:
            plugins.require(before, self.folder)
        return {**(before if isinstance(before, dict) else {}), **plugins.loaded()}

    def _compared(self, meant: dict[str, str]) -> dict[str, Any]:
        """The settings that may not change in this folder. Raises UNI070 where one has changed."""
        stored, now = self.store.settings, self.settings.as_dict()
        if stored and stored.get("protocol") != PROTOCOL:
            raise error(
                "UNI070",
                f"the scores in {shown(self.folder, 200)} were drawn in another way than this version draws them",
                None,
                "others beside them could not be compared: report these with --metrics-only, or use another folder",
            )
        fixed: dict[str, Any] = {name: now[name] for name in _FIXED} | meant
        changed = [name for name in fixed if name in stored and stored[name] != fixed[name]]
        if changed:
            raise error(
                "UNI070",
                f"{self.folder} holds scores made with other settings",
                None,
                *(f"{name} was {stored[name]}, now {fixed[name]}" for name in changed),
                "use another folder, or --resume with nothing else to go on as it was begun",
            )
        return {**fixed, "protocol": PROTOCOL}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.store.close()
