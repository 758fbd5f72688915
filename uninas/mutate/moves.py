"""The moves of a space: which kinds of edits there are, how likely each is, and what they may put in."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import accumulate

from uninas.errors import UninasError, error, shown
from uninas.graph import Graph
from uninas.mutate.edits import KINDS, Edit
from uninas.mutate.sites import Refusal, Site, draw_site, sites, transparent
from uninas.ops.op import Shape, show_shape
from uninas.space import MoveOption, MoveRule

EVEN = ("rules", "moves")
KEPT = 20_000  # options at shapes that are remembered
LOOKS = 16  # sites drawn for one that a filter allows, or where a rare kind of move is possible, before all are listed


class Moves:
    """The moves of a space, ready to be drawn: kinds with weights, and options, typed once for each shape.

    With `even='rules'` the weights say how often a kind is drawn, and then all sites of that kind are equally likely.
    With `even='moves'` all edits of a kind are, wherever they are: a site counts as often as something is possible.
    """

    def __init__(self, rules: Sequence[MoveRule], even: str = "rules"):
        for rule in rules:
            rule.check()
        if not any(rule.weight > 0 for rule in rules):
            raise error("UNI023", "expected a space with moves", None, "moves insert 0.7 { conv(C, 3) }, remove 0.3")
        if even not in EVEN:
            raise error("UNI010", f"expected moves that are even over {' or '.join(EVEN)}, but got {shown(even)}")
        self.rules = tuple(rules)
        self.even = even
        self._weights = list(accumulate(rule.weight for rule in rules))
        self._options: dict[str, MoveOption] = {option.text: option for rule in rules for option in rule.options}
        self._bodies: dict[tuple[str, Shape, tuple[Shape, ...], tuple[Shape, ...]], Graph | Refusal] = {}

    def draw(self, graph: Graph, rng: random.Random) -> Edit | Refusal:
        """A random edit, which may still turn out not to be possible."""
        rule = rng.choices(self.rules, cum_weights=self._weights)[0]
        if self.even == "moves":
            found = list(self._of(rule, graph))
            return found[rng.randrange(len(found))] if found else Refusal("site", f"nothing to {rule.name}")
        kind = KINDS[rule.name]
        for _ in range(LOOKS if kind.rare or rule.where else 1):
            site = draw_site(graph, kind.level, rng)
            if isinstance(site, Refusal):
                return site
            if self.allows(rule, site) and (possible := kind.at(site, rule)):
                return possible[rng.randrange(len(possible))]
        if kind.rare or rule.where:
            listed = (kind.at(site, rule) for site in sites(graph, kind.level) if self.allows(rule, site))
            if there := [possible for possible in listed if possible]:
                possible = there[rng.randrange(len(there))]
                return possible[rng.randrange(len(possible))]
        return Refusal("site", f"nothing to {rule.name}{f' where {rule.condition}' if rule.condition else ' here'}")

    def edits(self, graph: Graph) -> Iterator[Edit]:
        """Every edit that could be drawn, each once. Some may turn out not to be possible."""
        seen: set[Edit] = set()
        for rule in self.rules:
            for edit in self._of(rule, graph) if rule.weight > 0 else ():
                if edit not in seen:
                    seen.add(edit)
                    yield edit

    def _of(self, rule: MoveRule, graph: Graph) -> Iterator[Edit]:
        kind = KINDS[rule.name]
        for site in sites(graph, kind.level):
            if self.allows(rule, site):
                yield from dict.fromkeys(kind.at(site, rule))

    @staticmethod
    def allows(rule: MoveRule, site: Site) -> bool:
        """Whether the rule's filter lets it act there."""
        return rule.where is None or rule.where(site.facts)

    def body(self, what: str, around: Graph, inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]) -> Graph | Refusal:
        """What an option becomes between these shapes, in a graph around."""
        rows, columns = (*around.inputs[0][1:], 1, 1)[:2]
        key = (what, (rows, columns), inputs, outputs)
        known = self._bodies.get(key)
        if known is None:
            if len(self._bodies) >= KEPT:
                self._bodies.clear()
            known = self._bodies[key] = self._typed(what, (rows, columns), inputs, outputs)
        return known

    def _typed(
        self, what: str, extents: Shape, inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]
    ) -> Graph | Refusal:
        if what not in self._options:
            return Refusal("type", f"the space does not know {shown(what)}")
        try:
            body = self._options[what].on(*inputs, width=outputs[0][0], extents=extents)
        except UninasError as problem:
            return Refusal("type", problem.diagnostics[0].message)
        if body.output_shapes != outputs:
            made, wanted = (", ".join(map(show_shape, some)) for some in (body.output_shapes, outputs))
            aim = f"keep the shape {wanted}" if inputs == outputs else f"make {wanted}"
            return Refusal("type", f"expected {what} to {aim}, but it makes {made}")
        return Refusal("type", f"{what} does nothing") if transparent(body) else body
