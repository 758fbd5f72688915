"""Passes over compiled modules that keep their function and make them faster.

| pass | for | what it does |
|---|---|---|
| `fold` | both | equal heads and branches run as one batch |
| `idle` | inference | dropout, stochastic depth, identities and zeros in sums are left out |
| `norms` | inference | batch norms and layer scales become part of the convolution beside them |
| `heads` | both | split, attention and concat as one kernel on views of the projection |
| `attention` | both | other attention as one kernel |
| `dead` | both | branches that lead nowhere are taken out |
| `tables` | both | biases by offset: computed once for inference where they are small, else read by windows |
| `layout` | both | channels fastest in memory, from the input on |
| `points` | both | convolutions of 1 x 1 as matrix products |
| `in_place` | both | activations write over inputs that nothing else looks at |
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, fx, nn

from uninas.backend import fast, layers
from uninas.backend.emit import compile
from uninas.backend.fuse import finished, fuse, fuse_heads, renamed
from uninas.backend.model import Model
from uninas.backend.weights import plain, stacked_again
from uninas.errors import did_you_mean, error, shown

M = TypeVar("M", bound=fx.GraphModule)
GOALS = ("inference", "training")
LARGEST_TABLE = 2**22
"""Entries of a bias that is computed once for inference; larger ones are made when they are used."""


def optimize(
    model: M, goal: str = "inference", *, passes: Mapping[str, bool] | Iterable[str] | None = None, copied: bool = True
) -> M:
    """A faster module of the same function; the one given stays as it is.

    Args:
        model: what `compile` or `create_model` made, or another torch.fx.GraphModule.
        goal: `inference` also puts the module into evaluation mode, and takes for granted that it stays there with
            these weights; `training` keeps all weights learnable.
        passes: names of the passes to run, or `{name: False}` for those to leave out; by default all of the goal.
        copied: False spares the copy; the module that was given is then of no further use.

    The result says what was gained: `model.meta["optimized"]` has a sentence for each pass. Raises UninasError
    (UNI060) for another kind of module, an unknown goal and an unknown pass.
    """
    if not isinstance(model, fx.GraphModule):
        raise error("UNI060", f"expected a torch.fx.GraphModule, but got {shown(type(model).__name__)}", None,
                    "torch.fx.symbolic_trace makes one; create_model gives one")  # fmt: skip
    if goal not in GOALS:
        raise error("UNI060", f"expected the goal to be {' or '.join(GOALS)}, but got {shown(goal)}")
    chosen = list(_chosen(passes, goal))
    faster: fx.GraphModule = copy.deepcopy(model) if copied else model
    if goal == "inference":
        faster.eval()
    gained = []
    for name in chosen:
        each = PASSES[name]
        faster, changes = each.run(faster, goal)
        gained.append(f"{name}: {changes} {each.gain}")
    faster.meta["optimized"] = tuple(gained)
    return cast("M", faster)


def _chosen(passes: Mapping[str, bool] | Iterable[str] | None, goal: str) -> Iterator[str]:
    named = (passes,) if isinstance(passes, str) else () if passes is None else passes
    switches = dict(named) if isinstance(named, Mapping) else dict.fromkeys(named, True)
    for name in switches:
        if name not in PASSES:
            raise error("UNI060", f"expected passes among {', '.join(PASSES)}, but got {shown(name)}", None,
                        did_you_mean(str(name), PASSES))  # fmt: skip
    chosen = any(switches.values())
    for name, each in PASSES.items():
        if switches.get(name, not chosen) and goal in each.goals:
            yield name


# ---- equal parts as one ----------------------------------------------------------------------------------------------


def fold(model: fx.GraphModule) -> tuple[fx.GraphModule, int]:
    """Compile the architecture of a model again with equal parts as one batch, and take its weights over."""
    if not isinstance(model, Model) or model.meta["uninas"]["folded"]:
        return model, 0
    about = model.meta["uninas"]
    other = compile(about["graph"], fold=True)
    parts = len(other.meta["uninas"]["folded"])
    weights = plain(model)
    if not parts or plain(other).keys() != weights.keys():  # nothing to fold, or somebody changed the module
        return model, 0
    like = next(iter(model.parameters()), torch.zeros(()))
    other.to(like.device, like.dtype)
    other.load_state_dict(stacked_again(other, weights))
    other.meta["uninas"] = {**about, "folded": other.meta["uninas"]["folded"], "sections": other.sections}
    if about.get("features"):
        other.return_features()
    return other.train(model.training), parts


# ---- what does nothing -----------------------------------------------------------------------------------------------


def idle(model: fx.GraphModule) -> int:
    """Leave out what does nothing in evaluation, and zeros in sums."""
    modules = dict(model.named_modules())
    before = len(model.graph.nodes)
    shapes = _shapes(model) if model.graph.find_nodes(op="call_function", target=layers.zero) else {}
    for node in _nodes(model):
        if node.op == "call_module" and isinstance(modules[node.target], nn.Dropout | nn.Identity | layers.DropPath):
            _bypassed(model, node)
        elif node.target is layers.add:
            wanted = shapes.get(node)
            kept = [
                arg for arg in node.args if arg.target is not layers.zero or wanted is None or shapes.get(arg) != wanted
            ]
            if kept and any(shapes.get(arg) == wanted for arg in kept):
                node.args = tuple(kept)
            if len(node.args) == 1:
                _bypassed(model, node)
    return finished(model, before - len(model.graph.nodes))


def dead(model: fx.GraphModule) -> int:
    """Take out what nothing uses: a branch that leads nowhere, and layers that no node calls."""
    before = len(model.graph.nodes)
    model.graph.eliminate_dead_code()
    model.delete_all_unused_submodules()
    return finished(model, before - len(model.graph.nodes))


def _nodes(model: fx.GraphModule) -> list[Any]:
    """The nodes of a module as they are now. (An argument of a node may be anything, which types say at length.)"""
    return list(model.graph.nodes)


def _bypassed(model: fx.GraphModule, node: fx.Node) -> None:
    renamed(model, node, node.all_input_nodes[0])
    model.graph.erase_node(node)


def _shapes(model: fx.GraphModule) -> dict[Any, torch.Size]:
    """The shape of every tensor in a model of ours, for a batch of two; nothing for other modules."""
    if not isinstance(model, Model):
        return {}
    like = next(iter(model.parameters()), torch.zeros(()))
    memo: dict[int, Any] = {id(each): _without_values(each) for each in (*model.parameters(), *model.buffers())}
    empty = copy.deepcopy(model, memo)  # on the device that holds no numbers: nothing is copied or computed
    found = _Shapes(empty)
    with torch.no_grad():
        found.run(*(torch.empty(2, *shape, device="meta", dtype=like.dtype) for shape in model.architecture.inputs))
    return {node: found.known[node.name] for node in model.graph.nodes if node.name in found.known}


def _without_values(tensor: Tensor) -> Tensor:
    empty = tensor.detach().to("meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


class _Shapes(fx.Interpreter):
    """Runs a module and remembers the shapes of its tensors by the names of nodes."""

    def __init__(self, module: fx.GraphModule):
        super().__init__(module)
        self.known: dict[str, torch.Size] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.known[n.name] = value.shape
        return value


# ---- batch norms and layer scales ------------------------------------------------------------------------------------


def norms(model: fx.GraphModule) -> int:
    """Make batch norms and layer scales part of the convolution or linear layer before, or behind, them.

    Behind a norm only a convolution without padding and groups takes it, as padding is zero after the norm.
    """
    modules = dict(model.named_modules())
    calls = Counter(node.target for node in model.graph.nodes if node.op == "call_module")
    tied = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))

    def kernel(node: Any) -> nn.Conv2d | nn.Linear | None:
        """The layer that a node calls, if it has a kernel of its own and no other node calls it."""
        if node.op != "call_module" or calls[node.target] != 1:
            return None
        layer = modules[str(node.target)]
        own = isinstance(layer, nn.Conv2d | nn.Linear) and all(tied[id(p)] == 1 for p in layer.parameters())
        return layer if own else None

    changes = 0
    for node in _nodes(model):
        affine = _affine(modules[node.target]) if node.op == "call_module" else None
        if affine is None:
            continue
        before, users = node.args[0], list(node.users)
        own = kernel(before) if len(before.users) == 1 else None
        taken = own is not None and _scale_outputs(own, *affine)
        if not taken and len(users) == 1 and (own := kernel(users[0])) is not None:
            taken = _scale_inputs(own, *affine)
        if taken:
            _bypassed(model, node)
            changes += 1
    return finished(model, changes)


@torch.no_grad()
def _affine(layer: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Factor and shift of each channel by a layer that does nothing else; of n x C for a stacked one."""
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        if layer.running_mean is None or layer.running_var is None:
            return None
        factor = torch.rsqrt(layer.running_var.double() + layer.eps)
        if layer.affine:
            factor = factor * layer.weight
        shift = -layer.running_mean * factor
        return factor, shift + layer.bias if layer.affine else shift
    if isinstance(layer, layers.LayerScale):
        factor = layer.weight.double().flatten(1 if layer.parts else 0)
        return factor, torch.zeros_like(factor)
    return None


@torch.no_grad()
def _scale_outputs(layer: nn.Conv2d | nn.Linear, factor: Tensor, shift: Tensor) -> bool:
    weight = layer.weight
    if weight.shape[: factor.ndim] != factor.shape or weight.ndim - factor.ndim not in (1, 3):
        return False
    bias = 0 if layer.bias is None else layer.bias * factor
    wide = factor.reshape(*factor.shape, *[1] * (weight.ndim - factor.ndim))
    _set(layer, weight * wide, bias + shift)
    return True


@torch.no_grad()
def _scale_inputs(layer: nn.Conv2d | nn.Linear, factor: Tensor, shift: Tensor) -> bool:
    if type(layer) is not nn.Conv2d or layer.groups != 1 or layer.padding != (0, 0) or factor.ndim != 1:
        return False
    bias = torch.einsum("oihw,i->o", layer.weight.double(), shift)
    _set(layer, layer.weight * factor[:, None, None], bias if layer.bias is None else bias + layer.bias)
    return True


def _set(layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor) -> None:
    like = layer.weight
    layer.weight = nn.Parameter(weight.to(like), requires_grad=like.requires_grad)
    layer.bias = nn.Parameter(bias.to(like), requires_grad=like.requires_grad)


# ---- biases by offset ------------------------------------------------------------------------------------------------


def tables(model: fx.GraphModule, goal: str) -> int:
    """Read tables of offsets by windows; for inference, compute small ones once, with the mask of windows."""
    modules = dict(model.named_modules())
    changes = 0
    for path, module in modules.items():
        if type(module) is layers.OffsetTable:
            module.__class__ = fast.WindowTable
            changes += 1
            if goal == "inference" and (module.height * module.width) ** 2 * max(1, module.parts) <= LARGEST_TABLE:
                with torch.no_grad():
                    _constant(model, path, module())
    return finished(model, changes)


def _constant(model: fx.GraphModule, path: str, value: Tensor) -> None:
    """Put a tensor in place of a module without inputs, added to the mask where one is added to it."""
    masks: list[Any] = []
    nodes = model.graph.find_nodes(op="call_module", target=path)
    for node in nodes:
        masks += [user for user in node.users if user.target is fast.head_attention and user.args[2] is not None]
    if len(nodes) == len(masks) == 1:
        (user,) = masks
        mask = user.args[2]
        whole = value + model.get_buffer(mask.target)  # n x rows x P x P
        if whole.numel() <= LARGEST_TABLE:
            value = whole
            user.args = (*user.args[:2], None, *user.args[3:])
            model.graph.erase_node(mask)
    if nodes:
        model.set_submodule(path, fast.Constant(value))


# ---- layout ----------------------------------------------------------------------------------------------------------


def layout(model: fx.GraphModule) -> int:
    """Channels fastest in memory: the input, the kernels, and what moves pixels and windows.

    Not where convolutions have groups of several channels: their kernels on processors are slow in this layout.
    """
    if any(isinstance(m, nn.Conv2d) and 1 < m.groups < m.in_channels for m in model.modules()):
        return 0
    model.to(memory_format=torch.channels_last)
    changes = 0
    for node in _nodes(model):
        if node.op == "placeholder" and _is_image(model, node):
            with model.graph.inserting_after(node):
                turned = model.graph.call_function(fast.channels_last, (node,))
            node.replace_all_uses_with(turned)
            turned.args = (node,)
            changes += 1
        elif node.op == "call_function" and node.target in _MOVED:
            node.target = _MOVED[node.target]
            changes += 1
    for module in model.modules():
        if type(module) is nn.PixelUnshuffle:
            module.__class__ = fast.PixelUnshuffle
            changes += 1
    return finished(model, changes)


_MOVED: dict[object, Callable[..., Tensor]] = {
    layers.window_partition: fast.window_partition,
    layers.window_merge: fast.window_merge,
}


def _is_image(model: fx.GraphModule, node: fx.Node) -> bool:
    if not isinstance(model, Model):
        return False
    places = [each for each in model.graph.nodes if each.op == "placeholder"]
    return len(model.architecture.inputs[places.index(node)]) == 3


def points(model: fx.GraphModule) -> int:
    """Convolutions of 1 x 1 as matrix products, where `layout` has put the channels of their input side by side."""
    changes = 0
    if not model.graph.find_nodes(op="call_function", target=fast.channels_last):
        return 0
    for module in model.modules():
        if type(module) is nn.Conv2d and _is_point(module):
            module.__class__ = fast.PointConv2d
            changes += 1
    return changes


def _is_point(layer: nn.Conv2d) -> bool:
    one = layer.kernel_size == layer.stride == (1, 1) and layer.groups == 1
    return one and layer.padding in ((0, 0), "valid", "same")


# ---- activations -----------------------------------------------------------------------------------------------------


def in_place(model: fx.GraphModule, goal: str) -> int:
    """Let activations write over inputs that a layer made for them alone."""
    modules = dict(model.named_modules())
    able = _ABLE if goal == "training" else _ABLE_ALONE
    calls: dict[str, list[bool]] = {}
    for node in _nodes(model):
        if node.op == "call_module" and type(modules[node.target]) in able:
            before = node.args[0]
            fresh = before.op == "call_module" and isinstance(modules[before.target], _FRESH)
            calls.setdefault(node.target, []).append(fresh and len(before.users) == 1)
    changes = 0
    for path, free in calls.items():
        module = modules[path]
        if all(free):
            changes += 1
            if isinstance(module, nn.GELU):
                module.__class__ = fast.InPlaceGELU
            else:
                module.inplace = True
    return changes


_FRESH = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm)
"""Layers whose output is a tensor of its own."""
_ABLE = (nn.ReLU, nn.ReLU6)
"""Activations whose derivative needs their output only."""
_ABLE_ALONE = (*_ABLE, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.LeakyReLU, nn.ELU, nn.Mish, nn.GELU)


# ---- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pass:
    """A pass: what it does to a module for a goal, how its gain reads behind a number, and the goals that it serves."""

    run: Callable[[fx.GraphModule, str], tuple[fx.GraphModule, int]]
    gain: str
    goals: tuple[str, ...] = GOALS


def _changing(change: Callable[[fx.GraphModule], int]) -> Callable[[fx.GraphModule, str], tuple[fx.GraphModule, int]]:
    return lambda model, _: (model, change(model))


PASSES: dict[str, Pass] = {
    "fold": Pass(lambda model, _: fold(model), "groups of equal parts run as one batch"),
    "idle": Pass(_changing(idle), "nodes that do nothing left out", ("inference",)),
    "norms": Pass(_changing(norms), "norms and scales became part of a layer", ("inference",)),
    "heads": Pass(_changing(fuse_heads), "attentions run as one kernel without a copy of heads"),
    "attention": Pass(_changing(fuse), "other attentions run as one kernel"),
    "dead": Pass(_changing(dead), "nodes that nothing uses taken out"),
    "tables": Pass(lambda model, goal: (model, tables(model, goal)), "tables read by windows or computed once"),
    "layout": Pass(_changing(layout), "inputs and moves of pixels have channels fastest in memory"),
    "points": Pass(_changing(points), "convolutions of 1 x 1 run as matrix products"),
    "in_place": Pass(lambda model, goal: (model, in_place(model, goal)), "activations write over their input"),
}
"""All passes, in the order in which they run."""
