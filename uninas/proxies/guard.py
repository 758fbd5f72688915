"""What a score leaves as it was: the module, torch's global state and the precision of products."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from uninas.errors import UninasError, error, out_of_memory, shown
from uninas.proxies.engine.torch_private import GPU_PRECISIONS, PRECISIONS, inner_module
from uninas.proxies.types import Inputs, ProxyError

logger = logging.getLogger(__name__)


@contextmanager
def _ordinary() -> Iterator[None]:
    """Gradients and full precision, whatever the caller has switched off or on around the score."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        if torch.cuda.is_available():
            with torch.autocast("cuda", enabled=False):
                yield
        else:
            yield


def _plain_module(module: nn.Module) -> nn.Module:
    """The module, or the one inside a compiled or distributed one. ProxyError for what cannot be looked into."""
    module = inner_module(module)  # the code that torch.compile makes does not see observers
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        module = module.module
    if not isinstance(module, nn.Module):
        raise ProxyError(f"expected an nn.Module, but got {shown(module)}")
    if any(isinstance(layer, torch.jit.ScriptModule) for layer in module.modules()):
        raise ProxyError("the module is scripted or traced, and cannot be looked into", "score the module it came from")
    if {"train", "eval"} <= vars(module).keys():  # which torch.export replaces by what raises
        raise ProxyError("the module was exported, and its mode cannot be changed", "score the module it came from")
    return module


def usable_device(name: str) -> torch.device:
    """The device called 'cpu', 'cuda', 'cuda:1', ... Raises UNI060 where there is none."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as problem:
        here = ", ".join(["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))])
        raise error("UNI060", f"cannot use the device {name}: {problem}", None, f"here there are: {here}") from None


@contextmanager
def float32_products(tf32: bool = False) -> Iterator[None]:
    """Products of float32 numbers are what they are on a CPU, and on a GPU the same each time.

    By default torch rounds the factors of convolutions on a GPU to 10 bits (TF32), and sums gradients in any order.
    `tf32` does so for matrix products too, which is faster. Torch has an older and a newer set of switches for this,
    and does not answer about the older once they disagree: so both are set, and both are put back.
    """
    cudnn: Any = torch.backends.cudnn
    legacy = _legacy_precision()
    before = [place.fp32_precision for place in PRECISIONS], cudnn.deterministic
    wanted = "tf32" if tf32 else "ieee"
    try:
        if legacy:
            torch.set_float32_matmul_precision("high" if tf32 else "highest")
            cudnn.allow_tf32 = tf32
        for place in PRECISIONS:
            place.fp32_precision = wanted if place in GPU_PRECISIONS else "ieee"
        cudnn.deterministic = True
        yield
    finally:
        if legacy:
            torch.set_float32_matmul_precision(legacy[0])
            cudnn.allow_tf32 = legacy[1]
        for place, precision in zip(PRECISIONS, before[0], strict=True):
            place.fp32_precision = precision
        cudnn.deterministic = before[1]


def _legacy_precision() -> tuple[str, bool] | None:
    """The state of the older switches; None where the newer ones are set to something that these cannot express."""
    try:
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return None


_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def one_score_at_a_time() -> Iterator[None]:
    """A score sets switches of the whole process (precision, kernels, the random state): other threads wait for it."""
    with _ONE_AT_A_TIME:
        yield


@contextmanager
def told(name: str) -> Iterator[None]:
    """Whatever a module, or torch for it, raises inside becomes a ProxyError, with the reason as its cause.

    This is the boundary to code of others: what is raised there can be anything.
    """
    try:
        yield
    except UninasError:
        raise
    except Exception as problem:
        logger.debug("proxy %s failed", name, exc_info=True)
        if out_of_memory(problem):
            way_out = "take a smaller batch, smaller images or another proxy"
            raise ProxyError(f"out of memory: {problem or 'Python has none left'}", way_out) from problem
        lines = str(problem).strip().splitlines() or ["without a word"]
        raise ProxyError(
            f"proxy '{name}' cannot score this module: {type(problem).__name__}: {shown(lines[0], 300)}"
        ) from problem


def failure(inputs: Inputs, error: Exception) -> Exception:
    """What to say of a module that fails on these inputs: want of memory as it is, all else as a ProxyError."""
    if out_of_memory(error):
        return error
    shapes = ", ".join(str(tuple(part.shape)) for part in inputs)
    return ProxyError(f"the module fails on inputs of shape {shapes}: {type(error).__name__}: {error}")


def check_logits(out: Tensor, samples: int) -> None:
    """Raise ProxyError unless an output is logits: real numbers (N, K), a row for each sample."""
    if out.ndim != 2 or len(out) != samples or not out.is_floating_point():
        found = f"shape {tuple(out.shape)} of {out.dtype} for {samples} samples"
        raise ProxyError(f"expected a module whose output is one tensor of logits (N, K), but got {found}")


Fact = TypeVar("Fact")

_facts: ContextVar[dict[Any, Any] | None] = ContextVar("facts", default=None)


@contextmanager
def same_structure() -> Iterator[None]:
    """A promise that inside, modules get other weights at most: what their structure tells is read once."""
    token = _facts.set({})
    try:
        yield
    finally:
        _facts.reset(token)


def of_structure(read: Callable[[nn.Module, Inputs], Fact]) -> Callable[[nn.Module, Inputs], Fact]:
    """Marks a function that depends on the structure of a module and the shapes of its inputs, not on values."""

    @wraps(read)
    def known(module: nn.Module, inputs: Inputs) -> Fact:
        facts = _facts.get()
        if facts is None:
            return read(module, inputs)
        key = read, module, tuple((part.shape, part.dtype, part.device) for part in inputs)
        if key not in facts:
            facts[key] = read(module, inputs)
        found: Fact = facts[key]
        return found

    return known


@contextmanager
def same_attributes(module: nn.Module) -> Iterator[None]:
    """Restores the attributes, tensors and modes of all submodules afterwards.

    What `forward` keeps for the next time, such as a table it has made, goes: it may be a tensor without data.
    """
    modes = [(layer, layer.training) for layer in module.modules()]
    owners = [vars(layer) for layer, _ in modes]  # among them the dictionaries of parameters, buffers and submodules
    owners += [value for own in owners for value in own.values() if isinstance(value, dict)]
    saved = [(own, dict(own)) for own in owners]
    try:
        yield
    finally:
        for own, before in saved:
            own.clear()
            own.update(before)
        for layer, mode in modes:
            layer.training = mode


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Whatever happens inside, `module` and torch's global random state leave as they came.

    Restored are the tensors themselves (also where one was replaced), their values, `requires_grad`, `grad`, every
    submodule's training flag, and what else it has for attributes. Inside, all gradients start as None.
    """
    tensors = [*module.parameters(), *module.buffers()]
    if any(map(is_lazy, tensors)):
        raise ProxyError("the module has lazy parameters without a shape", "run it once on a batch first")
    if any(tensor.is_inference() for tensor in tensors):
        raise ProxyError("the module was made in torch.inference_mode, and has no gradients", "make it outside of that")
    values = [(t, t.detach().clone(), t.requires_grad, t.grad) for t in tensors]
    cuda = sorted({t.device.index for t in tensors if t.device.type == "cuda"})
    with torch.random.fork_rng(devices=cuda), same_attributes(module):
        try:
            for tensor in tensors:
                tensor.grad = None
            yield
        finally:
            for tensor, value, requires_grad, grad in values:
                # To ask a GPU whether anything has changed, and to wait for the answer, takes longer than to copy.
                unsure = tensor.is_cuda or tensor.layout is not torch.strided
                if not tensor.is_meta and (unsure or not torch.equal(tensor, value)):
                    with torch.no_grad():
                        tensor.copy_(value)
                tensor.requires_grad_(requires_grad)
                tensor.grad = grad
