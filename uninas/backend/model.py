"""The module a network compiles to: an fx.GraphModule with the habits of timm's models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from uninas.errors import error
from uninas.graph import Graph


class Model(fx.GraphModule):
    """An architecture as torch sees it. `forward`, weights and `code` are plain fx; the rest knows about sections.

    `forward_features` runs every section but the head, `forward_head` the head, `reset_classifier` gives the last
    linear layer another number of classes. They need a network that ends in a section called `head`.
    """

    @property
    def architecture(self) -> Graph:
        """The graph this module was compiled from."""
        graph: Graph = self.meta["uninas"]["graph"]
        return graph

    @property
    def sections(self) -> dict[str, str]:
        """The sections of the network in order, each with the fx node that makes its output."""
        found: dict[str, str] = self.meta["uninas"]["sections"]
        return found

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """For every stage: channels (`num_chs`), how much smaller than the input it is (`reduction`), `module`."""
        graph = self.architecture
        height = graph.inputs[0][1] if len(graph.inputs[0]) == 3 else 1
        shapes = {name: graph.shapes(name)[0] for name in self.sections if name.startswith("stages.")}
        return [
            {"num_chs": shape[0], "reduction": height // shape[1], "module": name}
            for name, shape in shapes.items()
            if len(shape) == 3
        ]

    @property
    def num_classes(self) -> int:
        """Size of the output vector."""
        return self.architecture.output_shapes[0][0]

    def forward_features(self, x: Tensor) -> Tensor:
        """What flows into the head."""
        features: Tensor = self._part(None, self._before_head())(x)
        return features

    def forward_head(self, x: Tensor) -> Tensor:
        """Logits from what `forward_features` gives."""
        logits: Tensor = self._part(self._before_head(), None)(x)
        return logits

    def reset_classifier(self, num_classes: int, generator: torch.Generator | None = None) -> None:
        """Replace the last linear layer by one with `num_classes` outputs and fresh weights (std 0.02, zero bias)."""
        if num_classes < 1:
            raise error("UNI060", f"expected at least 1 class, but got {num_classes}")
        name, old = self._classifier()
        new = type(old)(old.in_features, num_classes, old.bias is not None)
        nn.init.trunc_normal_(new.weight, std=0.02, generator=generator)
        if new.bias is not None:
            nn.init.zeros_(new.bias)
        self.set_submodule(name, new.to(old.weight))
        self.__dict__.pop("_parts", None)

    def _classifier(self) -> tuple[str, nn.Linear]:
        for node in reversed(self.graph.nodes):
            if node.op == "call_module":
                module = self.get_submodule(str(node.target))
                if isinstance(module, nn.Linear):
                    return str(node.target), module
                break
        raise error(
            "UNI060", "expected a network that ends in a linear layer", None, "give it one: head ... -> linear(1000)"
        )

    def _before_head(self) -> str:
        names = list(self.sections)
        if len(names) < 2 or names[-1] != "head":
            raise error(
                "UNI060", f"expected a network whose last section is a head, but its sections are {', '.join(names)}"
            )
        return self.sections[names[-2]]

    def _part(self, start: str | None, end: str | None) -> fx.GraphModule:
        """The piece between two fx nodes as a module that shares our weights."""
        parts: dict[tuple[str | None, str | None], fx.GraphModule] = self.__dict__.setdefault("_parts", {})
        if (start, end) not in parts:
            piece = fx.Graph()
            values: dict[fx.Node, fx.Node] = {}
            for node in self.graph.nodes:
                if node.name == start:
                    values[node] = piece.placeholder("x")
                elif node.op == "output":
                    piece.output(values[node.args[0]])
                elif start is None or values:
                    values[node] = piece.node_copy(node, values.__getitem__)
                if node.name == end:
                    piece.output(values[node])
                    break
            parts[start, end] = fx.GraphModule(self, piece)
        part = parts[start, end]
        part.train(self.training)
        return part
