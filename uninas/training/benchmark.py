"""How fast networks are: measured side by side, in turn, so that a clock that drifts drifts for all.

Everything is built and warmed up first; then each is measured for a moment, again and again, until every one has had
its time. Inputs are random, in channels-last layout where kernels are; nothing is learnt.
"""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import quantiles

import torch
from torch import nn

from uninas.backend.backbone import Backbone, resized
from uninas.backend.emit import compile
from uninas.backend.optimize import optimize
from uninas.errors import error, out_of_memory, shown
from uninas.graph import Graph
from uninas.language.elaborate import sized
from uninas.language.library import find
from uninas.proxies import usable_device
from uninas.training.recipe import TASKS
from uninas.training.seeds import seeded

MODES = ("plain", "fold", "fuse", "optimize", "compile")
"""How a network is run: heads one by one; equal heads as one; attention as one kernel; after all passes of
`uninas.optimize`; the fused one by torch.compile."""
WHATS = ("backbone", "model")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SIZES = {"detection": (800, 1280), "segmentation": (512, 512)}
CLASSES = {"detection": 80, "segmentation": 150}
BLOCK = 0.1  # seconds of one turn
GAIN = 1.05  # by which a batch twice as large must be faster to be better
LARGEST_BATCH = 1024


@dataclass(frozen=True)
class Speed:
    """A row: what was timed, on what, and how fast it was. Times are milliseconds of one pass of the batch."""

    network: str
    task: str
    what: str
    mode: str
    dtype: str
    batch: int
    height: int
    width: int
    median: float
    low: float
    """5 % of all passes were faster."""
    high: float
    """5 % of all passes were slower."""
    images_per_second: float
    passes: int
    memory: float | None
    """Bytes at most, on a GPU."""
    device: str
    torch: str

    def as_dict(self) -> dict[str, object]:
        """The row as plain values."""
        return dataclasses.asdict(self)


@dataclass
class _Subject:
    graph: Graph
    mode: str
    what: str
    batch: int
    run: Callable[[], object]
    times: list[float]


def benchmark(
    networks: Sequence[str | Graph],
    *,
    task: str = "classification",
    what: Sequence[str] = ("backbone",),
    batch: Sequence[int | str] = (1,),
    modes: Sequence[str] = ("fold",),
    dtype: str = "fp32",
    device: str = "cpu",
    size: tuple[int, int] | None = None,
    seconds: float = 5.0,
    passes: int = 50,
    warm: float = 2.0,
) -> list[Speed]:
    """Time networks in inference.

    Args:
        networks: names, paths, texts or graphs.
        task: decides the size of images, and the heads of `model`.
        what: `backbone` (the published columns) or `model` (with heads, and for detection with all that follows).
        batch: numbers of images; `best` is the one with the most images a second.
        modes: some of MODES.
        size: height and width, instead of those of the task or the network.
        seconds, passes: each is measured for so long, and so often, at least.

    Raises UninasError for what is unknown, and for networks that do not exist at the size.
    """
    for words, known in ((what, WHATS), (modes, MODES), ((dtype,), tuple(DTYPES)), ((task,), TASKS)):
        for word in words or ("nothing",):
            if word not in known:
                raise error("UNI130", f"expected {' or '.join(known)}, but got {shown(word)}")
    if not batch or any(count != "best" and (type(count) is not int or count < 1) for count in batch):
        raise error("UNI130", f"expected numbers of images, or best, but got {shown(list(batch))}")
    place = usable_device(device)
    subjects: list[_Subject] = []
    for network in networks:
        graph = network if isinstance(network, Graph) else sized(*find(network), None)
        chosen = size or SIZES.get(task) or (graph.inputs[0][1], graph.inputs[0][2])
        graph = resized(graph, chosen)
        for part in what:
            for mode in modes:
                with seeded(0):
                    module = _module(graph, task, part, mode).eval().to(place)
                for count in batch:
                    subjects += _subjects(module, graph, part, mode, count, place, dtype, task)
    _measure(subjects, place, seconds, passes, warm)
    return [_row(each, task, place, dtype) for each in subjects]


def _module(graph: Graph, task: str, what: str, mode: str) -> nn.Module:
    fold, fuse = mode != "plain", mode in ("fuse", "compile")
    if task == "classification":
        model = compile(graph, fold=fold, fuse=fuse)
        module: nn.Module = optimize(model, copied=False) if mode == "optimize" else model
    else:
        backbone = Backbone(graph, fold=fold, fuse=fuse)
        if mode == "optimize":
            backbone.body = optimize(backbone.body, copied=False)
        module = backbone if what == "backbone" else _with_heads(backbone, task)
    if mode != "optimize":
        module.to(memory_format=torch.channels_last)
    if mode == "compile":
        module.compile()
    return module


def _with_heads(backbone: Backbone, task: str) -> nn.Module:
    backbone.check_strides()
    if task == "segmentation":
        from uninas.training.segmentation import WIDTH, Segmenter

        return Segmenter(backbone, backbone.channels, CLASSES[task], False, WIDTH)
    from uninas.training.detection import Detector

    return Detector(backbone, CLASSES[task])


def _subjects(
    module: nn.Module, graph: Graph, what: str, mode: str, count: int | str, place: torch.device, dtype: str, task: str
) -> list[_Subject]:
    def subject(number: int) -> _Subject:
        return _Subject(graph, mode, what, number, _pass(module, graph, what, number, place, dtype, task), [])

    if count != "best":
        return [subject(int(count))]
    best, number, fastest = subject(1), 1, 0.0
    while number <= LARGEST_BATCH:
        found = subject(number)
        try:
            found.run()
            _timed(found, place)
            _timed(found, place)
        except (RuntimeError, MemoryError) as problem:
            if not out_of_memory(problem):
                raise
            break
        speed = number / min(found.times)
        if speed < fastest * GAIN:
            break
        found.times.clear()
        best, fastest, number = found, speed, number * 2
    return [best]


def _pass(
    module: nn.Module, graph: Graph, what: str, count: int, place: torch.device, dtype: str, task: str
) -> Callable[[], object]:
    """One pass of a batch of random images."""
    source = torch.Generator().manual_seed(0)
    x = torch.rand(count, *graph.inputs[0], generator=source).to(place).contiguous(memory_format=torch.channels_last)
    given: object = list(x) if task == "detection" and what == "model" else x

    def run() -> object:
        with torch.inference_mode(), torch.autocast(place.type, DTYPES[dtype], enabled=dtype != "fp32"):
            return module(given)

    return run


def _timed(subject: _Subject, place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize(place)
    began = time.perf_counter()
    subject.run()
    if place.type == "cuda":
        torch.cuda.synchronize(place)
    subject.times.append(time.perf_counter() - began)


def _measure(subjects: list[_Subject], place: torch.device, seconds: float, passes: int, warm: float) -> None:
    for each in subjects:
        until = time.perf_counter() + warm
        each.run()
        while time.perf_counter() < until:
            each.run()
    waiting = list(subjects)
    while waiting:
        for each in waiting:
            until = time.perf_counter() + BLOCK
            _timed(each, place)
            while time.perf_counter() < until:
                _timed(each, place)
        waiting = [each for each in waiting if len(each.times) < passes or sum(each.times) < seconds]


def _row(subject: _Subject, task: str, place: torch.device, dtype: str) -> Speed:
    times = sorted(subject.times)
    cuts = quantiles(times, n=20) if len(times) > 1 else [times[0]] * 19
    middle = times[len(times) // 2]
    memory = None
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats(place)
        subject.run()
        memory = float(torch.cuda.max_memory_allocated(place))
    _, height, width = subject.graph.inputs[0]
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else _processor()
    return Speed(
        subject.graph.name, task, subject.what, subject.mode, dtype, subject.batch, height, width, 1e3 * middle,
        1e3 * cuts[0], 1e3 * cuts[-1], subject.batch / middle, len(times), memory, name, str(torch.__version__),
    )  # fmt: skip


def _processor() -> str:
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
