"""Search spaces: open choices, a start, moves and budgets."""

from __future__ import annotations

from collections.abc import Callable

from uninas import syntax as ast
from uninas.elaborate.core import text_of
from uninas.elaborate.definitions import Elaborator, limit_of
from uninas.errors import Diagnostic, UninasError, did_you_mean, error
from uninas.graph import Graph
from uninas.library import Module
from uninas.op import Shape
from uninas.scope import Scope
from uninas.space import Budget, Choice, Decide, Limit, MoveOption, MoveRule, Space


def read_space(module: Module, network: ast.Network, shape: Shape | None) -> Space:
    """The space that a `space` (or a network with open choices) describes. Raises UninasError."""
    starts = [member for member in network.members if isinstance(member, ast.Start)]
    sections = [member for member in network.members if isinstance(member, (ast.Section, ast.Stage))]
    name = network.name
    if network.is_space and not starts and not sections:
        raise error("UNI023", f"expected {name.text} to have a start, or sections of its own", name.span)
    moves = [move for member in network.members if isinstance(member, ast.Moves) for move in member.moves]
    bounds = [bound for member in network.members if isinstance(member, ast.Budgets) for bound in member.bounds]
    limits: list[Limit] = []
    problems: list[Diagnostic] = []
    for bound in bounds:
        try:
            limits.append(limit_of(bound))
        except UninasError as problem:
            problems += problem.diagnostics
    choices: tuple[Choice, ...] = ()
    nested = False
    try:
        if sections:
            choices, nested = _probe(module, network, shape)
    except UninasError as problem:
        problems += problem.diagnostics
    if problems:
        raise UninasError(problems)

    def build(decide: Decide) -> Graph:
        return _top(Elaborator(decide), module, network, shape)

    return Space(
        name=name.text,
        doc=network.doc,
        budget=Budget(tuple(limits)),
        moves=tuple(MoveRule(m.name.text, m.weight, tuple(_option(c, module) for c in m.options)) for m in moves),
        start=_start(starts[0], module) if starts else None,
        build=build if sections else None,
        choices=choices,
        nested=nested,
    )


def _top(run: Elaborator, module: Module, network: ast.Network, shape: Shape | None) -> Graph:
    return run.collected(lambda: run.top(module, network, shape, {}))


def _probe(module: Module, network: ast.Network, shape: Shape | None) -> tuple[tuple[Choice, ...], bool]:
    """The choices of the space itself and of its stages, found by answering all with their first option.

    Choices inside blocks are nested: how many there are may depend on the outer answers.
    """
    run = Elaborator(lambda choice: 0)
    _top(run, module, network, shape)
    asked = tuple(dict.fromkeys(choice for choice in run.asked if len(choice.options) > 1))
    outer = tuple(choice for choice in asked if "blocks." not in choice.path and "@" not in choice.path)
    return outer, len(outer) < len(asked)


def _start(start: ast.Start, module: Module) -> Callable[[], Graph]:
    found = module.find(start.network.text)
    if found is None or not isinstance(found[1], ast.Network):
        raise error(
            "UNI010",
            f"expected a network to start from, but {start.network.text} is none",
            start.network.span,
            did_you_mean(start.network.text, module.names()) or "import it: from networks.NAME import NAME",
        )
    home, network = found[0], found[1]
    return lambda: _top(Elaborator(None), home, network, None)


def _option(chain: ast.Chain, module: Module) -> MoveOption:
    known: dict[Shape, Graph] = {}

    def on(shape: Shape) -> Graph:
        if shape not in known:
            run = Elaborator(None)
            known[shape] = run.collected(lambda: run.chain_graph(chain, (shape,), Scope(module, None), "inserted"))
        return known[shape]

    return MoveOption(text_of(chain), on)
