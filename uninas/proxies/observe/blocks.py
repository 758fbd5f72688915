"""Where the blocks of a network end, for proxies that follow features from block to block.

Any `nn.Module` has blocks, by the first of these rules that finds two:

1. In a network compiled by UniNAS, what its text calls blocks: `stages.N.blocks.M`.
2. Members of rows. A row is an `nn.Sequential`, `ModuleList` or `ModuleDict` of which at least half the members are
   compound, that is, hold two filters or matrices or more; a layer, a convolution with its norm and activation, has
   one. A member that holds a row itself is a stage, and its blocks are those of that row. So timm's and torchvision's
   ResNets, MobileNets, ConvNeXts, ViTs and Swins have the blocks their authors call so.
3. Otherwise the module's own children, or what a compiled graph calls: each that has a filter or matrix begins a block,
   and those without (norms, activations, pooling) belong to the block before them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, fx, nn

from uninas.proxies.engine.torch_private import pytree
from uninas.proxies.observe.activations import is_map, run
from uninas.proxies.observe.channels import ChannelAxes, tag
from uninas.proxies.types import Inputs, ProxyError

_COMPILED = re.compile(r"stages_\d+_blocks_\d+(?=_|$)")


def block_features(module: nn.Module, inputs: Inputs) -> list[Tensor]:
    """The feature maps between blocks: the input of the first, then the output of every block, in order of execution.

    One forward pass. Each map is N x ..., and depends on those before it in autograd's graph if gradients are on.
    Blocks that put out no feature map (see `activations.is_map`) are left out. ProxyError if less than two maps are
    left.
    """
    found: dict[Any, Tensor] = {}
    if isinstance(module, fx.GraphModule) and any(_COMPILED.match(node.name) for node in module.graph.nodes):
        output = run(_Reader(module, found).run, inputs)
    else:
        with ChannelAxes():
            output = _run_with_hooks(module, inputs, found)
    if isinstance(module, fx.GraphModule) and "uninas" in module.meta:
        for value in found.values():
            tag(value, 1)  # every tensor of ours is N x C, or N x C x H x W
    _check_connected(output, found.values())
    maps = [value for value in found.values() if is_map(value, len(inputs[0]))]
    if len(maps) < 2:
        raise ProxyError(
            f"expected a network of blocks with feature maps between them, but found {len(maps)}",
            "a feature map is a tensor with at least two axes longer than 1 besides the batch",
        )
    return maps


class _Reader(fx.Interpreter):
    """Runs a compiled network and notes what enters the first block and what each block computes last."""

    def __init__(self, module: fx.GraphModule, found: dict[Any, Tensor]):
        super().__init__(module)
        self.found = found

    def run_node(self, n: fx.Node) -> Any:
        block = _COMPILED.match(n.name)
        if block and not self.found and n.all_input_nodes:
            self.found["input"] = self.env[n.all_input_nodes[0]]
        value = super().run_node(n)
        if block and isinstance(value, Tensor):
            self.found[block.group()] = value
        return value


class BlockCount:
    """Within, `ended` says how many blocks have ended while `run` runs a module, in order of execution.

    The rules are those of `block_features`; a block that is applied again right after itself counts once, and a single
    layer ends where the next begins, as its activation may be a function.
    """

    def __init__(self, module: nn.Module):
        self.module, self.ended = module, 0
        self.run: Callable[..., Any] = module
        self._handles: list[Any] = []

    def __enter__(self) -> BlockCount:
        if isinstance(self.module, fx.GraphModule):
            named = ((node.name, _COMPILED.match(node.name)) for node in self.module.graph.nodes)
            if last := {block.group(): name for name, block in named if block}:
                self.run = _Counter(self.module, self, frozenset(last.values())).run
                return self
        self._watch(_blocks(self.module))
        return self

    def __exit__(self, *problem: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _watch(self, blocks: Mapping[nn.Module, int]) -> None:
        begun: list[int] = []

        def before(layer: nn.Module, args: Any) -> None:
            if begun[-1:] != [blocks[layer]]:
                begun.append(blocks[layer])
            self.ended = len(begun) - 1

        def after(layer: nn.Module, args: Any, output: Any) -> None:
            self.ended = len(begun)

        self._handles += [layer.register_forward_pre_hook(before) for layer in blocks]
        self._handles += [layer.register_forward_hook(after) for layer in blocks if _is_compound(layer)]


class _Counter(fx.Interpreter):
    """Runs a compiled network and counts the operations that end a block."""

    def __init__(self, module: fx.GraphModule, count: BlockCount, last: frozenset[str]):
        super().__init__(module)
        self.count, self.last = count, last

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.count.ended += n.name in self.last
        return value


def _check_connected(output: Tensor, maps: Iterable[Tensor]) -> None:
    """Raise ProxyError where maps lack gradients because a checkpoint computes them without, and again later."""
    if not output.requires_grad or all(value.requires_grad for value in maps):
        return
    waiting, seen = [output.grad_fn], {output.grad_fn}
    while waiting:
        step = waiting.pop()
        if step is None:
            continue
        if type(step).__name__.startswith("CheckpointFunction"):
            raise ProxyError(
                "the module checkpoints with use_reentrant=True, so its blocks cannot be differentiated one by one",
                "torch.utils.checkpoint(..., use_reentrant=False) can",
            )
        further = {following for following, _ in step.next_functions} - seen
        seen |= further
        waiting += further


def _run_with_hooks(module: nn.Module, inputs: Inputs, found: dict[Any, Tensor]) -> Tensor:
    def before(layer: nn.Module, args: tuple[Any, ...]) -> None:
        if not found and args and isinstance(args[0], Tensor):
            found["input"] = args[0]

    def after(layer: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        first = next((leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)), None)
        if first is not None and is_map(first, len(inputs[0])):
            found[blocks[layer]] = first
        # The next layer may write into its input: let it write into a copy.
        return output.clone() if isinstance(output, Tensor) else output

    blocks = _blocks(module)
    handles = [layer.register_forward_pre_hook(before) for layer in blocks]
    handles += [layer.register_forward_hook(after) for layer in blocks]
    try:
        return run(module, inputs)
    finally:
        for handle in handles:
            handle.remove()


def _blocks(module: nn.Module) -> Mapping[nn.Module, int]:
    """The modules to watch, each with the number of its block."""
    members = list(_members(module))
    if len(members) > 1:
        return {member: number for number, member in enumerate(members)}
    number, blocks = 0, {}
    for child in _children(module):
        number += _filters(child) > 0
        blocks[child] = number
    return blocks


def _members(module: nn.Module) -> Iterator[nn.Module]:
    """The blocks in all rows of a module, by rule 2."""
    for child in [module] if _is_row(module) else module.children():
        if not _is_row(child):
            yield from _members(child)
            continue
        for member in filter(_is_compound, child.children()):
            stage = _is_row(member) or any(map(_is_row, member.children()))
            yield from _members(member) if stage else [member]


def _is_row(module: nn.Module) -> bool:
    members = list(module.children())
    kind = isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)
    return kind and bool(members) and 2 * sum(map(_is_compound, members)) >= len(members)


def _is_compound(module: nn.Module) -> bool:
    return _filters(module) > 1


def _filters(module: nn.Module) -> int:
    return sum(parameter.ndim > 1 for parameter in module.parameters())


def _children(module: nn.Module) -> Iterator[nn.Module]:
    """What rule 3 looks at; sequences inside sequences are opened, and so is a wrapper around one module."""
    if isinstance(module, fx.GraphModule):
        calls = (str(node.target) for node in module.graph.nodes if node.op == "call_module")
        yield from map(module.get_submodule, dict.fromkeys(calls))
        return
    children = list(module.children())
    for child in children:
        opened = isinstance(child, nn.Sequential) or (len(children) == 1 and any(child.children()))
        yield from _children(child) if opened else [child]
