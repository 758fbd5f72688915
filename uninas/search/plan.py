"""What is searched: the settings of a run, and the start, moves and budget that they stand for."""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from uninas.errors import error, shown
from uninas.fact import fact
from uninas.graph import Graph
from uninas.graph.variants import with_classes
from uninas.initial import OWN
from uninas.language import tree as ast
from uninas.language.elaborate import image_of, sized, space
from uninas.language.elaborate.core import LARGEST_EXTENT
from uninas.language.library import Module
from uninas.mutate import Walk, walk_of
from uninas.scores.aggregate import parts_of
from uninas.scores.input_sources import from_files, sources
from uninas.scores.objectives import Objective, Recipe, ladder, weights
from uninas.search.starts import as_start, fitting, is_run, kept_starts, read_starts, texts_of
from uninas.search.texts import found_again, kept, reached
from uninas.space import Budget, Limit, Space


@dataclass(frozen=True)
class Settings:
    """Everything that decides which candidates a run meets and how they score. Equal settings, equal runs."""

    space: str
    proxy: str
    seed: int = 0
    start: str = ""
    starts: tuple[str, ...] = ()
    """Further ones, scored right after the start: networks, or candidates of other runs (see `starts`)."""
    strategy: str = "climb"
    params_min: float | None = None
    params_max: float | None = None
    flops_min: float | None = None
    flops_max: float | None = None
    img_size: int | None = None
    classes: int | None = None
    batch_size: int = 8
    images: Mapping[str, str] = field(default_factory=dict)
    """Where they come from, by the proxy or under "": what `images.read` gives."""
    fold: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the proxies: by NAME for all that have it, or PROXY.NAME."""
    init: str = OWN
    """The scheme of initial weights; own for what each network names."""
    device: str = "cpu"
    further: tuple[str, ...] = ()
    """Further objectives besides the proxy, which is the score: params, latency, jacov:higher, ..."""
    cheap: tuple[str, ...] = ()
    """Measures of the lower rungs, for successive halving."""
    tuning: Mapping[str, Any] = field(default_factory=dict)
    """Options of the strategy."""
    ahead: int | None = None
    """How many candidates may be in flight; None leaves it to the strategy. Unlike the number of workers, it decides
    which candidates there are."""
    asynchronous: bool = False
    """Scores count in the order of their coming: no waiting, and no two runs alike."""
    threads: int = 1
    even: str = ""
    """Over what moves are drawn at even odds within a kind, see `mutate.Moves`: '' is its default, rules."""

    fits: tuple[str, ...] = ()
    """Sizes at which every candidate must exist, H or HxW, with a limit on FLOPs there behind a colon: 800x1280:600G"""

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Limits that take the place of the space's own, one side at a time."""
        given = (("params", self.params_min, self.params_max), ("flops", self.flops_min, self.flops_max))
        found = [Limit(metric, low, high) for metric, low, high in given if low is not None or high is not None]
        return (*found, *map(fit, self.fits))


def fit(text: str) -> Limit:
    """A size at which candidates must exist: 224, 512x512 or 800x1280:600G (FLOPs). Raises UNI071."""
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?(?::(\d+(?:\.\d+)?)([kMG]?))?", text.strip())
    if not found or not all(1 <= int(side) <= LARGEST_EXTENT for side in found.groups()[:2] if side):
        raise error("UNI071", f"expected a size like 224, 512x512 or 800x1280:600G, but got {shown(text)}")
    height, width, flops, unit = found.groups()
    factor = {"k": 10**3, "M": 10**6, "G": 10**9}.get(unit, 1)
    return Limit("flops", None, float(flops) * factor if flops else None, at=(int(height), int(width or height)))


@dataclass(frozen=True)
class Plan:
    """A start that keeps the budget, and the walk that leads away from it."""

    settings: Settings
    space: Space
    start: Graph
    walk: Walk
    text: str
    """Of the space, and of all that it imports, without comments."""
    texts: Mapping[str, Any]
    """The files of the space and of the start, so that a run can keep them, and the texts of further starts."""
    others: tuple[Graph, ...] = ()
    """Further starts: candidates 1, 2, ..."""

    @property
    def budget(self) -> Budget:
        """What every candidate keeps, in absolute numbers."""
        return self.walk.budget

    @fact
    def rungs(self) -> tuple[tuple[Objective, ...], ...]:
        """The objectives of every rung; the last one counts."""
        return ladder(self.settings.proxy, self.settings.further, self.settings.cheap)

    @property
    def weights(self) -> list[float]:
        """How much each objective of the last rung counts where candidates are ranked by all of them together."""
        return weights(self.settings.proxy, [objective.name for objective in self.rungs[-1]])

    @property
    def sources(self) -> dict[str, str]:
        """Where the images of every proxy come from."""
        score = self.settings.proxy
        names = (objective.name for rung in self.rungs for objective in rung)
        return sources([score, *(name for name in names if name not in parts_of(score))], self.settings.images)

    @property
    def recipe(self) -> Recipe:
        """The recipe that workers score by."""
        s = self.settings
        names = tuple(tuple(objective.name for objective in rung) for rung in self.rungs)
        return Recipe(names, s.batch_size, self.sources, s.fold, dict(s.options), s.init, s.device, s.threads)

    @fact
    def fingerprint(self) -> dict[str, str]:
        """What the settings stood for when the run began, so that a changed file is noticed."""
        rules = [
            (rule.name, rule.weight, [option.text for option in rule.options], rule.values, rule.condition)
            for rule in self.space.moves
        ]
        return {
            **({"further starts": " ".join(one.key[:16] for one in self.others)} if self.others else {}),
            **{f"what {source} is": _digest(source) for source in from_files(self.sources)},
            "start architecture": self.start.key[:16],
            "moves": sha256(repr((rules, self.space.choices)).encode()).hexdigest()[:16],
            "text of the space": sha256(self.text.encode()).hexdigest()[:16],
            "budget": "; ".join(
                f"{limit.low} <= {limit.metric} <= {limit.high}" + (f" at {limit.size}" if limit.at else "")
                for limit in self.budget.limits
            ),
        }

    def as_dict(self) -> dict[str, Any]:
        """Settings and fingerprint as values of JSON."""
        return {**values_of(self.settings), **self.fingerprint}


def values_of(settings: Settings) -> dict[str, Any]:
    """Settings as values of JSON, which is how a run stores them."""
    values = dataclasses.asdict(settings)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _digest(images: str) -> str:
    from uninas.proxies import digest  # here, because it loads torch

    return digest(images)[:16]


def make_plan(settings: Settings, texts: Mapping[str, Any] = MappingProxyType({})) -> Plan:
    """Read the files that the settings name, or the `texts` of them that a run has kept ("space", "start").

    Raises UninasError for whatever is wrong with them, and with the start.
    """
    module, name = found_again(settings.space, texts.get("space"))
    definition = module.definitions[name]
    if not isinstance(definition, ast.Network):
        raise error("UNI014", f"expected {name} to be a space, but it is a block", definition.name.span)
    choices = not any(isinstance(member, ast.Moves) for member in definition.members)
    if choices:
        return _chosen(settings, module, definition, texts)
    return _moved(settings, module, definition, texts)


def _moved(settings: Settings, module: Module, definition: ast.Network, texts: Mapping[str, Any]) -> Plan:
    """A space of moves, from its start or the one named in the settings, at the size asked for, which then stays."""
    found = space(module, definition.name.text)
    if settings.img_size is not None:
        found = dataclasses.replace(found, moves=tuple(rule for rule in found.moves if rule.name != "resolution"))

    def graph(home: Module, name: str) -> Graph:
        start = sized(home, name, settings.img_size)
        return start if settings.classes is None else with_classes(start, settings.classes)

    given = _given(settings, module, texts)
    from_run = _from_run(settings, texts)
    home, name = given.pop(0) if from_run else _start(settings, module, definition, texts)
    start = graph(home, name)
    walk = walk_of(found, start, _budget(found.budget, settings.limits), settings.even or "rules")
    others = fitting([graph(*one) for one in given], walk, start, _only_runs(settings))
    kept_texts = _kept(settings, module, home, [start] if from_run else [], others)
    return Plan(settings, found, start, walk, _text(module), kept_texts, tuple(others))


def _chosen(settings: Settings, module: Module, definition: ast.Network, texts: Mapping[str, Any]) -> Plan:
    """A space of choices; the start is a member drawn by the seed, unless there is one in the settings."""
    name = definition.name.text
    if settings.even or settings.classes is not None:
        what = "choice of odds" if settings.even else "number of classes"
        raise error("UNI071", f"expected no {what} for {name}, a space of choices", None, "it stands in its text")
    found = space(module, name)
    walk = walk_of(found, budget=_budget(found.budget, settings.limits))
    if settings.img_size is not None:
        shape = image_of(found.completed({}).graph, settings.img_size)
        walk = walk_of(space(module, name, input=shape), budget=walk.budget)
    given = [sized(*one, settings.img_size) for one in _given(settings, module, texts)]
    if settings.start and not _from_run(settings, texts) and not texts.get("starts"):
        given.insert(0, sized(*read_starts([settings.start], module)[0], settings.img_size))
    start = as_start(given.pop(0), walk) if settings.start else walk.sample(random.Random(f"start of {settings.seed}"))
    others = fitting(given, walk, start, _only_runs(settings))
    kept_texts = _kept(settings, module, module, [start] if settings.start else [], others)
    return Plan(settings, found, start, walk, _text(module), kept_texts, tuple(others))


def _given(settings: Settings, module: Module, texts: Mapping[str, Any]) -> list[tuple[Module, str]]:
    """The start, where it is a run's, and further starts: as the run has kept them, else as the settings name them."""
    stored = texts.get("starts")
    if isinstance(stored, list) and stored and all(isinstance(text, str) for text in stored):
        return kept_starts(stored)
    return read_starts([name for name in (settings.start,) if is_run(name)] + list(settings.starts), module)


def _from_run(settings: Settings, texts: Mapping[str, Any]) -> bool:
    """Whether the start itself is a candidate of another run, which may be gone since."""
    return (bool(texts.get("starts")) and texts.get("from_run") is True) or is_run(settings.start)


def _only_runs(settings: Settings) -> bool:
    """Whether all further starts are candidates of other runs, whose budgets may have been others."""
    return all(map(is_run, settings.starts))


def _text(module: Module) -> str:
    """What is written in a file and in those that it imports, each once; neither comments nor spaces count."""
    texts = (re.sub(r"#[^\n]*", "", one.file.source.text).split() for one in reached(module))
    return "\n".join(sorted(map(" ".join, texts)))


def _kept(
    settings: Settings, module: Module, home: Module, first: Sequence[Graph], others: Sequence[Graph]
) -> dict[str, Any]:
    """The texts of the named files that the run keeps, and of the starts that come from elsewhere."""
    named: dict[str, Any] = {"space": kept(settings.space, module), "start": kept(settings.start, home)}
    if first or others:
        named |= {"starts": texts_of([*first, *others]), "from_run": bool(first)}
    return named


def _start(settings: Settings, module: Module, definition: ast.Network, texts: Mapping[str, Any]) -> tuple[Module, str]:
    """The network to start from: the one named in the settings, or the space's own."""
    name = settings.start
    if not name:
        own = definition.only(ast.Start)
        if own is None:
            raise error("UNI023", f"expected {definition.name.text} to have a start", None, "name one with --start")
        name = own.network.text
    visible = module.find(name)
    if visible:
        return visible[0], name
    return found_again(name, texts["start"]) if texts.get("start") else read_starts([name], module)[0]


def _budget(own: Budget, limits: tuple[Limit, ...]) -> Budget:
    """The space's budget; a limit given by hand replaces the same side of the same metric, and no other."""
    given = {(limit.metric, limit.at): limit for limit in limits}
    found: dict[_Kind, Limit] = {}
    for limit in own.limits:
        hand = given.get((limit.metric, limit.at), Limit(limit.metric))
        low = limit.low if hand.low is None else None
        high = limit.high if hand.high is None else None
        _add(found, dataclasses.replace(limit, low=low, high=high))
    for limit in limits:
        _add(found, limit)
    said = (limit for limit in found.values() if limit.at or limit.low is not None or limit.high is not None)
    return Budget(tuple(said))


_Kind = tuple[str, bool, tuple[int, int] | None]


def _add(found: dict[_Kind, Limit], limit: Limit) -> None:
    """Join a limit to those of its kind. Raises UNI041 where nothing is left between them."""
    kind = limit.metric, limit.relative, limit.at
    before = found.get(kind, limit)
    low = max((side for side in (before.low, limit.low) if side is not None), default=None)
    high = min((side for side in (before.high, limit.high) if side is not None), default=None)
    if low is not None and high is not None and low > high:
        ends = f"{low:,.0f} and {high:,.0f}"
        raise error("UNI041", f"expected a low end below the high end of {limit.metric}, but got {ends}", None,
                    "a limit given by hand replaces only its own side of the space's")  # fmt: skip
    found[kind] = dataclasses.replace(limit, low=low, high=high)
