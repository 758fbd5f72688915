"""A network as a backbone: a normed output of each stage, on images of any size, from one set of weights.

>>> import torch
>>> from uninas.graph.graph import Graph
>>> from uninas.language.elaborate import sized
>>> from uninas.language.library import find
>>> features = Backbone(sized(*find("micro_resnet"), None)).eval()
>>> [tuple(x.shape) for x in features(torch.zeros(1, 3, 32, 64))]
[(1, 24, 16, 32), (1, 48, 8, 16), (1, 128, 4, 8), (1, 192, 2, 4)]
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from uninas.backend import layers
from uninas.backend.emit import compile
from uninas.backend.model import Model
from uninas.errors import error
from uninas.graph import Graph, GraphError
from uninas.graph.network import network_of
from uninas.graph.resolve import at_size
from uninas.graph.variants import with_drop_path, with_stage_outputs
from uninas.language.elaborate import sized
from uninas.language.library import find

KEPT = 40
"""Sizes whose modules are kept; they share their weights, so each costs little."""

STRIDES = (4, 8, 16, 32)
"""How much smaller than the image the four maps are that heads expect."""


def resized(graph: Graph, size: tuple[int, int]) -> Graph:
    """The network at another height and width, with the position tables that it has. Raises UninasError (UNI020)."""
    try:
        return at_size(graph, size)
    except GraphError as problem:
        place = f" ({problem.node})" if problem.node else ""
        height, width = size
        raise error("UNI020", f"{graph.name or 'the network'} does not exist at {height} x {width}: {problem}{place}",
                    None, "search with --fits to find networks that exist at every size needed") from None  # fmt: skip


def sharing(model: Model, size: tuple[int, int]) -> Model:
    """The same model for images of another height and width, with the same parameters and running statistics.

    What one learns the other knows: they are the same tensors. Raises UninasError where it does not exist there.
    """
    graph = resized(model.architecture, size)
    if graph is model.architecture:
        return model
    fuse = any(node.target is layers.attention for node in model.graph.nodes)
    other = compile(graph, fold=bool(model.meta["uninas"]["folded"]), fuse=fuse)
    mine = dict(model.named_modules())
    for path, module in other.named_modules():
        module._parameters.update(mine[path]._parameters)
        saved = module.state_dict(keep_vars=True).keys()
        for name, buffer in module._buffers.items():
            same = mine[path]._buffers[name]
            device = next(iter(model.parameters())).device
            module._buffers[name] = same if name in saved or buffer is None else buffer.to(device)
    return other.train(model.training)


class Backbone(nn.Module):
    """The outputs of the last stages of a network, as a list of maps.

    A layer norm over the channels stands behind each output, as in Swin and ConvNeXt: what leaves a stage is a raw sum,
    whose size differs much from network to network. Inputs may have any height and width at which the network exists;
    its graph is then built for that size and kept.

    Args:
        graph: a network of stages.
        count: how many of its last stages give an output.
        drop_path, fold, fuse, generator: see `create_model`.
        norms: leave out the norms with False.
        recompute: keep the inputs of stages alone for the gradient, and compute the rest again.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        count: int = 4,
        drop_path: float = 0.0,
        fold: bool = True,
        fuse: bool = False,
        norms: bool = True,
        recompute: bool = False,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        if drop_path:
            graph = with_drop_path(graph, drop_path)
        stages = len(network_of(graph).stages)
        if stages < count:
            raise error("UNI060", f"expected a network of at least {count} stages, but {graph.name} has {stages}")
        cut = with_stage_outputs(graph, range(stages - count, stages))
        self.body = compile(cut, fold=fold, fuse=fuse, generator=generator)
        self.channels = [shape[0] for shape in cut.output_shapes]
        self.strides = [graph.inputs[0][1] // shape[1] for shape in cut.output_shapes]
        self.norms = nn.ModuleList(layers.LayerNorm(channels, eps=1e-6) if norms else nn.Identity()
                                   for channels in self.channels)  # fmt: skip
        self.recompute = recompute
        self._sizes: OrderedDict[tuple[int, int], Model] = OrderedDict()

    def check_strides(self) -> None:
        """Raise UninasError unless the maps are 4, 8, 16 and 32 times smaller than the image."""
        if tuple(self.strides) != STRIDES:
            found, wanted = (", ".join(map(str, each)) for each in (self.strides, STRIDES))
            raise error("UNI060", f"expected stages of strides {wanted}, but {self.body.architecture.name} has {found}",
                        None, "classification takes any network; detection and segmentation need these")  # fmt: skip

    def at(self, size: tuple[int, int]) -> Model:
        """The network for images of that height and width; all share their weights."""
        if size == self.body.architecture.inputs[0][1:]:
            return self.body
        if size not in self._sizes:
            self._sizes[size] = sharing(self.body, size)
            if len(self._sizes) > KEPT:
                self._sizes.popitem(last=False)
        self._sizes.move_to_end(size)
        return self._sizes[size]

    def forward(self, x: Tensor) -> list[Tensor]:
        """B x 3 x H x W -> a map for each of the stages."""
        model = self.at((x.shape[-2], x.shape[-1]))
        if self.recompute and self.training and torch.is_grad_enabled():
            maps: Any = checkpoint(model, x, use_reentrant=False)
        else:
            maps = model(x)
        maps = maps if isinstance(maps, tuple) else (maps,)
        return [norm(each) for norm, each in zip(self.norms, maps, strict=True)]

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation, of the modules of all sizes."""
        super().train(mode)
        for model in self._sizes.values():
            model.train(mode)
        return self

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        self._sizes.clear()  # what is moved elsewhere is no longer shared
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


class Pyramid(nn.Module):
    """A backbone with a feature pyramid (Lin et al. 2017), as torchvision's detectors want one. Needs torchvision."""

    def __init__(self, backbone: Backbone, width: int = 256):
        super().__init__()
        from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

        self.backbone = backbone
        self.fpn = FeaturePyramidNetwork(backbone.channels, width, LastLevelMaxPool())
        self.out_channels = width

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """B x 3 x H x W -> a map for each of the stages, by number, and one that is half as large as the last."""
        maps = OrderedDict((str(number), each) for number, each in enumerate(self.backbone(x)))
        found: dict[str, Tensor] = self.fpn(maps)
        return found


def pyramid(source: str | Path | Graph, width: int = 256, **options: Any) -> Pyramid:
    """A network as the backbone of torchvision's detectors: `RetinaNet(uninas.pyramid("resnet50"), num_classes=91)`.

    Pictures may have any height and width at which the network exists. `width` is the number of channels of the
    pyramid; the other options are those of `Backbone`.
    """
    graph = source if isinstance(source, Graph) else sized(*find(source), None)
    return Pyramid(Backbone(graph, **options), width)
