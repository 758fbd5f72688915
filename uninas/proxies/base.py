"""What a proxy is: a named function from an `nn.Module` and an input batch to numbers, with a direction.

    >>> import torch
    >>> result = score("params", torch.nn.Linear(3, 2), torch.zeros(1, 3))
    >>> result.value, result.direction
    (8.0, 'higher')

Proxies see torch only, so they score any model. `score` is the one door to them: it keeps the module as it
found it, measures the time and turns every failure into a `ProxyError`; a NaN never leaves it.
"""

from __future__ import annotations

import inspect
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from uninas import plugins
from uninas.errors import did_you_mean, shown
from uninas.initial import OWN
from uninas.plugins import Registry
from uninas.proxies.guard import _ordinary, _plain_module, float32_products, one_score_at_a_time, told, untouched
from uninas.proxies.initial import initialise
from uninas.proxies.streams import stream
from uninas.proxies.types import Batch, Direction, Initial, Inputs, Measured, ProxyError, Score, Source
from uninas.scores.aggregate import AGGREGATES


@dataclass(frozen=True)
class Proxy:
    """A registered proxy: `measure(module, inputs, generator, **options)` gives a value and its components."""

    name: str
    direction: Direction
    measure: Callable[..., Measured]

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of this proxy by name, with their defaults."""
        parameters = inspect.signature(self.measure).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    @property
    def summary(self) -> str:
        """The first sentence of the proxy's documentation."""
        return (inspect.getdoc(self.measure) or "").partition("\n\n")[0].replace("\n", " ")


MAX_REPEATS = 100_000

PROXIES: Registry[Proxy] = Registry("proxy")


def proxy(name: str, direction: Direction = "higher") -> Callable[[Callable[..., Measured]], Callable[..., Measured]]:
    """Register the decorated function under `name`; its options are its keyword-only parameters."""

    def register(measure: Callable[..., Measured]) -> Callable[..., Measured]:
        made = Proxy(name, direction, measure)
        if taken := made.options.keys() & inspect.signature(score).parameters:
            raise ValueError(f"the proxy '{name}' has options of `score` itself: {', '.join(taken)}")
        PROXIES.add(name, made, owner=measure.__module__)
        return measure

    return register


def proxies() -> tuple[str, ...]:
    """The names of all registered proxies, in alphabetical order."""
    return tuple(sorted(PROXIES))


def get(name: str) -> Proxy:
    """The proxy called `name`, or the function that MODULE:FUNCTION names; ProxyError if there is none."""
    if not isinstance(name, str):
        raise ProxyError(f"expected the name of a proxy, but got {shown(name)}")
    if ":" in name and name not in PROXIES:
        return _of_function(name)
    if name in AGGREGATES:
        raise ProxyError(
            f"'{name}' ranks several networks, by their scores under several proxies: one score alone has no rank",
            f"these are {', '.join(AGGREGATES[name].components)}",
            "uninas rank and uninas search take it",
        )
    if name not in PROXIES:
        raise ProxyError(
            f"there is no proxy '{name}'",
            did_you_mean(name, (*PROXIES, *AGGREGATES)),
            f"the proxies are {', '.join(proxies())}",
            f"aggregates, which rank candidates by several of them, are {', '.join(AGGREGATES)}",
        )
    return PROXIES[name]


@cache
def _of_function(reference: str) -> Proxy:
    """A function of the user as a proxy: f(module, inputs) or f(module, inputs, generator), giving a number.

    Its attribute `direction` says whether 'higher' (the default) or 'lower' is better.
    """
    function = plugins.resolve(reference)
    if not callable(function):
        raise ProxyError(f"expected a function, but {reference} is {shown(function)}")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise ProxyError(f"cannot see the parameters of {reference}", "write a function around it") from None
    positional = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    if not 2 <= positional <= 3:
        raise ProxyError(f"expected {reference} to take (module, inputs) or (module, inputs, generator)")
    options = [p for p in parameters if p.kind is p.KEYWORD_ONLY]

    @wraps(function)
    def measure(module: nn.Module, inputs: Inputs, generator: torch.Generator, **given: Any) -> Measured:
        found = function(*(module, inputs, generator)[:positional], **given)
        value, components = found if isinstance(found, tuple) else (found, {})
        return float(value), components

    seen = inspect.Signature([*inspect.signature(_shape_of_proxies).parameters.values(), *options])
    measure.__signature__ = seen  # type: ignore[attr-defined]  # what `options` reads
    return Proxy(reference, getattr(function, "direction", "higher"), measure)


def _shape_of_proxies(module: nn.Module, inputs: Inputs, generator: torch.Generator) -> None:
    """What every proxy takes, besides its options."""


def listing() -> list[dict[str, Any]]:
    """All proxies, then all aggregates, as plain values: see `entry`."""
    return [entry(name) for name in (*proxies(), *AGGREGATES)]


def entry(name: str) -> dict[str, Any]:
    """Name, direction, documentation and options of a proxy or an aggregate, as plain values.

    ProxyError if there is none of this name.
    """
    if name in AGGREGATES:
        summary, details = AGGREGATES[name].summary, AGGREGATES[name].details
        return {"name": name, "direction": "higher", "doc": summary, "details": details, "options": {}}
    known = get(name)
    return {
        "name": name,
        "direction": known.direction,
        "doc": known.summary,
        "details": "\n\n".join(filter(None, map(inspect.getdoc, (known.measure, inspect.getmodule(known.measure))))),
        "options": {option: _plain(default) for option, default in known.options.items()},
    }


def _plain(default: Any) -> Any:
    if isinstance(default, torch.dtype):
        return str(default).removeprefix("torch.")
    return list(default) if isinstance(default, tuple) else default


def check_options(names: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raise ProxyError unless all these proxies exist, each option belongs to one of them, and has a value of its kind.

    An option is named alone, for all proxies that have it, or as `proxy.option`.
    """
    known = {option: None for name in names for option in get(name).options}
    full = {f"{name}.{option}" for name in names for option in get(name).options}
    for option in options.keys() - full:
        if option not in known:
            asked = " or ".join(f"'{name}'" for name in names)
            raise ProxyError(
                f"proxy {asked} has no option '{option}'",
                did_you_mean(option, known),
                f"its options are {', '.join(known) or '(none)'}",
            )
    for name in names:
        options_of(name, options)


def options_of(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options for this proxy, by their own names. Raises ProxyError for a value of another kind."""
    own = get(name).options
    found = {option: value for option, value in options.items() if option in own}
    found |= {option: options[f"{name}.{option}"] for option in own if f"{name}.{option}" in options}
    return {option: _fitting(name, option, value) for option, value in found.items()}


def _fitting(name: str, option: str, value: Any) -> Any:
    """The value of an option, a data type also by its name. ProxyError if it is of another kind than the default."""
    default = get(name).options[option]
    if isinstance(default, torch.dtype) and isinstance(value, str):
        value = getattr(torch, value, value)
    kinds = {bool: bool, int: Integral, float: Real, str: str, tuple: Sequence, torch.dtype: torch.dtype}
    kind = kinds.get(type(default), object)
    fits = isinstance(value, kind) and not (isinstance(value, bool) and kind in (Integral, Real))
    if not fits or (kind is Sequence and not all(isinstance(one, Real) for one in value)):
        raise ProxyError(f"expected the option {option} of {name} to be like {default}, but got {shown(value)}")
    return value


def score(
    name: str,
    module: nn.Module,
    batch: Tensor | Inputs | Source,
    generator: torch.Generator | int | None = None,
    *,
    repeats: int = 1,
    init: str | Initial = OWN,
    **options: Any,
) -> Score:
    """Score `module` with the proxy `name`.

    `batch` is the module's input of shape (N, ...), or a tuple of inputs, on the module's device; or a source that
    draws it (see `proxies.inputs`). `init` gives the module new weights first: a scheme of `proxies.initialise`, or a
    function; by default it is scored as it is.

    All randomness comes from `generator`. An integer is a seed of the protocol that all commands keep to: weights,
    batch, and what the proxy itself draws, come each from a stream of its own (`stream(seed, "weights")`, "images", and
    the name of the proxy). From a torch.Generator they come one after the other. Without one, a fresh generator is
    seeded with 0, so equal calls give equal scores. With `repeats` of k > 1, all that is done k times over, with the
    seeds s, s + 1, ..., or with k generators seeded from the one given: what is given as it is (weights under "own", a
    batch of tensors) is the same each time, and what is drawn is drawn anew.

    The module's weights, buffers, gradients, modes and `requires_grad` and torch's global random state are the same
    afterwards. Raises ProxyError for an unknown proxy or option and where a score does not exist.
    """
    chosen = get(name)
    module = _plain_module(module)
    check_options([name], options)
    options = options_of(name, options)
    _check_arguments(repeats, generator, init)
    draws = _draws(name, torch.Generator().manual_seed(0) if generator is None else generator, repeats)
    return mean_of([_once(chosen, module, batch, init, each, options) for each in draws])


def _check_arguments(repeats: Any, generator: object, init: object) -> None:
    """Raise ProxyError for arguments of `score` of another kind than it takes."""
    whole = isinstance(repeats, Integral) and repeats is not True
    if not whole or not 1 <= repeats <= MAX_REPEATS:
        raise ProxyError(f"expected from 1 to {MAX_REPEATS:,} repeats, but got {shown(repeats)}")
    if not isinstance(generator, torch.Generator | Integral | None) or isinstance(generator, bool):
        raise ProxyError(f"expected a torch.Generator or a seed, but got {shown(generator)}")
    if not (isinstance(init, str) or callable(init)):
        raise ProxyError(f"expected init to be the name of a scheme, or a function, but got {shown(init)}")


def mean_of(scores: Sequence[Score]) -> Score:
    """The mean of several scores of a module by the same proxy, with their spread."""
    first = scores[0]
    values = [score.value for score in scores]
    shared = [part for part in first.components if all(part in one.components for one in scores)]
    means = {part: statistics.fmean(one.components[part] for one in scores) for part in shared}
    return Score(
        first.name,
        statistics.fmean(values),
        first.direction,
        MappingProxyType(means),
        sum(score.seconds for score in scores),
        statistics.stdev(values) if len(scores) > 1 else None,
        len(scores),
    )


def _draws(name: str, seed: torch.Generator | int, repeats: int) -> Iterator[Draws]:
    """What weights, batch and proxy are drawn from, time after time."""
    if isinstance(seed, int):
        for number in range(seed, seed + repeats):
            yield stream(number, "weights"), stream(number, "images"), stream(number, name)
    else:
        for generator in [seed] if repeats == 1 else _spawned(seed, repeats):
            yield generator, generator, generator


Draws = tuple[torch.Generator, torch.Generator, torch.Generator]


def _once(
    chosen: Proxy,
    module: nn.Module,
    batch: Tensor | Inputs | Source,
    init: str | Initial,
    draws: Draws,
    options: Mapping[str, Any],
) -> Score:
    """One score. Raises ProxyError if a number is not finite."""
    weights, images, generator = draws
    with one_score_at_a_time(), told(chosen.name), _ordinary(), untouched(module), float32_products():
        if isinstance(init, str):
            initialise(module, init, weights)
        else:
            init(module, weights)
        inputs = _inputs(module, batch, images)
        options = _labelled(chosen, options, inputs)
        start = time.perf_counter()
        value, components = chosen.measure(module, tuple(inputs), generator, **options)
        seconds = time.perf_counter() - start
    for label, number in {"score": value, **components}.items():
        if not math.isfinite(number):
            raise ProxyError(f"proxy '{chosen.name}' has no finite value for this module: its {label} is {number}")
    return Score(chosen.name, float(value), chosen.direction, MappingProxyType(dict(components)), seconds)


def _spawned(generator: torch.Generator, count: int) -> list[torch.Generator]:
    seeds = torch.randint(2**63 - 1, (count,), generator=generator, device=generator.device).tolist()
    return [torch.Generator(generator.device).manual_seed(seed) for seed in seeds]


def _inputs(module: nn.Module, batch: Tensor | Inputs | Source, generator: torch.Generator) -> Batch:
    """The batch as a tuple; a drawn one goes to where the module is."""
    given: Any = batch
    if callable(given):
        device = next((parameter.device for parameter in module.parameters()), generator.device)
        given = given(generator)
        given = given.to(device) if isinstance(given, Tensor | Batch) else tuple(part.to(device) for part in given)
    parts = given if isinstance(given, Sequence) else (given,)
    if not parts or not all(isinstance(part, Tensor) and part.ndim and len(part) for part in parts):
        raise ProxyError("expected a batch of at least one sample: a tensor (N, ...) or a tuple of such tensors")
    if not all(part.is_meta or part.isfinite().all() for part in parts):
        raise ProxyError("the batch has numbers that are not finite")
    ordinary = (part.clone() if part.is_inference() else part for part in parts)
    return Batch(ordinary, given.labels, given.unlabelled) if isinstance(given, Batch) else Batch(ordinary)


def _labelled(chosen: Proxy, options: Mapping[str, Any], batch: Batch) -> Mapping[str, Any]:
    """The options, with the labels of the batch for a proxy that takes some and was given none.

    The word 'random' asks for drawn ones, as there are where nothing is known.
    """
    given = options.get("labels")
    if "labels" not in chosen.options or not (given is None or (isinstance(given, str) and given == "random")):
        return options
    if given is None and batch.labels is None and batch.unlabelled:
        raise ProxyError(batch.unlabelled, "the option labels=random draws some")
    return {**options, "labels": batch.labels if given is None else None}
