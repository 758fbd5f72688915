"""The module a network compiles to: an fx.GraphModule with the habits of timm's models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from uninas.backend import layers
from uninas.backend.habits import Habits
from uninas.errors import error
from uninas.graph import INPUT, Graph, Wire
from uninas.graph.network import HEAD, stage_number
from uninas.graph.variants import last_operation, reductions, whole, with_classes, with_last
from uninas.ops.linear import Linear
from uninas.ops.op import show_shape, size


@dataclass(frozen=True)
class _Value:
    """In a pickle: the value of another fx node, by its name."""

    name: str


def _restored(state: dict[str, Any], rows: Sequence[tuple[Any, ...]], class_name: str) -> Model:
    """The model that `Model.__reduce__` took apart."""
    graph = fx.Graph()
    made: dict[str, fx.Node] = {}

    def value(leaf: Any) -> Any:
        return made[leaf.name] if isinstance(leaf, _Value) else leaf

    for op, name, target, args, keywords in rows:
        inputs, named = fx.node.map_aggregate(args, value), fx.node.map_aggregate(keywords, value)
        made[name] = graph.create_node(op, target, inputs, named, name)
    root = nn.Module()
    root.__dict__.update({part: state[part] for part in ("_parameters", "_buffers", "_modules")})
    model = Model(root, graph, class_name)
    model.__dict__.update(state)
    return model


class FeatureInfo(list[dict[str, Any]]):
    """What is known of features, one dictionary for each; timm's readers ask by these methods."""

    def _asked(self, key: str, idx: int | Sequence[int] | None) -> Any:
        if isinstance(idx, int):
            return self[idx][key]
        return [self[one][key] for one in (range(len(self)) if idx is None else idx)]

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """Number of channels of all features, of those at some indices, or (a number) of the one at an index."""
        return self._asked("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """How many pixels of the input a step in the map stands for, in the same way."""
        return self._asked("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """The sections that features come from, in the same way."""
        return self._asked("module", idx)

    def get_dicts(self, keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Plain dictionaries, with these keys alone if they are named."""
        return [{key: one[key] for key in keys or one} for one in self]


class Model(Habits):
    """An architecture as torch sees it. `forward`, weights and `code` are plain fx; the rest knows about sections.

    `forward_features` runs every section but the head, `forward_head` the head, `reset_classifier` gives the last
    linear layer another number of classes. They need a network that ends in a section called `head`. Copies
    (`copy`, `deepcopy`, `pickle`, `torch.save`) are Models, too.
    """

    @property
    def architecture(self) -> Graph:
        """The graph of this module, with the number of classes it has now."""
        graph: Graph = self.meta["uninas"]["graph"]
        return graph

    def __repr__(self) -> str:
        graph, inside = self.architecture, ", ".join(self.sections) or "one block"
        count = sum(one.numel() for one in self.parameters())
        shapes = " -> ".join(" and ".join(map(show_shape, each)) for each in (graph.inputs, graph.output_shapes))
        return f"<Model {graph.name or 'without a name'}: {shapes}, {count:,} parameters; {inside}>"

    def _repr_svg_(self) -> Any:
        """The picture of its architecture, in a notebook."""
        return self._picture("_repr_svg_")

    def _repr_html_(self) -> Any:
        """The same in a page."""
        return self._picture("_repr_html_")

    def _picture(self, kind: str) -> Any:
        shown = getattr(self.architecture, kind, None)  # which graphs learn when the package is imported
        return shown() if shown else None

    @property
    def sections(self) -> dict[str, str]:
        """The sections of the network in order, each with the fx node that makes its output."""
        found: dict[str, str] = self.meta["uninas"]["sections"]
        return found

    @property
    def feature_info(self) -> FeatureInfo:
        """For every stage, or every feature that the module returns: what a reader of the features needs to know.

        `num_chs` is the number of channels, `reduction` how many pixels of the input a step in the map stands for (the
        product of all strides), and `module` the section it comes from.
        """
        graph = self.architecture
        names = [name for name in self.sections if stage_number(name) >= 0]
        wires = [Wire(name, port) for name in names for port in range(len(graph.shapes(name)))]
        if self._returns_features:
            wires = list(graph.outputs)
        steps = reductions(graph)
        shapes = [graph.shape(wire) for wire in wires]
        return FeatureInfo(
            {
                "num_chs": shape[0] if len(shape) == 3 else shape[-1],
                "reduction": whole(steps[wire]),
                "module": wire.node,
            }
            for wire, shape in zip(wires, shapes, strict=True)
        )

    @property
    def num_classes(self) -> int:
        """Length of the vector of logits; 0 for a module that returns features or has no classifier, as in timm.

        Also 0 where there are several outputs: nothing says which of them is meant.
        """
        shape, *others = self.architecture.output_shapes
        if others:
            return 0
        return 0 if self._returns_features or self._removed or len(shape) != 1 else shape[0]

    @property
    def in_chans(self) -> int:
        """Number of channels of the images."""
        return self.architecture.inputs[0][0]

    @property
    def num_features(self) -> int:
        """Number of channels of what `forward_features` gives."""
        graph = self.architecture
        wire = graph.by_name[HEAD].inputs[0] if HEAD in graph.by_name else graph.outputs[0]
        shape = graph.shape(wire)
        return shape[0] if len(shape) == 3 else shape[-1]

    @property
    def head_hidden_size(self) -> int:
        """Length of the vector that the classifier takes, which `forward_head(x, pre_logits=True)` gives."""
        return size(last_operation(self.architecture)[1][0])

    @property
    def _returns_features(self) -> bool:
        return bool(self.meta["uninas"].get("features"))

    @property
    def _removed(self) -> Linear | None:
        """The classifier that the network had before it was made one of 0 classes."""
        op: Linear | None = self.meta["uninas"].get("removed")
        return op

    def forward_features(self, x: Tensor) -> Tensor:
        """The features before the head, the output of the last section but it."""
        features: Tensor = self._part(None, self._before_head())(self, x)
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits from what `forward_features` gives; or, with `pre_logits`, the vectors that the classifier takes."""
        start, end = self._before_head(), None
        if pre_logits and not self._removed:
            (taken,) = self._end().all_input_nodes
            end = taken.name
        logits: Tensor = x if end == start else self._part(start, end)(self, x)
        return logits.flatten(1) if pre_logits else logits

    def get_classifier(self) -> nn.Module:
        """The linear layer that gives the logits, or what stands in its place. Raises UNI060 where there is none."""
        return self.get_submodule(str(self._end().target))

    def reset_classifier(self, num_classes: int, generator: torch.Generator | None = None) -> None:
        """Replace the last linear layer by one with `num_classes` outputs and fresh weights (std 0.02, zero bias).

        0 removes it, so that the module returns pooled features, N x C; a later reset brings it back.
        """
        graph = self.architecture
        if self._removed:
            graph = with_last(graph, self._removed)
        changed = with_classes(graph, num_classes)
        node = self._end()
        old = self.get_submodule(str(node.target))
        op, shapes = last_operation(changed)
        new: nn.Module = op.emit(layers, *shapes)
        if isinstance(new, nn.Linear):
            nn.init.trunc_normal_(new.weight, std=0.02, generator=generator)
            if new.bias is not None:
                nn.init.zeros_(new.bias)
        like = next((tensor for tensor in (*old.parameters(), *self.parameters())), None)
        self.set_submodule(str(node.target), new if like is None else new.to(like))
        new.train(old.training)
        before = last_operation(graph)[0]
        removed = before if num_classes == 0 and isinstance(before, Linear) else None
        self.meta["uninas"] = {**self.meta["uninas"], "graph": changed, "removed": removed}

    def _end(self) -> fx.Node:
        """The fx node of the classifier, or of what stands in its place."""
        (output,) = self.graph.find_nodes(op="output")
        node = output.args[0]
        module = (
            self.get_submodule(str(node.target)) if isinstance(node, fx.Node) and node.op == "call_module" else None
        )
        if isinstance(node, fx.Node) and isinstance(module, nn.Linear | nn.Flatten):
            return node
        raise error(
            "UNI060", "expected a network that ends in a linear layer", None, "give it one: head ... -> linear(1000)"
        )

    def _before_head(self) -> str:
        """The fx node of what flows into the head."""
        names = list(self.sections)
        if len(names) < 2 or names[-1] != HEAD:
            raise error(
                "UNI060", f"expected a network whose last section is a head, but its sections are {', '.join(names)}"
            )
        graph = self.architecture
        taken = graph.by_name[HEAD].inputs
        if len(taken) != 1 or taken[0].port or taken[0].node == INPUT or {w.node for w in graph.outputs} != {HEAD}:
            raise error("UNI060", "expected a head that takes one tensor, the first that a section makes, and makes "
                        "all that the network gives")  # fmt: skip
        return self.sections[taken[0].node]

    def _part(self, start: str | None, end: str | None) -> Callable[[nn.Module, Tensor], Tensor]:
        """The piece between two fx nodes as a function of this module and a tensor.

        It uses our submodules as they are at the time of the call, each in its own mode.
        """
        parts: dict[tuple[str | None, str | None], Any] = self.__dict__.setdefault("_parts", {})
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
            parts[start, end] = type(fx.GraphModule(self, piece)).forward
        found: Callable[[nn.Module, Tensor], Tensor] = parts[start, end]
        return found

    def return_features(self) -> None:
        """From now on `forward` returns its outputs as a list, also of one, as timm's feature extractors do."""
        (output,) = self.graph.find_nodes(op="output")
        value = output.args[0]
        output.args = (list(value) if isinstance(value, tuple | list) else [value],)
        self.recompile()
        self.meta["uninas"]["features"] = True

    # ---- copies --------------------------------------------------------------------------------------------------

    def recompile(self) -> Any:
        """Make the code of `forward` anew after a change of `graph`."""
        self.__dict__.pop("_parts", None)
        return super().recompile()

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name not in ("_graph", "_code", "_parts")}
        rows = [
            (node.op, node.name, node.target, *(fx.node.map_arg(part, _named) for part in (node.args, node.kwargs)))
            for node in self.graph.nodes
        ]
        return _restored, (state, rows, type(self).__name__)

    def __copy__(self) -> Model:
        restored, (state, *rest) = self.__reduce__()
        shallow = {name: dict(value) if isinstance(value, dict) else value for name, value in state.items()}
        other: Model = restored(shallow, *rest)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        restored, parts = self.__reduce__()
        other: Model = restored(*copy.deepcopy(parts, memo))
        memo[id(self)] = other
        return other


def _named(node: fx.Node) -> Any:
    return _Value(node.name)
