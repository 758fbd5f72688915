"""Transformers over words against small modules written here with torch alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import uninas
from uninas.backend import layers as layers_of
from uninas.language.elaborate import build
from uninas.language.library import load_text
from uninas.language.resources import library_root

WIDTH, HEADS, WORDS, LENGTH = 24, 3, 50, 10


class Attention(nn.Module):
    def __init__(self, causal: bool):
        super().__init__()
        self.causal = causal
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch = len(x)
        q, k, v = (p.view(batch, LENGTH, HEADS, -1).transpose(1, 2) for p in self.qkv(x).chunk(3, -1))
        scores = q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5
        if self.causal:
            scores = scores.masked_fill(torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1), -torch.inf)
        made: Tensor = self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, LENGTH, WIDTH))
        return made


class Layer(nn.Module):
    """A layer of GPT-2 (norms first, nobody sees what is later) or of BERT (norms last)."""

    def __init__(self, gpt: bool):
        super().__init__()
        self.gpt = gpt
        eps = 1e-5 if gpt else 1e-12
        parts = {"norm_1": nn.LayerNorm(WIDTH, eps), "attention": Attention(gpt)}
        dense = {
            "norm_2": nn.LayerNorm(WIDTH, eps),
            "up": nn.Linear(WIDTH, 4 * WIDTH),
            "down": nn.Linear(4 * WIDTH, WIDTH),
        }
        for name, part in (parts | dense).items():
            self.add_module(name, part)

    def dense(self, x: Tensor) -> Tensor:
        made: Tensor = self.down(F.gelu(self.up(x), approximate="tanh" if self.gpt else "none"))
        return made

    def forward(self, x: Tensor) -> Tensor:
        if self.gpt:
            x = x + self.attention(self.norm_1(x))
            return x + self.dense(self.norm_2(x))
        x = self.norm_1(x + self.attention(x))
        made: Tensor = self.norm_2(x + self.dense(x))
        return made


class GPT(nn.Module):
    """Radford et al. 2019; the words that come out are told by the vectors that embed those that go in."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Parameter(torch.randn(LENGTH, WIDTH))
        self.layers = nn.ModuleList(Layer(gpt=True) for _ in range(2))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, words: Tensor) -> Tensor:
        x = self.words(words) + self.places
        for layer in self.layers:
            x = layer(x)
        made: Tensor = self.norm(x) @ self.words.weight.T
        return made


class BERT(nn.Module):
    """Devlin et al. 2019."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Parameter(torch.randn(LENGTH, WIDTH))
        self.sentences, self.norm = nn.Embedding(2, WIDTH), nn.LayerNorm(WIDTH, 1e-12)
        self.layers = nn.ModuleList(Layer(gpt=False) for _ in range(2))
        self.pooled = nn.Linear(WIDTH, WIDTH)

    def forward(self, words: Tensor, sentences: Tensor) -> Tensor:
        x = self.norm(self.words(words) + self.places + self.sentences(sentences))
        for layer in self.layers:
            x = layer(x)
        made: Tensor = self.pooled(x[:, 0]).tanh()
        return made


def carried(theirs: nn.Module, names: dict[str, str], ours: uninas.backend.model.Model) -> None:
    """Give `ours` the weights of `theirs`, by a table of names of modules."""
    state = ours.state_dict()
    for name, value in theirs.state_dict().items():
        path, _, kind = name.rpartition(".")
        other = f"{names[path]}.{kind}" if path else f"{names[name]}.weight"
        turned = value.T if other.endswith(("pos_embed.weight", "table.weight")) else value
        state[other].copy_(turned.reshape(state[other].shape))


def layers(count: int, gpt: bool) -> dict[str, str]:
    found = {}
    for n in range(count):
        ours = f"stages.0.blocks.{n}"
        attention = f"{ours}.causal_attention" if gpt else ours
        found |= {
            f"layers.{n}.attention.qkv": f"{attention}.conv_1", f"layers.{n}.attention.proj": f"{attention}.conv_2",
            f"layers.{n}.norm_1": f"{ours}.layer_norm_1" if gpt else f"{ours}.seen",
            f"layers.{n}.norm_2": f"{ours}.layer_norm_2" if gpt else f"{ours}.layer_norm",
            f"layers.{n}.up": f"{ours}.conv_1" if gpt else f"{ours}.conv_3",
            f"layers.{n}.down": f"{ours}.conv_2" if gpt else f"{ours}.conv_4",
        }  # fmt: skip
    return found


def small(name: str) -> uninas.Graph:
    """The shipped network, small and for short texts."""
    text = (library_root() / "networks" / f"{name}.uni").read_text(encoding="utf-8")
    text = text.replace("input 1024\n", f"input {LENGTH}\n").replace("input 512, 512", f"input {LENGTH}, {LENGTH}")
    return build(load_text(text), name, arguments={"vocabulary": WORDS, "width": WIDTH, "depth": 2, "heads": HEADS})


@torch.no_grad()
@pytest.mark.parametrize("integers", [True, False])
def test_gpt2_tells_what_a_small_one_of_torch_does(integers: bool) -> None:
    torch.manual_seed(0)
    theirs, ours = GPT().eval(), uninas.compile(small("gpt2")).eval()
    names = {"words": "words.table", "places": "words.pos_embed", "norm": "normed.layer_norm"}
    carried(theirs, names | layers(2, True), ours)
    assert ours.architecture.cost.params == sum(p.numel() for p in theirs.parameters())
    words = torch.randint(WORDS, (2, LENGTH))
    torch.testing.assert_close(ours(words if integers else words.float()).squeeze(1), theirs(words))


@torch.no_grad()
def test_bert_tells_what_a_small_one_of_torch_does() -> None:
    torch.manual_seed(1)
    theirs, ours = BERT().eval(), uninas.compile(small("bert_base")).eval()
    names = {"words": "words.embedding_1", "places": "words.pos_embed", "sentences": "words.embedding_2",
             "norm": "words.layer_norm", "pooled": "pooled.linear", **layers(2, False)}  # fmt: skip
    carried(theirs, names, ours)
    assert ours.architecture.cost.params == sum(p.numel() for p in theirs.parameters())
    words, sentences = torch.randint(WORDS, (2, LENGTH)), torch.randint(2, (2, LENGTH))
    torch.testing.assert_close(ours(words, sentences), theirs(words, sentences))


class Tower(nn.Module):
    """Layers of CLIP with torch's own attention, whose dense layers have x sigmoid(1.702 x)."""

    def __init__(self, width: int, places: int, causal: bool):
        super().__init__()
        hidden = torch.ones(places, places, dtype=torch.bool).triu(1) if causal else None
        self.hidden, self.places = hidden, nn.Parameter(torch.randn(places, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.attention = nn.ModuleList(nn.MultiheadAttention(width, width // 64, batch_first=True) for _ in range(2))
        self.up = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(4 * width, width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for n, (attention, up, down) in enumerate(zip(self.attention, self.up, self.down, strict=True)):
            y = self.norms[2 * n](x)
            x = x + attention(y, y, y, attn_mask=self.hidden, need_weights=False)[0]
            wide = up(self.norms[2 * n + 1](x))
            x = x + down(wide * (1.702 * wide).sigmoid())
        return x

    def names(self, theirs: str, stage: int) -> dict[str, str]:
        """Parameters by their names in a tower called `theirs`, and in a stage of ours."""
        found = {}
        for n in range(2):
            ours = f"stages.{stage}.blocks.{n}"
            for kind in ("weight", "bias"):
                found |= {
                    f"{theirs}.norms.{2 * n}.{kind}": f"{ours}.layer_norm_1.{kind}",
                    f"{theirs}.norms.{2 * n + 1}.{kind}": f"{ours}.layer_norm_2.{kind}",
                    f"{theirs}.attention.{n}.in_proj_{kind}": f"{ours}.heads.conv_1.{kind}",
                    f"{theirs}.attention.{n}.out_proj.{kind}": f"{ours}.heads.conv_2.{kind}",
                    f"{theirs}.up.{n}.{kind}": f"{ours}.wide.{kind}",
                    f"{theirs}.down.{n}.{kind}": f"{ours}.conv.{kind}",
                }
        return found


class CLIP(nn.Module):
    """Radford et al. 2021, for images of 2 x 2 patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 128, 32, 32, bias=False), nn.Parameter(torch.randn(128))
        self.before, self.after, self.last = nn.LayerNorm(128), nn.LayerNorm(128), nn.LayerNorm(64)
        self.seen, self.read = Tower(128, 5, False), Tower(64, LENGTH, True)
        self.words = nn.Embedding(WORDS, 64)
        self.image, self.text = nn.Linear(128, 16, bias=False), nn.Linear(64, 16, bias=False)

    def forward(self, images: Tensor, words: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        x = self.patches(images).flatten(2).mT
        x = torch.cat([self.token.expand(len(x), 1, -1), x], 1) + self.seen.places
        image = self.image(self.after(self.seen(self.before(x))[:, 0]))
        read = self.last(self.read(self.words(words) + self.read.places))
        text = self.text(read[torch.arange(len(read)), places[:, 0]])
        return F.normalize(image, dim=1), F.normalize(text, dim=1)


@torch.no_grad()
def test_clip_tells_what_a_small_one_of_torch_does() -> None:
    torch.manual_seed(2)
    text = (library_root() / "networks" / "clip_vit_base_patch32.uni").read_text(encoding="utf-8")
    text = text.replace("input 3 x 224 x 224, 77, 1", f"input 3 x 64 x 64, {LENGTH}, 1")
    sizes = {"vocabulary": WORDS, "width": 128, "words": 64, "depth": 2, "joint": 16}
    theirs = CLIP().eval()
    ours = uninas.compile(build(load_text(text), "clip_vit_base_patch32", arguments=sizes)).eval()
    names = theirs.seen.names("seen", 0) | theirs.read.names("read", 1) | {
        "patches.weight": "patches.conv.weight", "token": "patches.class_token.weight",
        "seen.places": "patches.pos_embed.weight", "read.places": "sentence.pos_embed.weight",
        "words.weight": "sentence.embedding.weight",
        "image.weight": "image.joint.said.weight", "text.weight": "text.joint.said.weight",
        **{f"before.{kind}": f"patches.layer_norm.{kind}" for kind in ("weight", "bias")},
        **{f"after.{kind}": f"image.layer_norm.{kind}" for kind in ("weight", "bias")},
        **{f"last.{kind}": f"text.layer_norm.{kind}" for kind in ("weight", "bias")},
    }  # fmt: skip
    state = ours.state_dict()
    assert state.keys() == set(names.values())
    for name, value in theirs.state_dict().items():
        other = state[names[name]]
        other.copy_((value.T if "places" in name else value).reshape(other.shape))
    images, words, places = torch.randn(3, 3, 64, 64), torch.randint(WORDS, (3, LENGTH)), torch.tensor([[9], [4], [0]])
    for found, expected in zip(ours(images, words, places), theirs(images, words, places), strict=True):
        torch.testing.assert_close(found.flatten(1), expected)


def test_the_published_sizes() -> None:
    assert uninas.load("gpt2").cost.params == 124_439_808
    assert uninas.load("bert_base").cost.params == 109_482_240


def test_positions_are_told_by_sines_and_by_turns() -> None:
    x = torch.randn(2, 8, 3, 5)
    places = torch.arange(5.0)
    added = layers_of.sine_embed(torch.zeros(1, 8, 1, 5), 100.0)[0, :, 0]
    for i in range(4):
        torch.testing.assert_close(added[2 * i], torch.sin(places / 100.0 ** (2 * i / 8)))
        torch.testing.assert_close(added[2 * i + 1], torch.cos(places / 100.0 ** (2 * i / 8)))
    turned = layers_of.rotary(x, 100.0)
    torch.testing.assert_close(turned.norm(dim=1), x.norm(dim=1))
    pairs = torch.complex(x[:, :4], x[:, 4:]) * torch.exp(1j * places / 100.0 ** (torch.arange(4.0) / 4)[:, None, None])
    torch.testing.assert_close(turned, torch.cat([pairs.real, pairs.imag], 1))


@torch.no_grad()
def test_numbers_and_wires() -> None:
    x, y = torch.randn(2, 4, 3, 3), torch.rand(2, 4, 3, 3) + 1
    rows = {
        "a * 0.5": x * 0.5, "1 - a": 1 - x, "a - 1": x - 1, "2 * a * b": 2 * x * y, "a + 3 + b": x + 3 + y, "-a": -x,
        "a / 4": x / 4, "a / b": x / y, "(1 - b) * a": (1 - y) * x,
    }  # fmt: skip
    for text, expected in rows.items():
        unused = "" if "b" in text else " * (b * 0 + 1)"
        model = uninas.compile(uninas.load(f"block A {{ input 4 x 3 x 3  a, b = in  out = ({text}){unused} }}"))
        torch.testing.assert_close(model(x, y), expected, msg=text)


@torch.no_grad()
def test_unfold_is_that_of_torch() -> None:
    x = torch.randn(2, 3, 7, 6)
    model = uninas.compile(uninas.load("block A { input 3 x 7 x 6  out = in -> unfold(3, 2) }"))
    torch.testing.assert_close(model(x).flatten(2), F.unfold(x, 3, padding=1, stride=2))


@pytest.mark.parametrize(("number", "expected"), [("C * 0.75", 24), ("19", 24), ("C / 4", 8), ("37", 40), ("3", 8)])
def test_widths_are_rounded_as_mobilenets_do(number: str, expected: int) -> None:
    graph = uninas.load(f"block A {{ input 32 x 4 x 4  out = in -> conv(divisible({number}, 8), 1) }}")
    assert graph.output_shapes[0][0] == expected
    assert uninas.load("clip_vit_base_patch32").cost.params == 151_277_312  # and the factor that the loss learns
