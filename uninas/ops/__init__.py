"""The catalogue of elementary operations. Importing this package fills `uninas.ops.op.REGISTRY`; it loads no torch."""

from uninas.ops import (
    activation,
    attention,
    conv,
    foreign,
    linear,
    merge,
    norm,
    pool,
    regulariser,
    sequence,
    shape,
    split,
)

__all__ = [
    "activation",
    "attention",
    "conv",
    "foreign",
    "linear",
    "merge",
    "norm",
    "pool",
    "regulariser",
    "sequence",
    "shape",
    "split",
]
