"""Attention of elementary operations, found in a compiled module and given to one kernel of torch."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from uninas.backend import fast, layers
from uninas.backend.model import Model


@dataclass
class Found:
    """matmul1 -> (rel_pos_bias) -> (window_mask) -> softmax -> matmul2, where nothing else looks in between."""

    scores: Any
    bias: Any
    mask: Any
    soft: Any
    summed: Any

    @property
    def scale(self) -> dict[str, Any]:
        """The factor of scores, where it is another than that of torch."""
        return {"scale": self.scores.kwargs["scale"]} if "scale" in self.scores.kwargs else {}

    def erase(self, graph: fx.Graph) -> None:
        """Take all of it out of a graph, from its end on."""
        for node in (self.summed, self.soft, self.mask, self.bias, self.scores):
            if node is not None:
                graph.erase_node(node)

    def map_inputs(self, graph: fx.Graph) -> tuple[Any, Any]:
        """New nodes for what is added to the map: the bias alone, and the mask alone."""
        bias = graph.call_module(f"{self.bias.target}.bias") if self.bias else None
        mask = graph.get_attr(f"{self.mask.target}.mask") if self.mask else None
        return bias, mask


def fuse_attention(model: Model) -> Model:
    """Replace matmul1 -> (rel_pos_bias) -> (window_mask) -> softmax -> matmul2 by scaled_dot_product_attention.

    Only where nothing else looks at the map in between. Keeps the function up to rounding.
    """
    fuse(model)
    return model


def fuse(module: fx.GraphModule) -> int:
    """`fuse_attention` for any module; returns the number of places."""
    places = attentions(module)
    for found in places:
        with module.graph.inserting_before(found.summed):
            inputs = (*found.scores.args[:2], found.summed.args[1], *found.map_inputs(module.graph))
            fused = module.graph.call_function(layers.attention, inputs, {**found.summed.kwargs, **found.scale})
        renamed(module, found.summed, fused)
        found.erase(module.graph)
    return finished(module, len(places))


def fuse_heads(module: fx.GraphModule) -> int:
    """Replace split -> heads as one batch -> concat around an attention by one call on the tensor before the split.

    So no head is copied: each is a view of what the projection gave. Returns the number of places.
    """
    count = 0
    for found in attentions(module):
        around = _around(found)
        if around is None:
            continue
        split, stacked, chunk, order, concat = around
        heads = len(stacked.args)
        with module.graph.inserting_before(concat):
            inputs = (split.args[0], *found.map_inputs(module.graph), heads, order)
            fused = module.graph.call_function(fast.head_attention, inputs, {**found.summed.kwargs, **found.scale})
        renamed(module, concat, fused)
        parts = next(iter(found.summed.users))
        for dead in (concat, *parts.users, parts):
            module.graph.erase_node(dead)
        found.erase(module.graph)
        for dead in (*chunk.users, chunk, stacked, *split.users, split):
            module.graph.erase_node(dead)
        count += 1
    return finished(module, count)


def attentions(module: fx.GraphModule) -> list[Found]:
    """All places of attention in a module."""
    modules = dict(module.named_modules())
    found = []
    node: Any
    for node in module.graph.find_nodes(op="call_function", target=layers.matmul2):
        soft = _only(node.args[0], modules, layers.Softmax)
        if soft is None or modules[str(soft.target)].dim != -1:
            continue
        before = soft.args[0]
        mask = _only(before, modules, layers.WindowMask)
        if mask is not None and modules[str(mask.target)].heads == 1:
            before = mask.args[0]
        else:
            mask = None
        bias = _only(before, modules, layers.RelPosBias)
        scores = bias.args[0] if bias else before
        if isinstance(scores, fx.Node) and scores.target is layers.matmul1 and len(scores.users) == 1:
            found.append(Found(scores, bias, mask, soft, node))
    return found


def renamed(module: fx.GraphModule, old: fx.Node, new: fx.Node) -> None:
    """Let everything use another node, also what is known of sections."""
    old.replace_all_uses_with(new)
    sections = module.meta.get("uninas", {}).get("sections", {})
    for name, end in sections.items():
        if end == old.name:
            sections[name] = new.name


def finished(module: fx.GraphModule, changes: int) -> int:
    """Check and compile a module after changes of its graph; returns their number."""
    if changes:
        module.graph.lint()
        module.recompile()
    return changes


def _only(node: Any, modules: dict[str, torch.nn.Module], kind: type) -> Any:
    """The node, when it calls a module of that kind and has one user."""
    fits = isinstance(node, fx.Node) and node.op == "call_module" and isinstance(modules[str(node.target)], kind)
    return node if fits and len(node.users) == 1 else None


def _around(found: Found) -> tuple[Any, Any, Any, tuple[int, int, int], Any] | None:
    """What cuts the heads apart and puts them together: split, stack, chunk, the order in it, concat; or None."""
    chunk, order = _cut([*found.scores.args[:2], found.summed.args[1]])
    if sorted(order) != [0, 1, 2]:
        return None
    stacked = chunk.args[0]
    if stacked.target is not layers.stack_parts or len(stacked.users) != 1:
        return None
    split, places = _cut(stacked.args)
    concat = _together(found.summed, len(places))
    if concat is None or places != list(range(len(places))) or split.args[1] != 3 * chunk.args[1]:
        return None
    return split, stacked, chunk, (order[0], order[1], order[2]), concat


def _cut(parts: Sequence[Any]) -> tuple[Any, list[int]]:
    """The split along channels that all parts come from, and their places in it; none if it has further parts."""
    whole = {part.args[0] for part in parts if part.target is operator.getitem and len(part.users) == 1}
    split = whole.pop() if len(whole) == 1 else None
    if split is None or split.target is not layers.split or split.args[2] != 1 or len(split.users) != len(parts):
        return None, []
    return split, [part.args[1] for part in parts] if set(parts) == set(split.users) else []


def _together(summed: Any, count: int) -> Any:
    """The concat of all parts in their order, if nothing else uses them."""
    (parts, *others) = summed.users
    if others or parts.target is not layers.unstack_parts or len(parts.users) != count:
        return None
    users = {user for item in parts.users for user in item.users}
    ordered = sorted(parts.users, key=lambda item: int(item.args[1]))
    concat = users.pop() if len(users) == 1 else None
    return concat if concat and concat.target is layers.concat and list(concat.args) == ordered else None
