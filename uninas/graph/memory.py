"""Memory of an architecture: what operations write, what training keeps of it, and what is alive at one time.

    >>> from uninas.language.elaborate import build
    >>> from uninas.language.library import load_text
    >>> gate = build(load_text("block Gate { input 8 x 4 x 4  out = in -> conv(C, 1) -> relu -> conv(C, 1) }"), "Gate")
    >>> found = memory(gate)
    >>> found[""].activations, found[""].kept  # three outputs; the input and what relu makes
    (384, 256)

Numbers are elements, for one sample; of float32 each takes four bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uninas.graph.graph import INPUT, Block, Each, Graph, Node, Wire
from uninas.ops.op import Op, size


@dataclass
class Memory:
    """Of one node with everything inside it."""

    activations: int = 0
    """Elements of all outputs: what a forward pass writes."""
    kept: int = 0
    """Elements of those tensors that derivatives need, each counted where it is first needed."""
    peak: int = 0
    """Largest number of elements alive at one time in inference."""


def memory(graph: Graph) -> dict[str, Memory]:
    """The memory of every node by its path, and of the whole graph by ''.

    Training keeps what the formulas of derivatives need: inputs of convolutions, products and norms, outputs of ReLU
    and softmax, nothing of sums. Tensors that several need are kept once; reshaping and splitting make no tensors of
    their own. Parameters, their gradients, and what single kernels keep besides (means, masks) are not counted.
    """
    walk = _Walk()
    walk.graph(graph, [walk.tensor(size(shape)) for shape in graph.inputs], ("",))
    walk.found[""].peak = graph.peak
    return walk.found


class _Walk:
    def __init__(self) -> None:
        self.found: dict[str, Memory] = {}
        self.sizes: list[int] = []
        self.kept: set[int] = set()

    def tensor(self, elements: int) -> int:
        """The number of a new tensor."""
        self.sizes.append(elements)
        return len(self.sizes) - 1

    def graph(self, graph: Graph, inputs: Sequence[int], around: tuple[str, ...]) -> list[int]:
        """Go through a graph; the tensors of its outputs. `around`: the paths of the nodes that it stands in."""
        known = {Wire(INPUT, port): tensor for port, tensor in enumerate(inputs)}
        for path in around:
            self.found.setdefault(path, Memory())
        prefix = f"{around[-1]}." if around[-1] else ""
        for node in graph.nodes:
            path = f"{prefix}{node.name}"
            taken = [known[wire] for wire in node.inputs]
            made = self.node(graph, node, taken, (*around, path))
            known.update({Wire(node.name, port): tensor for port, tensor in enumerate(made)})
        return [known[wire] for wire in graph.outputs]

    def node(self, graph: Graph, node: Node, taken: list[int], around: tuple[str, ...]) -> list[int]:
        place = self.found.setdefault(around[-1], Memory())
        if isinstance(node.op, Block):
            place.peak = node.op.graph.peak
            for _ in range(node.op.times):
                taken = self.graph(node.op.graph, taken, around)
            return taken
        if isinstance(node.op, Each):
            bodies = list(map(node.op.body_for, node.op.parts(graph.input_shapes(node))))
            place.peak = max(body.peak for body in bodies)
            parts = zip(bodies, node.op.parts(taken), strict=True)
            return [out for body, part in parts for out in self.graph(body, list(part), around)]
        shapes = graph.shapes(node.name)
        place.peak = sum(map(size, (*graph.input_shapes(node), *shapes)))
        return self.operation(node.op, taken, [size(shape) for shape in shapes], around)

    def operation(self, op: Op, taken: list[int], sizes: list[int], around: tuple[str, ...]) -> list[int]:
        for path in around:
            self.found[path].activations += sum(sizes)
        if op.keeps == "view":
            return taken[:1] * len(sizes)
        made = [self.tensor(elements) for elements in sizes]
        needed = {"inputs": taken, "outputs": made, "both": taken + made, "nothing": []}[op.keeps]
        for tensor in set(needed) - self.kept:
            self.kept.add(tensor)
            for path in around:
                self.found[path].kept += self.sizes[tensor]
        return made
