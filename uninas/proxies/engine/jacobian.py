"""The exact Jacobian of a network's logits with respect to a few of its weights.

The published way takes it in reverse mode, one backward pass per class and sample. Here the module is lowered to a flat
program of ATen operations. Then one tangent per weight is pushed forward, from that weight on (`sweep`), or, where that
is cheaper, only as far as it meets rows of the Jacobian, which are pulled back from the logits (`waists`).

Samples rarely mix. So rows are pulled back for a few samples at a time, whose intermediate values fit in the memory
and, on a CPU, in its caches; whether samples do mix is found out afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.func import jvp

from uninas.errors import out_of_memory
from uninas.proxies.engine.aten_graph import Program, advance, as_function, differentiable_kernels, lower
from uninas.proxies.engine.convolutions import CONVOLUTIONS
from uninas.proxies.engine.dominators import Route, column_work, route, through_waists
from uninas.proxies.engine.forward import Env, Place, sweep, walk
from uninas.proxies.engine.jvp_rules import Seed, neighbours
from uninas.proxies.engine.trace import elementary_recurrence
from uninas.proxies.guard import check_logits, failure, float32_products
from uninas.proxies.types import Inputs, ProxyError


@dataclass(frozen=True)
class Weight:
    """One scalar weight: element `index` of the flattened parameter called `name`."""

    name: str
    index: int = 0


Way = Literal["fastest", "columns", "rows"]


@dataclass(frozen=True)
class Jacobian:
    """`values[n, k, p]` is the derivative of `logits[n, k]` by weight p: shapes (N, K, P) and (N, K).

    `way` says how they were found: by pulling rows, pushing columns, or one plain pass per weight.
    """

    logits: Tensor
    values: Tensor
    way: Literal["rows", "columns", "passes"] = "columns"


def logit_jacobian(
    module: nn.Module,
    inputs: Inputs,
    weights: Sequence[Weight],
    *,
    memory: int = 0,
    dtype: torch.dtype = torch.float32,
    tf32: bool = False,
    way: Way = "fastest",
) -> Jacobian:
    """The Jacobian of the logits (N, K) of `module(*inputs)` by the chosen weights, computed in `dtype`.

    The module runs in the mode it is in and is not changed. `memory` bounds, in bytes, what is held at once
    beside the weights; one weight at a time is the least it can do. With 0 it is 1 GiB, and on a GPU a quarter of what
    that has, so that several processes can share one. `tf32` lets a GPU round the factors of products to 10 bits.
    Modules that cannot be lowered (their control flow looks at values), or that use what torch cannot vectorise, get
    one plain forward-mode pass per weight instead. `way` is for comparing: pushing columns is always possible, pulling
    rows only where samples do not mix and memory allows it.

    Derivatives are those of what the module computes. `detach()` stops them; but `torch.no_grad` inside `forward` does
    not, and a `torch.autograd.Function` counts by its forward, not by the backward that it brings.

    Raises ProxyError if the module fails on `inputs`, if its output is not one finite tensor (N, K), if memory runs out
    even for one weight, or if the derivatives are rounding noise.
    """
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    tensors = {name: _cast(tensor, dtype) for name, tensor in tensors.items()}
    inputs = tuple(_cast(part, dtype) for part in inputs)
    memory = memory or _own_memory(inputs[0].device)
    asked = _Asked(module, tensors, inputs, weights)
    with torch.no_grad(), float32_products(tf32), differentiable_kernels():
        tolerance = _TF32_TOLERANCE if tf32 else _TOLERANCE
        found = None if way == "columns" else _possible(lambda: _confirmed_rows(asked, memory, way, tolerance))
        if found is not None:
            return found
        program = asked.lowered(len(inputs[0]))
        if program is not None and not program.stop:  # the module returns one of its inputs
            logits = _finite(inputs[program.placeholders.index(program.output) - len(tensors)])
            return Jacobian(logits, logits.new_zeros(*logits.shape, len(weights)))
        if program is not None:
            found = _possible(lambda: _sound_columns(asked, program, memory))
        if found is not None:
            return found
        with elementary_recurrence(any(isinstance(layer, nn.RNNBase) for layer in module.modules())):
            return _pass_per_weight(module, tensors, inputs, weights)


def _possible(way: Callable[[], Jacobian | None]) -> Jacobian | None:
    """The result, or None where torch lacks the derivative of an operation and another way has to be taken."""
    try:
        return way()
    except RuntimeError as problem:
        if out_of_memory(problem):
            raise
        return None


@dataclass(frozen=True)
class _Asked:
    """What to differentiate: a module with `tensors` for its parameters and buffers, at `inputs`, by `weights`."""

    module: nn.Module
    tensors: Mapping[str, Tensor]
    inputs: Inputs
    weights: Sequence[Weight]
    _programs: dict[int, Program | None] = field(default_factory=dict)

    def lowered(self, size: int) -> Program | None:
        """The program for the first `size` samples, see `lower`."""
        if size not in self._programs:
            self._programs[size] = lower(self.module, self.tensors, tuple(part[:size] for part in self.inputs))
        return self._programs[size]

    def taken(self, size: int) -> Program | None:
        """The same, but None for a module that takes no batch of this size."""
        try:
            return self.lowered(size)
        except ProxyError:
            return None

    def places(self, program: Program) -> list[Place]:
        """Where the weights are in a program."""
        parameters = dict(zip(self.tensors, program.placeholders, strict=False))
        return [(parameters[weight.name], weight.index) for weight in self.weights]

    def start(self, program: Program) -> Callable[[Inputs], Env]:
        """Gives the values that a program starts from, for the number of samples that it takes."""
        return lambda inputs: dict(
            zip(program.placeholders, (*self.tensors.values(), *_laid_out(program, inputs)), strict=True)
        )


# Rows


_CPU_PIECE = 8  # samples: smaller pieces keep the processor waiting for Python, larger ones for memory


@dataclass(frozen=True)
class _Plan:
    """A program for some samples, and the way through its waists."""

    program: Program
    places: Sequence[Place]
    route: Route

    @property
    def pays(self) -> bool:
        """Whether it is faster than pushing all columns to the end."""
        pushing = column_work(self.program, self.places, range(self.program.stop))
        return self.route.passes < pushing / max(sum(self.program.work), 1.0)

    @property
    def bytes(self) -> int:
        """Bytes that are held at once, besides weights and tangents."""
        return self.program.activations + self.route.bytes


@dataclass(frozen=True)
class _Rows:
    """A Jacobian from pieces of this many samples; of a single piece, `env` has the values of all steps."""

    jacobian: Jacobian
    size: int
    env: Env


def _by_rows(asked: _Asked, memory: int, way: Way, tolerance: float) -> _Rows | None:
    """The Jacobian, if samples do not mix. None where they certainly do, and where it does not fit or does not pay.

    Of several pieces the first one is looked at before the others are begun. ProxyError as by `_refuse_noise`.
    """
    inputs = asked.inputs
    samples = len(inputs[0])
    if any(len(part) != samples for part in inputs):
        return None
    size = min(samples, _CPU_PIECE) if inputs[0].device.type == "cpu" else samples
    plan = _plan(asked, size)
    if plan is not None and plan.bytes > memory // 2 and size > 1:
        size = max(1, size * (memory // 2) // plan.bytes)
        plan = _plan(asked, size)
    if plan is None or plan.bytes > memory // 2 or not (way == "rows" or plan.pays):
        return None

    start = asked.start(plan.program)
    found: list[Jacobian] = []
    env: Env = {}
    for piece in zip(*(torch.split(part, size) for part in inputs), strict=True):
        if len(piece[0]) < size:
            plan = _plan(asked, len(piece[0]))
            if plan is None:
                return None
            start = asked.start(plan.program)
        env = start(piece)
        try:
            advance(plan.program, env, range(plan.program.stop), keep=True)
            logits = _finite(env[plan.program.output])
            values = through_waists(plan.program, env, plan.places, plan.route, _room(memory, plan.program))
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            return None
        found.append(Jacobian(logits, values))
        if len(found) == 1 and size < samples and not _agrees(plan, env, found[0], tolerance):
            _refuse_noise(asked, _direction(found[0]), None)
            return None
    whole = Jacobian(torch.cat([one.logits for one in found]), torch.cat([one.values for one in found]), "rows")
    return _Rows(whole, size, env if len(found) == 1 else {})


def _plan(asked: _Asked, size: int) -> _Plan | None:
    """The program for `size` samples; None where the module does not accept that number."""
    program = asked.taken(size)  # what is wrong with the module is told of the whole batch
    if program is None or not program.stop or len(program.output.meta["val"]) != size:
        return None
    places = asked.places(program)
    return _Plan(program, places, route(program, places))


# Trust


def _confirmed_rows(asked: _Asked, memory: int, way: Way, tolerance: float) -> Jacobian | None:
    rows = _by_rows(asked, memory, way, tolerance)
    if rows is None:
        return None
    if _confirmed(asked, rows, tolerance):
        return rows.jacobian
    _refuse_noise(asked, _direction(rows.jacobian), None)
    return None


def _confirmed(asked: _Asked, rows: _Rows, tolerance: float) -> bool:
    """Whether columns say the same.

    Pulling rows back takes for granted that samples do not mix, and that they are told apart by the first dimension of
    every waist. Neither is written in the program, but it shows here, where samples of different pieces meet.
    """
    found = rows.jacobian
    some = torch.linspace(0, len(found.logits) - 1, rows.size).round().long().to(found.logits.device)
    program = asked.taken(len(some))
    if program is None:
        return False
    env = rows.env or asked.start(program)(tuple(part[some] for part in asked.inputs))
    along = _direction(found)
    truth, _ = _pushed(program, env, asked.places(program), along)
    return _is_small(_apart(found.values[some].double() @ along, truth), tolerance)


def _agrees(plan: _Plan, env: Env, found: Jacobian, tolerance: float) -> bool:
    """Whether columns say of a piece what its rows do; `env` holds the values of all its steps, and loses them."""
    along = _direction(found)
    truth, _ = _pushed(plan.program, env, plan.places, along)
    return _is_small(_apart(found.values.double() @ along, truth), tolerance)


def _is_small(errors: Tensor, tolerance: float) -> bool:
    return bool(errors.norm() <= _KINKS and errors.median() <= tolerance / len(errors) ** 0.5)


# Of the columns' norm, which is 1, float32 rounds off 1e-6 and half precision 1e-3; mixing samples changes all of it.
_TOLERANCE = 1e-3
_TF32_TOLERANCE = 1e-2
# But rounding also switches a unit here and there on or off, which changes the derivatives of that sample alone.
_KINKS = 0.05


def _refuse_noise(asked: _Asked, along: Tensor, columns: Tensor | None) -> None:
    """ProxyError where float64 says something else, of a few samples and, as samples may mix, of all.

    Compared is the derivative in one direction (P,) through all weights, from `columns` (N, K, P) where these are
    known, and else pushed forward, which costs about a pass: so networks without a score are found out before their
    columns are computed, which would take longer than a score does.

    A chain of norms of values that are nearly constant multiplies rounding by 300 each time. What comes out has high
    entropy, and a search that believes it looks for more.
    """
    if asked.inputs[0].dtype == torch.float64:
        return
    samples = len(asked.inputs[0])
    logits: list[Tensor] = []  # in float64, by which samples that do not mix are known
    for size in sorted({min(samples, _FEW), min(samples, _CPU_PIECE), samples}):
        program = asked.taken(size)
        if program is None:
            continue
        places, few = asked.places(program), tuple(part[:size] for part in asked.inputs)
        if columns is None:
            said, _ = _pushed(program, asked.start(program)(few), places, along)
        else:
            said = columns[:size].double() @ along
        wide = _Wide(dict(zip(program.placeholders, (*asked.tensors.values(), *few), strict=True)))
        try:
            truth, values = _pushed(program, wide, places, along)
        except RuntimeError:  # the module insists on a precision of its own
            return
        if _apart(said, truth).norm() <= _NOISE:
            return
        if logits and torch.allclose(values[: len(logits[-1])], logits[-1], 1e-3, 1e-3 * float(values.abs().max())):
            break  # a larger batch would say the same
        logits.append(values)
    raise ProxyError(
        "the module's derivatives are rounding noise: in float64 they come out different",
        "some part of it magnifies differences of nearly equal numbers, such as a norm of a constant",
    )


class _Wide(dict[fx.Node, Any]):
    """Values in float64: what a program starts from is cast when it is needed, and goes again when it is not."""

    def __init__(self, narrow: Mapping[fx.Node, Tensor]):
        super().__init__()
        self._narrow = narrow

    def __missing__(self, node: fx.Node) -> Tensor:
        self[node] = _cast(self._narrow[node], torch.float64)
        found: Tensor = self[node]
        return found


_FEW = 2  # samples
# Of the columns' norm; sound networks have less than a hundredth, where a few units are switched, and noise has all.
_NOISE = 0.25


def _direction(found: Jacobian) -> Tensor:
    """How far each weight goes (P,) in one direction through all of them: each column takes part at its own scale."""
    size = found.values.double().square().sum((0, 1)).sqrt()
    rounding = torch.finfo(found.values.dtype).eps ** 0.5  # a column smaller than this part of the others may be noise
    scale = size.clamp(min=float(size.mean()) * rounding or 1.0).reciprocal()
    sign = 1 - 2 * (torch.arange(len(size), device=size.device) * 0.618034 % 1 < 0.5).to(size.dtype)
    return sign * scale


def _pushed(program: Program, env: Env, places: Sequence[Place], along: Tensor) -> tuple[Tensor, Tensor]:
    """The derivatives of the logits (N, K) in a direction (P,), and these, as float64; `env` loses what it holds."""
    direction: dict[fx.Node, dict[int, dict[int, float]]] = {}
    for (node, element), step in zip(places, along.tolist(), strict=True):
        elements = direction.setdefault(node, {0: {}})[0]
        elements[element] = elements.get(element, 0.0) + step
    end = walk(program, env, range(program.stop), direction, {program.output}).get(program.output)
    logits = env[program.output].double()
    return torch.zeros_like(logits) if end is None else end.stack[0].double(), logits


def _apart(said: Tensor, truth: Tensor) -> Tensor:
    """The relative error of derivatives (N, K): norms (N,), as parts of that of all samples together."""
    errors: Tensor = (said - truth).norm(dim=1) / truth.norm().clamp(min=1.0)
    return errors


# Columns


def _sound_columns(asked: _Asked, program: Program, memory: int) -> Jacobian:
    columns = _by_columns(asked, program, memory)
    rounded = columns.values.dtype != torch.float64
    if rounded:
        asked.taken(min(len(columns.logits), _FEW))  # recorded for what follows while a GPU is still at work
    _finite(columns.logits)
    if rounded:
        _refuse_noise(asked, _direction(columns), columns.values)
    return columns


def _by_columns(asked: _Asked, program: Program, memory: int) -> Jacobian:
    env, places, steps = asked.start(program)(asked.inputs), asked.places(program), range(program.stop)
    room = _room(memory, program)
    keep = program.activations <= memory - room
    if keep:
        advance(program, env, steps, keep=True)
    jacobian = None
    for logits, tangent in sweep(program, env, places, steps, room, keep=keep):
        if jacobian is None:
            jacobian = Jacobian(logits, logits.new_zeros(*logits.shape, len(places)))
            if not logits.is_cuda:  # a GPU is not waited for before it has all its work
                _finite(logits)
        if tangent is not None:
            jacobian.values[:, :, neighbours(tangent.columns)] = tangent.stack.permute(1, 2, 0)
        del tangent
    assert jacobian is not None
    return jacobian


# Larger stacks of tangents are slower on a CPU: their memory is mapped, and faulted in, anew for every operation. But
# so are stacks of a few large ones, which leave it waiting for Python.
_CPU_CHUNK = 2**25
_CPU_TANGENTS = 12


def _room(memory: int, program: Program) -> int:
    """The share of the memory that tangents may take."""
    if program.output.meta["val"].device.type != "cpu":
        return memory // 2
    return min(memory // 2, max(_CPU_CHUNK, _CPU_TANGENTS * program.widest))


# Tensors and kernels


def _own_memory(device: torch.device) -> int:
    if device.type != "cuda":
        return 2**30
    return int(torch.cuda.get_device_properties(device).total_memory) // 4


def _laid_out(program: Program, tensors: Iterable[Tensor]) -> list[Tensor]:
    """With the channels innermost where convolutions are faster then: on CPUs up to five times.

    On a GPU those are that have groups, four times; plain ones are slower by a sixth.
    """
    inner = program.output.meta["val"].device.type == "cpu" or any(map(_is_grouped, program.steps))
    layout = torch.channels_last if inner else torch.contiguous_format
    return [t.contiguous(memory_format=layout) if t.ndim == 4 else t for t in tensors]


def _is_grouped(node: fx.Node) -> bool:
    return node.target in CONVOLUTIONS and bool(node.args[-1] != 1)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    tensor = tensor.detach()
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _finite(logits: Tensor) -> Tensor:
    if not logits.isfinite().all():
        raise ProxyError("the module's logits are not finite", "check its initialisation and the batch")
    return logits


# Without lowering


def _pass_per_weight(
    module: nn.Module, tensors: Mapping[str, Tensor], inputs: Inputs, weights: Sequence[Weight]
) -> Jacobian:
    columns = []
    logits = _run(module, tensors, inputs)
    for weight in weights:
        value = tensors[weight.name]
        tangent = Seed(value, {0: {weight.index: 1.0}}).stack[0]

        def run(value: Tensor, name: str = weight.name) -> Tensor:
            return _run(module, {**tensors, name: value}, inputs)

        try:
            columns.append(jvp(run, (value,), (tangent,))[1])
        except RuntimeError as problem:
            if out_of_memory(problem):
                raise
            raise ProxyError(f"torch has no forward derivative of the module: {problem}") from problem
    values = torch.stack(columns, 2) if columns else logits.new_zeros(*logits.shape, 0)
    return Jacobian(_finite(logits), values, "passes")


def _run(module: nn.Module, tensors: Mapping[str, Tensor], inputs: Inputs) -> Tensor:
    try:
        out = as_function(module, list(tensors))(*tensors.values(), *inputs)
    except Exception as error:  # Whatever the user's module raises, it is the reason why there is no score.
        raise failure(inputs, error) from error
    if not isinstance(out, Tensor):
        raise ProxyError(f"expected a module whose output is one tensor of logits (N, K), but got {type(out).__name__}")
    check_logits(out, len(inputs[0]))
    return out
