"""Every private or unstable name of torch that the package uses, with the reason and since when torch has it.

A new version of torch may rename or drop what stands here without notice, and only this: whoever moves the upper bound
in pyproject.toml runs the tests with it (`make test TORCH=...`) and mends this file. Nothing else in the package
imports a module of torch whose name begins with an underscore, nor an attribute that does (a test looks).
"""

from __future__ import annotations

from typing import Any

import torch

_backends: Any = torch.backends

GPU_PRECISIONS = (_backends.cuda.matmul, _backends.cudnn.conv, _backends.cudnn.rnn)
"""Where TF32 is switched by `fp32_precision` (beta, since torch 2.9); `allow_tf32` is the older way, to be removed."""

PRECISIONS = (*GPU_PRECISIONS, _backends.mkldnn.matmul, _backends.mkldnn.conv, _backends.mkldnn.rnn)
"""The same and those of a CPU, which multiplies in bfloat16 where the precision is 'medium'."""
