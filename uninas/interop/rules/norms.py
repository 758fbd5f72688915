"""Layers that normalise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from uninas.interop.lower import Lowering, rule
from uninas.interop.rules.placing import channels_first, turned
from uninas.interop.views import Foreign, View
from uninas.ops.norm import BatchNorm, GroupNorm, LayerNorm, RmsNorm


@rule("batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
def batch_norm(
    low: Lowering, x: View, weight: Any, bias: Any, mean: Any, var: Any, training: Any = False,
    momentum: float = 0.1, eps: float = 1e-5, cudnn: Any = None,
) -> View:  # fmt: skip
    if isinstance(mean, type(None)) or (weight is None) != (bias is None):
        raise Foreign("a batch norm without statistics, or with a scale alone")
    op = BatchNorm(float(eps), float(momentum), affine=weight is not None)
    view = channels_first(low, x, 1)
    given = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": var}
    return low.apply(op, view, **{name: turned(view, 1, static) for name, static in given.items()})


@rule("layer_norm", "native_layer_norm")
def layer_norm(
    low: Lowering, x: View, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> View:
    if len([size for size in shape if size > 1]) > 1:
        raise Foreign(f"a layer norm over {len(shape)} axes")
    if weight is None and bias is not None:
        raise Foreign("a layer norm with a shift alone")
    op = LayerNorm(float(eps), affine=weight is not None, bias=bias is not None or weight is None)
    dim = len(x.axes) - len(shape)
    view = channels_first(low, x, dim)
    return low.apply(op, view, weight=turned(view, dim, weight), bias=turned(view, dim, bias))


@rule("rms_norm")
def rms_norm(low: Lowering, x: View, shape: Sequence[int], weight: Any = None, eps: Any = None) -> View:
    if len(shape) > 1:
        raise Foreign(f"an rms norm over {len(shape)} axes")
    eps = float(np.finfo(np.float32).eps) if eps is None else float(eps)
    view = channels_first(low, x, -1)
    return low.apply(RmsNorm(eps, affine=weight is not None), view, weight=turned(view, -1, weight))


@rule("group_norm")
def group_norm(
    low: Lowering, x: View, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> View:
    if weight is None and bias is not None:
        raise Foreign("a group norm with a shift alone")
    view = low.mapped(channels_first(low, x, 1))
    view = low.laid(view, (view.axes[1], *view.own[1:]))
    op = GroupNorm(groups, float(eps), affine=weight is not None, bias=bias is not None or weight is None)
    return low.apply(op, view, weight=weight, bias=bias)
