"""Builds a published network twice, by timm and by us, gives both the same weights, and compares what they compute."""

import re
from dataclasses import dataclass

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

import uninas
from helpers.published import PUBLISHED
from helpers.renaming import transferred, without_constants
from uninas.language.library import Module, load_file, shipped_file


@dataclass(frozen=True)
class Parity:
    """What came out, ours and theirs."""

    network: str
    lines: int
    """Of the network's own file, without comments and blank lines."""
    all_lines: int
    """Of the network and of every block that it is made of."""
    params: int
    timm_params: int
    error: float
    """Largest difference of a logit, relative to the largest logit."""
    flops: int
    counted_flops: int
    """By torch's FlopCounterMode on our module."""


def parity(network: str, seed: int = 0, spoil: bool = False) -> Parity:
    """Measure one network, in float32 and evaluation mode, on one random image of its native size.

    `spoil` moves one of our weights, to show that the comparison would notice.
    """
    published = PUBLISHED[network]
    generator = torch.Generator().manual_seed(seed)
    graph = uninas.load(network)
    ours = uninas.compile(graph).eval()
    theirs = timm.create_model(network, pretrained=False).eval()
    theirs.load_state_dict(without_constants(theirs.state_dict(), generator))
    state = transferred(theirs.state_dict(), ours.state_dict(), published.table, *published.changes)
    ours.load_state_dict(state)
    if spoil:
        with torch.no_grad():
            next(ours.parameters())[0] += 0.1
    image = torch.randn(1, 3, published.size, published.size, generator=generator)
    with torch.inference_mode():
        expected, found = theirs(image), ours(image)
    return Parity(
        network=network,
        lines=lines_of(shipped_file(network).read_text(encoding="utf-8")),
        all_lines=sum(definitions_of(load_file(shipped_file(network)), network).values()),
        params=sum(p.numel() for p in ours.parameters()),
        timm_params=sum(p.numel() for p in theirs.parameters()),
        error=float((found - expected).abs().max() / expected.abs().max()),
        flops=graph.cost.flops,
        counted_flops=counted_flops(ours, image.shape),
    )


def counted_flops(model: torch.nn.Module, shape: torch.Size) -> int:
    """FLOPs by torch's own counter, on the meta device, where it sees attention as it is."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.to("meta")(torch.empty(shape, device="meta"))
    return int(counter.get_total_flops())


def lines_of(text: str) -> int:
    """Lines that say something: neither blank nor a comment."""
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in text.splitlines())


def definitions_of(module: Module, name: str) -> dict[str, int]:
    """Every definition that a network is made of, directly or through others, with its lines."""
    found: dict[str, int] = {}
    waiting = [(module, module.definitions[name])]
    while waiting:
        home, definition = waiting.pop()
        span = definition.span
        text = span.source.text[span.start : span.end]
        if found.setdefault(f"{span.source.name}:{definition.name.text}", lines_of(text)):
            used = [use for word in set(re.findall(r"\w+", text)) if (use := home.find(word)) is not None]
            waiting += [use for use in used if f"{use[1].span.source.name}:{use[1].name.text}" not in found]
    return found
