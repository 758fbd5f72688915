"""What programs written for timm's models ask a model for, besides `forward` and its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.checkpoint import checkpoint

from uninas.backend import layers
from uninas.errors import UninasError, error, shown
from uninas.graph import Graph
from uninas.graph.network import HEAD, stage_number
from uninas.ops.op import show_shape

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
"""Mean and deviation of the channels of ImageNet's pictures, scaled to 0..1."""
UNDECAYED = (layers.PosEmbed, layers.ClassToken, layers.OffsetTable, layers.LayerScale)
"""Modules whose weights are no matrices, though they may have two axes."""


def pipeline(graph: Graph) -> dict[str, Any]:
    """What a data pipeline needs to know of a network: shape of its input, number of classes, mean and deviation."""
    classes = len(graph.output_shapes) == 1 and len(graph.output_shapes[0]) == 1
    return {
        "architecture": graph.name, "input_size": tuple(graph.inputs[0]), "fixed_input_size": True,
        "num_classes": graph.output_shapes[0][0] if classes else 0, "crop_pct": 0.875, "crop_mode": "center",
        "interpolation": "bicubic", **IMAGENET,
    }  # fmt: skip


class Habits(fx.GraphModule):
    """Methods by the names, and with the meanings, that timm gave them."""

    @property
    def default_cfg(self) -> dict[str, Any]:
        """What a data pipeline needs to know: `input_size` (C, H, W), mean and deviation, and where the ends are."""
        given: dict[str, Any] | None = self.meta["uninas"].get("cfg")
        return given if given is not None else self._cfg()

    @default_cfg.setter
    def default_cfg(self, value: dict[str, Any]) -> None:
        self.meta["uninas"]["cfg"] = dict(value)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """The same: timm reads either."""
        return self.default_cfg

    @pretrained_cfg.setter
    def pretrained_cfg(self, value: dict[str, Any]) -> None:
        self.meta["uninas"]["cfg"] = dict(value)

    def _cfg(self) -> dict[str, Any]:
        known = pipeline(self.meta["uninas"]["graph"])
        first = next((name for name, one in self.named_modules() if isinstance(one, nn.Conv2d)), None)
        last = [name for name, one in self.named_modules() if isinstance(one, nn.Linear)]
        classifier = last[-1] if known["num_classes"] and last else None
        return {**known, "pool_size": None, "first_conv": first, "classifier": classifier}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of parameters' names by depth, for rates that fall towards the input: the stem, then every stage, or
        every block of it unless `coarse`; what matches none, as the head does, comes last.
        """
        stage, block = r"^stages\.(\d+)", r"^stages\.(\d+)\.blocks\.(\d+)"
        return {"stem": r"^stem", "blocks": stage if coarse else [(block, None), (stage, (0,))]}

    def no_weight_decay(self) -> set[str]:
        """Names of learned positions, tokens, tables of offsets and scales: what decay would only pull to zero."""
        return {
            f"{path}.{name}" if path else name
            for path, module in self.named_modules()
            if isinstance(module, UNDECAYED)
            for name, _ in module.named_parameters(recurse=False)
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep what flows between sections alone for the gradient, and compute the rest again: less memory, more time.

        Raises UNI060 for a network whose sections are not in a row.
        """
        if enable:
            self._row()
        self.meta["uninas"]["checkpointing"] = bool(enable)

    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None, norm: bool = False, stop_early: bool = False,
        output_fmt: str = "NCHW", intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:  # fmt: skip
        """Outputs of stages, and the features before the head.

        Args:
            x: images, N x C x H x W.
            indices: stages by number (negative ones from the end), or how many of the last; None for all.
            norm: there is no norm of a stage's own, so only False is known.
            stop_early: end after the last stage asked for; only together with `intermediates_only`.
            output_fmt: NCHW, as stages give their maps; those that give tokens give N x L x C.
            intermediates_only: leave out the features before the head.
        """
        stages = [name for name in self._row() if stage_number(name) >= 0]
        if norm or output_fmt != "NCHW":
            what = "norm=False" if norm else f"output_fmt='NCHW', but got {output_fmt!r}"
            raise error("UNI060", f"expected {what}")
        every = range(len(stages))
        last = every[-indices:] if isinstance(indices, int) and 1 <= indices <= len(stages) else None
        try:
            names = [stages[one] for one in (every if indices is None else last or indices)]  # type: ignore[union-attr]
        except (IndexError, TypeError):
            raise error("UNI060", f"expected indices below {len(stages)}, the number of stages, or how many of the "
                        f"last, but got {shown(indices)}") from None  # fmt: skip
        found: dict[str, Tensor] = {}
        for name, part in self._row().items():
            if name == HEAD or (intermediates_only and stop_early and found.keys() >= set(names)):
                break
            found[name] = x = part(self, x)
        intermediates = [found[name] for name in names]
        return intermediates if intermediates_only else (x, intermediates)

    # ---- how it is done ------------------------------------------------------------------------------------------

    def _row(self) -> dict[str, Callable[[nn.Module, Tensor], Tensor]]:
        """Sections in a row, each as a function of this module and of what the one before it gives."""
        found: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {}
        before = None
        sections: dict[str, str] = self.meta["uninas"]["sections"]
        try:
            for name, end in sections.items():
                found[name] = self._part(before, end)
                before = end
        except KeyError:
            found = {}
        if not found or len(self.meta["uninas"]["graph"].inputs) != 1:
            raise error("UNI060", "expected a network whose sections are in a row, each taking what the last one gives")
        return found

    def _part(self, start: str | None, end: str | None) -> Callable[[nn.Module, Tensor], Tensor]:
        raise NotImplementedError

    def _by_checkpoints(self, x: Tensor) -> Any:
        """The same as `forward`, section by section."""
        made: dict[str, Any] = {}
        sections: dict[str, str] = self.meta["uninas"]["sections"]
        for name, part in self._row().items():
            x = checkpoint(part, self, x, use_reentrant=False)
            made[sections[name]] = x
        (output,) = self.graph.find_nodes(op="output")
        return fx.node.map_arg(output.args[0], lambda node: made[node.name])

    def _explained(self, inputs: tuple[Any, ...]) -> UninasError | None:
        """Why images of another size failed; None where their size is right."""
        graph: Graph = self.meta["uninas"]["graph"]
        shapes = [tuple(one.shape[1:]) for one in inputs if isinstance(one, Tensor)]
        if len(shapes) != len(graph.inputs) or shapes == [tuple(shape) for shape in graph.inputs]:
            return None
        wanted, found = (" and ".join(map(show_shape, each)) for each in (graph.inputs, shapes))
        square = len(shapes[0]) == 3 and shapes[0][1] == shapes[0][2]
        size = shapes[0][1] if square else tuple(shapes[0][1:])
        hint = f"build it for them: create_model(..., img_size={size})" if len(shapes[0]) == 3 else ""
        return error("UNI020", f"expected {wanted} for {graph.name or 'the network'}, but got {found}", None, hint)

    def recompile(self) -> Any:
        """Make the code of `forward` anew after a change of `graph`."""
        code = super().recompile()
        kind: Any = type(self)
        plain = kind.__call__

        def call(self: Habits, *inputs: Any, **named: Any) -> Any:
            if self.training and self.meta["uninas"].get("checkpointing") and torch.is_grad_enabled():
                return self._by_checkpoints(*inputs, **named)
            if torch.compiler.is_compiling():  # which looks into no call of torch.fx
                return nn.Module.__call__(self, *inputs, **named)
            try:
                return plain(self, *inputs, **named)
            except (RuntimeError, ValueError) as problem:
                explained = self._explained(inputs)
                if explained is None:
                    raise
                raise explained from problem

        kind.__call__ = call
        return code
