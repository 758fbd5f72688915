"""Passes over a compiled module that keep its function and make it faster."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from uninas.backend import layers
from uninas.backend.model import Model


def fuse_attention(model: Model) -> Model:
    """Replace matmul1 -> (rel_pos_bias) -> softmax over the last axis -> matmul2 by scaled_dot_product_attention.

    Only where nothing else looks at the map in between. Keeps the function up to rounding.
    """
    modules = dict(model.named_modules())
    for node in list(model.graph.nodes):
        if node.op != "call_function" or node.target is not layers.matmul2 or not isinstance(node.args[0], fx.Node):
            continue
        soft = _only(node.args[0], modules, layers.Softmax)
        if soft and modules[str(soft.target)].dim != -1:
            continue
        biased = soft and _only(soft.args[0], modules, layers.RelPosBias)
        scores = biased.args[0] if biased else soft and soft.args[0]
        if not isinstance(scores, fx.Node) or scores.target is not layers.matmul1 or len(scores.users) != 1:
            continue
        assert soft
        with model.graph.inserting_before(node):
            bias = model.graph.call_module(f"{biased.target}.bias") if biased else None
            queries, keys = scores.args[:2]
            inputs = (queries, keys, node.args[1], bias)
            chosen = {"scale": scores.kwargs["scale"]} if "scale" in scores.kwargs else {}
            fused = model.graph.call_function(layers.attention, inputs, {**node.kwargs, **chosen})
        node.replace_all_uses_with(fused)
        for dead in filter(None, (node, soft, biased, scores)):
            model.graph.erase_node(dead)
    model.graph.lint()
    model.recompile()
    return model


def _only(node: Any, modules: dict[str, torch.nn.Module], kind: type) -> fx.Node | None:
    """The node, when it calls a module of that kind and has one user."""
    fits = isinstance(node, fx.Node) and node.op == "call_module" and isinstance(modules[str(node.target)], kind)
    return node if fits and len(node.users) == 1 else None
