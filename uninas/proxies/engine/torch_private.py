"""Every private or unstable name of torch that the package uses, with the reason and since when torch has it.

A new version of torch may rename or drop what stands here without notice, and only this: whoever moves the upper bound
in pyproject.toml runs the tests with it (`make test TORCH=...`) and mends this file. Nothing else in the package
imports a module of torch whose name begins with an underscore, nor an attribute that does (a test looks).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

# Tensors without data: shapes of a whole network in milliseconds. torch has no public way to make them. Since 2.0;
# neither the paths nor the constructor's arguments are promised.
from torch._guards import detect_fake_mode
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

# Base classes of layers, for `isinstance`: the public classes have one for each number of axes. Since 0.4.
from torch.nn.modules.batchnorm import _BatchNorm as BatchNormBase
from torch.nn.modules.batchnorm import _NormBase as NormBase
from torch.nn.modules.conv import _ConvNd as ConvolutionBase

# Nested containers of tensors, as torch flattens them. Since 1.8; `torch.utils.pytree` is announced.
from torch.utils import _pytree as pytree

# Shows every operation that runs. Since 1.13, used by many, but never moved to a public place.
from torch.utils._python_dispatch import TorchDispatchMode

# torch's formulas of FLOPs. Public, but how they are called is not written down. Since 2.1.
from torch.utils.flop_counter import flop_registry

__all__ = [
    "BATCH_NORMS", "DEVICE_OF", "GPU_PRECISIONS", "LOOKS_AT_VALUES", "PRECISIONS", "BatchNormBase", "ConvolutionBase",
    "FakeTensor", "FakeTensorMode", "NormBase", "TorchDispatchMode", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "detect_fake_mode", "flop_registry", "inner_module", "is_mutable", "is_pointwise", "is_view",
    "makes_one_new_tensor", "onednn", "prelu_kernel", "pytree", "safe_softmax", "softmax", "softmax_backward",
    "storage_key", "to_copy", "unsafe_view", "weight_norm_interface", "without_attention_fast_path", "without_dispatch",
]  # fmt: skip

_backends: Any = torch.backends
_aten: Any = torch.ops.aten

# ---- switches ----------------------------------------------------------------------------------------------------

GPU_PRECISIONS = (_backends.cuda.matmul, _backends.cudnn.conv, _backends.cudnn.rnn)
"""Where TF32 is switched by `fp32_precision` (beta, since torch 2.9); `allow_tf32` is the older way, to be removed."""

PRECISIONS = (*GPU_PRECISIONS, _backends.mkldnn.matmul, _backends.mkldnn.conv, _backends.mkldnn.rnn)
"""The same and those of a CPU, which multiplies in bfloat16 where the precision is 'medium'."""


@contextmanager
def onednn(allowed: bool) -> Iterator[None]:
    """Inside, oneDNN is used at most where `allowed`. `torch.backends.mkldnn` can only switch it off. Since 1.2."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(before and allowed)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


@contextmanager
def without_attention_fast_path() -> Iterator[None]:
    """Inside, transformer layers run as they are written, not as one operation. Undocumented, since 2.1."""
    mha = torch.backends.mha
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(before)


def without_dispatch() -> AbstractContextManager[None]:
    """Inside, operations are shown to no mode: for making tensors without data by hand. Since 1.13."""
    guard: AbstractContextManager[None] = torch._C._DisableTorchDispatch()
    return guard


# ---- operations --------------------------------------------------------------------------------------------------

DEVICE_OF: Any = torch.ops.prim.device.default
"""What torch itself asks of tensors without data, a quarter to a half of all calls."""

BATCH_NORMS = (
    _aten.native_batch_norm.default,
    _aten.cudnn_batch_norm.default,
    _aten.miopen_batch_norm.default,
)
"""A batch norm, as libraries compute it. A release that lowers it to another overload makes scores slow, not wrong."""

# Operations of ATen whose names begin with an underscore: internal forms of public functions, since before 2.0.
softmax, safe_softmax = _aten._softmax.default, _aten._safe_softmax.default
softmax_backward = _aten._softmax_backward_data.out
to_copy, unsafe_view = _aten._to_copy.default, _aten._unsafe_view.default
adaptive_avg_pool2d, adaptive_avg_pool3d = _aten._adaptive_avg_pool2d, _aten._adaptive_avg_pool3d
prelu_kernel, weight_norm_interface = _aten._prelu_kernel, _aten._weight_norm_interface.default

LOOKS_AT_VALUES = frozenset({torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output})
"""Tags of operations whose result has no shape without data. Since 1.13."""


def is_pointwise(op: Any) -> bool:
    """Whether an operation treats every element alike. Without the tag it takes the generic, slow rule. Since 1.13."""
    return torch.Tag.pointwise in getattr(op, "tags", ())


def is_view(op: Any) -> bool:
    """Whether what comes out shares memory with what went in. Since 1.13."""
    return bool(getattr(op, "is_view", False))


def is_mutable(op: Any) -> bool:
    """Whether an operation writes into an argument, by its schema. Since 1.12."""
    schema = getattr(op, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def makes_one_new_tensor(op: Any) -> bool:
    """Whether what comes out is one new tensor, that looks at shapes alone, and nothing else happens."""
    schema = op._schema
    new = not any(part.alias_info for part in (*schema.arguments, *schema.returns))
    return new and [str(part.type) for part in schema.returns] == ["Tensor"] and not LOOKS_AT_VALUES & {*op.tags}


# ---- objects -----------------------------------------------------------------------------------------------------


def storage_key(storage: torch.UntypedStorage) -> int:
    """What tells storages apart, also those without data, whose pointers are all zero. Since 1.8."""
    key: int = storage._cdata
    return key


def inner_module(module: Any) -> Any:
    """The module that torch.compile wraps, or the module itself. Its class is private and called so since 2.0."""
    return module._orig_mod if type(module).__name__ == "OptimizedModule" else module
