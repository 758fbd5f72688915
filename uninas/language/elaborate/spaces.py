"""Search spaces: open choices, a start, moves and budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from uninas.errors import Diagnostic, UninasError, did_you_mean, error
from uninas.graph import Graph
from uninas.graph.network import INSERTED, place
from uninas.language import tree as ast
from uninas.language.elaborate.core import PROBE, describe, text_of
from uninas.language.elaborate.counting import Counting
from uninas.language.elaborate.definitions import Elaborator, limit_of
from uninas.language.library import Module
from uninas.language.scope import Callee, Scope, Symbol, Value
from uninas.ops.op import REGISTRY, Shape
from uninas.space import PATIENCE, Budget, Choice, Decide, Facts, MoveOption, MoveRule, Space

SOMEWHERE = Facts(0, 0, 2, "conv", "input", "block", *PROBE)  # a site on which filters are tried
MAX_PATIENCE = 1_000_000
Part = TypeVar("Part")
Found = TypeVar("Found")
MAX_KEPT = 10_000  # graphs and keys kept for the next member of a space


def read_space(module: Module, network: ast.Network, shape: Shape | None) -> Space:
    """The space that a `space` (or a network with open choices) describes. Raises UninasError."""
    start, patience = network.only(ast.Start), network.only(ast.Patience)
    sections = [member for member in network.members if isinstance(member, (ast.Section, ast.Stage))]
    name = network.name
    if network.is_space and not start and not sections:
        raise error("UNI023", f"expected {name.text} to have a start, or sections of its own", name.span)
    moves = [move for member in network.members if isinstance(member, ast.Moves) for move in member.moves]
    bounds = [bound for member in network.members if isinstance(member, ast.Budgets) for bound in member.bounds]
    problems: list[Diagnostic] = []
    limits = _all(limit_of, bounds, problems)
    rules = _all(lambda move: _rule(move, module), moves, problems)
    probed = _all(lambda _: _probe(module, network, shape), sections[:1], problems)
    if problems:
        raise UninasError(problems)
    choices, nested = probed[0] if probed else ((), False)
    conditional = any(isinstance(member, ast.Choose) and member.where is not None for member in network.members)
    return Space(
        name=name.text,
        doc=network.doc,
        budget=Budget(tuple(limits)),
        moves=tuple(rules),
        start=_start(start, module) if start else None,
        build=_builder(module, network, shape) if sections else None,
        choices=choices,
        nested=nested,
        counted=(lambda: _counted(module, network, shape, () if nested else choices))
        if nested or conditional
        else None,
        conditional=conditional,
        patience=_draws(patience) if patience else PATIENCE,
    )


def _all(read: Callable[[Part], Found], parts: Iterable[Part], problems: list[Diagnostic]) -> list[Found]:
    """What reading each part gives; mistakes are added to the problems."""
    found = []
    for part in parts:
        try:
            found.append(read(part))
        except UninasError as problem:
            problems += problem.diagnostics
    return found


def _builder(module: Module, network: ast.Network, shape: Shape | None) -> Callable[[Decide], Graph]:
    """What makes a member from answers. Members share many blocks, so what was elaborated is kept for the next."""
    kept: list[Elaborator] = []

    def build(decide: Decide) -> Graph:
        run = kept.pop() if kept else Elaborator(decide)
        run.decide = decide
        run.asked.clear()
        run.steps = 0
        graph = _top(run, module, network, shape)
        if run.kept < MAX_KEPT:
            kept.append(run)
        return graph

    return build


def _draws(patience: ast.Patience) -> int:
    draws = patience.draws.value
    if not isinstance(draws, int) or not 1 <= draws <= MAX_PATIENCE:
        raise error("UNI015", f"expected from 1 to {MAX_PATIENCE:,} draws, but got {draws:,}", patience.draws.span)
    return draws


def _counted(module: Module, network: ast.Network, shape: Shape | None, choices: tuple[Choice, ...]) -> int:
    """Number of members of a space with conditions; without `choices` inner ones depend on outer ones."""
    run = Counting()
    if choices:
        return run.collected(lambda: run.that_fit(module, network, shape, choices))
    return run.collected(lambda: run.members(module, network, shape))


def _top(run: Elaborator, module: Module, network: ast.Network, shape: Shape | None) -> Graph:
    return run.collected(lambda: run.top(module, network, shape, {}))


def _probe(module: Module, network: ast.Network, shape: Shape | None) -> tuple[tuple[Choice, ...], bool]:
    """The choices of the space itself and of its stages, found by answering all with their first option.

    Choices inside blocks are nested: how many there are may depend on the outer answers.
    """
    run = Elaborator(lambda choice: 0)
    _top(run, module, network, shape)
    asked = tuple(dict.fromkeys(choice for choice in run.asked if len(choice.options) > 1))
    outer = tuple(choice for choice in asked if place(choice.path).block < 0 and "@" not in choice.path)
    return outer, len(outer) < len(asked)


def _start(start: ast.Start, module: Module) -> Callable[[], Graph]:
    found = module.find(start.network.text)
    if found is None or not isinstance(found[1], ast.Network):
        raise error(
            "UNI010",
            f"expected a network to start from, but {start.network.text} is none",
            start.network.span,
            "it is a block: a network is made of it by network NAME { input ... section body BLOCK }"
            if found
            else did_you_mean(start.network.text, module.names()) or "import it: from networks.NAME import NAME",
        )
    home, network = found[0], found[1]
    return lambda: _top(Elaborator(None), home, network, None)


def _rule(move: ast.Move, module: Module) -> MoveRule:
    """A move of the space. Raises UninasError where there is no such move, or it takes something else."""
    chains = [option for option in move.options if isinstance(option, ast.Chain)]
    domains = [option for option in move.options if isinstance(option, ast.Choose)]
    known = {"body": Callee(REGISTRY["identity"])} if move.name.text == "wrap" else {}
    rule = MoveRule(
        name=move.name.text,
        weight=move.weight,
        options=tuple(_option(chain, module, known) for chain in chains),
        values={domain.names[0].text: _values(domain, module) for domain in domains},
        where=_filter(move.where, module) if move.where else None,
        condition=text_of(move.where) if move.where else "",
        span=move.name.span,
    )
    rule.check()
    return rule


def _option(chain: ast.Chain, module: Module, known: Mapping[str, Value]) -> MoveOption:
    def on(*shapes: Shape, width: int = 0, extents: Shape = ()) -> Graph:
        run, scope = Elaborator(None), Scope(module, None)
        rows, columns = extents or (*shapes[0][1:], 1, 1)[:2]
        place = {"width": width or shapes[0][0], "rows": rows, "columns": columns}
        for name, value in {**known, **place}.items():
            scope.bind(name, value)
        return run.collected(lambda: run.chain_graph(chain, shapes, scope, INSERTED))

    return MoveOption(text_of(chain), on)


def _values(domain: ast.Choose, module: Module) -> tuple[int | float | bool | str, ...]:
    """The values that a move may give, each a number, true, false or a word."""
    run, scope = Elaborator(None), Scope(module, None)
    if isinstance(domain.domain, ast.Range):
        return tuple(run.range(domain.domain, scope))
    words = tuple(part.name.text for part in domain.domain.values if isinstance(part, ast.Reference))
    found: list[int | float | bool | str] = []
    for part in domain.domain.values:
        value = run.value(part, scope, words)
        if not isinstance(value, (int, float, Symbol)):
            raise error("UNI014", f"expected a number, true, false or a word, but got {describe(value)}", part.span)
        found.append(value.text if isinstance(value, Symbol) else value)
    return tuple(found)


def _filter(condition: ast.Expression, module: Module) -> Callable[[Facts], bool]:
    """A condition on sites. Raises UninasError where it is none; each part of it is tried on some site."""
    known: dict[Facts, bool] = {}

    def holds(facts: Facts, part: ast.Expression = condition) -> bool:
        run, scope = Elaborator(None), Scope(module, None)
        for name, value in vars(facts).items():
            scope.bind(name, Symbol(value) if isinstance(value, str) else value)
        return run.collected(lambda: run.truth(part, scope))

    def where(facts: Facts) -> bool:
        if facts not in known:
            known[facts] = holds(facts)
        return known[facts]

    parts = [condition]
    while parts:
        part = parts.pop()
        if isinstance(part, ast.Operation) and part.operator in ("and", "or", "not"):
            parts += part.operands
        else:
            try:
                holds(SOMEWHERE, part)
            except UninasError as problem:
                hint = f"a place has {', '.join(vars(SOMEWHERE))}"
                told = [replace(found, notes=(*_without_names(found.notes), hint)) for found in problem.diagnostics]
                raise UninasError(told) from None
    return where


def _without_names(notes: tuple[str, ...]) -> Iterator[str]:
    """Notes, but for the list of known names, which the sentence about places says better."""
    return (note for note in notes if not note.startswith("known here"))
