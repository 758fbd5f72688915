"""The contract of every operation, over the whole registry, and what single operations promise beyond it.

Each operation has example instances with input shapes. On the meta device torch must agree with the rules about
shapes, parameters and FLOPs; on the CPU the result must be finite, differentiable, exportable, and the same when
several copies run as one.
"""

import ast
import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from uninas import initial, ops, testing
from uninas.backend import layers
from uninas.errors import UninasError
from uninas.ops.activation import Clamp, Gelu, LeakyRelu, PRelu, Root, Scale, Softmax
from uninas.ops.attention import Mask, Matmul1, Matmul2, RelPosBias, WindowMask
from uninas.ops.conv import Blur, Conv, ConvTranspose, DepthwiseConv, sides, window_sides, window_steps
from uninas.ops.linear import Linear
from uninas.ops.merge import Add, Divide, Maximum, Multiply, Subtract
from uninas.ops.norm import BatchNorm, GroupNorm, L2Norm, LayerNorm, RmsNorm
from uninas.ops.op import FAMILIES, MAX_PORTS, MAX_SIZE, REGISTRY, Op, Shape, ShapeError, attr
from uninas.ops.pool import (
    AdaptivePool,
    AvgPool,
    GlobalAvgPool,
    GlobalMaxPool,
    Largest,
    Length,
    MaxPool,
    Mean,
    Upsample,
)
from uninas.ops.regulariser import Dropout, DropPath, LayerScale
from uninas.ops.sequence import CausalMask, Coordinates, Embedding, Lookup, Rotary, SineEmbed
from uninas.ops.shape import (
    ChannelShuffle,
    ClassToken,
    Crop,
    Fold,
    Heads,
    Learned,
    Pad,
    Permute,
    PixelShuffle,
    PixelUnshuffle,
    PosEmbed,
    Reshape,
    Roll,
    Token,
    Tokens,
    Transpose,
    Unfold,
    Unheads,
    Untokens,
    WindowMerge,
    WindowPartition,
    Zero,
)
from uninas.ops.split import Chunk, Copy, Slice, Split
from uninas.testing import emitted as emit
from uninas.testing import noise as inputs

MAP, TOKENS, VECTOR = (8, 6, 5), (8, 1, 9), (8,)


def plain(name: str, *shapes: Shape) -> tuple[Op, tuple[Shape, ...]]:
    return REGISTRY[name](), shapes


EXAMPLES: list[tuple[Op, tuple[Shape, ...]]] = [
    (Conv(12), (MAP,)),
    (Conv(12, 1, bias=False), (MAP,)),
    (Conv(12, 3, stride=2, dilation=2, groups=4), (MAP,)),
    (Conv(4, 1, width=5), (MAP,)),
    (Conv(4, 3, width=1, padding=1), (MAP,)),
    (Conv(4, 4), (MAP,)),
    (Conv(4, 3, stride=2, padding=-2), (MAP,)),
    (Conv(4, 3, stride=2, width=5, stride_width=1), (MAP,)),
    (Conv(4, 3, standardise=True), (MAP,)),
    (Conv(4, 2, padding=-2, standardise=True), (MAP,)),
    (Blur(), (MAP,)),
    (Blur(4, stride=2, padding=-2), (MAP,)),
    (ConvTranspose(12), (MAP,)),
    (ConvTranspose(4, 3, stride=2, padding=1, output_padding=1, groups=4, bias=False), (MAP,)),
    (Unfold(), (MAP,)),
    (Unfold(2, stride=2, padding=0), (MAP,)),
    (Fold(6, 5), ((18, 6, 5),)),
    (Fold(6, 5, 2, stride=2, padding=0), ((8, 3, 2),)),
    (Embedding(5, 6), (VECTOR,)),
    (Embedding(5, 6), ((1, 1, 7),)),
    (Lookup(), (VECTOR, (6, 1, 9))),
    (CausalMask(), ((2, 5, 5),)),
    (CausalMask(), ((2, 3, 5),)),
    (SineEmbed(), ((8, 1, 6),)),
    (SineEmbed(), ((8, 3, 4),)),
    (Rotary(), ((8, 2, 6),)),
    (Coordinates(), (MAP,)),
    (DepthwiseConv(5), (MAP,)),
    (DepthwiseConv(2, stride=2, padding=0, bias=False), (MAP,)),
    (DepthwiseConv(3, dilation=2), (MAP,)),
    (DepthwiseConv(1, width=5), (MAP,)),
    (DepthwiseConv(3, stride=2, padding=-2), (MAP,)),
    (Linear(3), (VECTOR,)),
    (Linear(3, bias=False), ((8, 1, 1),)),
    (Linear(3), ((8, 1, 1),)),
    (BatchNorm(), (MAP,)),
    (BatchNorm(affine=False), (MAP,)),
    (BatchNorm(), (VECTOR,)),
    (LayerNorm(), (MAP,)),
    (LayerNorm(eps=1e-3), (TOKENS,)),
    (LayerNorm(), (VECTOR,)),
    (LayerNorm(affine=False), (MAP,)),
    (LayerNorm(bias=False), (MAP,)),
    (RmsNorm(), (MAP,)),
    (RmsNorm(affine=False), (VECTOR,)),
    (L2Norm(), (MAP,)),
    (L2Norm("width"), (MAP,)),
    (Clamp(-0.5, 2.0), (MAP,)),
    (PRelu(shared=True), (MAP,)),
    (Scale(0.5, -1.0), (MAP,)),
    (Root(eps=1e-3), (MAP,)),
    (Root(inverse=True, eps=1e-3), (MAP,)),
    (GroupNorm(4), (MAP,)),
    (GroupNorm(4, affine=False), (MAP,)),
    (GroupNorm(4, bias=False), (MAP,)),
    *(
        plain(name, shape)
        for name in [op.name for op in REGISTRY.values() if op.family == "activation" and op is not Softmax]
        for shape in (MAP, VECTOR)
    ),
    (LeakyRelu(0.2), (MAP,)),
    (Gelu("tanh"), (MAP,)),
    (Softmax(), (MAP,)),
    (Softmax("height"), (MAP,)),
    (Softmax("channels"), (MAP,)),
    (Softmax(), (VECTOR,)),
    (MaxPool(), (MAP,)),
    (MaxPool(2, 2, ceil=True), (MAP,)),
    (MaxPool(3, 2, 0), (MAP,)),
    (MaxPool(1, width=3, stride_width=2), (MAP,)),
    (MaxPool(3, 2, padding=-2), (MAP,)),
    (AvgPool(), (MAP,)),
    (AvgPool(2, 2), (MAP,)),
    (AvgPool(2, padding=-2), (MAP,)),
    (AvgPool(2, padding=-2, count_padding=True), (MAP,)),
    (AvgPool(3, width=1), (MAP,)),
    (AvgPool(3, 2, 1, count_padding=True, ceil=True), (MAP,)),
    (GlobalAvgPool(), (MAP,)),
    (GlobalMaxPool(), (MAP,)),
    (AdaptivePool(3, 5), (MAP,)),
    (AdaptivePool(2, 2), (MAP,)),
    (Upsample(12, 7), (MAP,)),
    (Upsample(12, 7, "bilinear"), (MAP,)),
    (Upsample(12, 7, "bicubic", align=True), (MAP,)),
    *((Mean(axis), (MAP,)) for axis in ("positions", "height", "width", "channels")),
    (Largest(), (MAP,)),
    (Largest("channels"), (MAP,)),
    (Length(), (MAP,)),
    (Length("channels"), (MAP,)),
    (Divide(), (MAP, (8, 1, 1))),
    (Add(), (MAP,)),
    (Add(), (MAP, MAP, (8, 1, 1))),
    (Add(), (VECTOR, VECTOR)),
    (Multiply(), (MAP, (8, 1, 1))),
    (Multiply(), ((8, 6, 1), (1, 1, 5), (8, 1, 1))),
    (Subtract(), (MAP, (1, 6, 5))),
    (Maximum(), (MAP, MAP, MAP)),
    plain("concat", MAP),
    plain("concat", MAP, (3, 6, 5), MAP),
    plain("concat", VECTOR, (3,)),
    plain("concat_tokens", TOKENS, (8, 1, 4)),
    (Chunk(4), (MAP,)),
    (Chunk(1), (MAP,)),
    (Split(2), (MAP,)),
    (Split(4), (VECTOR,)),
    (Slice(2, 7), (MAP,)),
    (Copy(3), (MAP,)),
    (Dropout(), (MAP,)),
    (DropPath(0.3), (MAP,)),
    (DropPath(), (VECTOR,)),
    (LayerScale(), (MAP,)),
    (LayerScale(0.5), (VECTOR,)),
    (Matmul1(), (MAP, MAP)),
    (Matmul1(), (MAP, (8, 2, 7))),
    (Matmul1(row_wise=True), (MAP, (8, 6, 3))),
    (Matmul2(), ((1, 30, 30), MAP)),
    (Matmul2(), ((1, 11, 30), MAP)),
    (Matmul2(row_wise=True), ((6, 5, 5), MAP)),
    (Matmul2(row_wise=True), ((6, 2, 5), MAP)),
    (RelPosBias(), ((1, 9, 9),)),
    (RelPosBias(2, 6), ((1, 12, 12),)),
    (RelPosBias(height=2), ((3, 6, 6),)),
    (RelPosBias(width=6), ((1, 12, 12),)),
    (RelPosBias(heads=2), ((4, 9, 9),)),
    (RelPosBias(2, 3, mirrored=True), ((1, 6, 6),)),
    (WindowMask(6, 4, 2, 1, heads=2), ((12, 4, 4),)),
    (Matmul1(row_wise=True, scale=0.3), (MAP, (8, 6, 3))),
    (Mask(), ((1, 9, 9),)),
    (Mask(1), ((2, 5, 7),)),
    (WindowMask(6, 4, 2, 1), ((6, 4, 4),)),
    plain("identity", MAP),
    (Reshape(4, 10, 6), (MAP,)),
    (Reshape(2, 4), (VECTOR,)),
    (Reshape(2), (MAP,)),
    *((Permute(order), (MAP,)) for order in ("cwh", "hcw", "hwc", "wch", "whc")),
    (Heads(4), (MAP,)),
    (Unheads(3), (MAP,)),
    (Learned(4, 2, 3), (MAP,)),
    (Learned(4, trainable=False), (VECTOR,)),
    (Zero(), (MAP,)),
    (Zero(2), (MAP,)),
    plain("flatten", MAP),
    plain("flatten", VECTOR),
    (Tokens(), (MAP,)),
    (Untokens(3, 3), (TOKENS,)),
    (Transpose(), (TOKENS,)),
    (Token(), (TOKENS,)),
    (Token(8), (TOKENS,)),
    (ClassToken(), (TOKENS,)),
    (PosEmbed(), (MAP,)),
    (PosEmbed(), (VECTOR,)),
    (ChannelShuffle(4), (MAP,)),
    (PixelShuffle(2), (MAP,)),
    (PixelUnshuffle(2), ((8, 6, 4),)),
    (Pad(1, 2, 3, 0), (MAP,)),
    (Pad(1, 2, 3, 0, "one"), (MAP,)),
    (Pad(1, 2, 3, 0, "reflect"), (MAP,)),
    (Crop(2, 3, 1, 2), (MAP,)),
    (Roll(-1, 7), (MAP,)),
    (WindowPartition(2), ((8, 6, 4),)),
    (WindowMerge(2, 6, 4), ((8, 6, 4),)),
]
IDS = [f"{op} on {' and '.join('x'.join(map(str, shape)) for shape in shapes)}" for op, shapes in EXAMPLES]
NEVER_BUILT = {"foreign"}  # a stand-in that is drawn and counted; see tests/interop/test_import.py
BUILT = [name for name in REGISTRY if name not in NEVER_BUILT]
one_of_each = [next(example for example in EXAMPLES if example[0].name == name) for name in BUILT]

every_example = pytest.mark.parametrize(("op", "shapes"), EXAMPLES, ids=IDS)
every_operation = pytest.mark.parametrize(("op", "shapes"), one_of_each, ids=BUILT)


# -- the contract --------------------------------------------------------------------------------------------


def test_every_operation_has_an_example():
    assert {op.name for op, _ in EXAMPLES} == set(BUILT)


def test_every_family_has_operations():
    assert {op.family for op in REGISTRY.values()} == set(FAMILIES)


def test_a_card_fits_a_screen():
    cards = {
        node.name: node.end_lineno - node.lineno
        for path in Path(ops.__file__).parent.glob("*.py")
        if path.stem not in ("op", "reference")  # what all cards share
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
    # A convolution and a table of offsets have many dials; every other operation is a card.
    assert {name for name, lines in cards.items() if lines > 40} <= {"Conv", "RelPosBias"}


SLOW = (testing.exports, testing.differentiates_forwards)  # one example of each operation is enough
QUICK = [check for check in testing.OPERATION_CHECKS if check not in SLOW]


@pytest.mark.parametrize("check", QUICK, ids=lambda check: check.__name__)
@every_example
def test_an_operation_keeps_its_contract(check, op, shapes):
    check(op, shapes)


@every_operation
def test_an_operation_is_exported_and_differentiated(op, shapes):
    testing.check_operation(op, *shapes)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_module_that_nobody_can_stack_is_refused():
    with pytest.raises(TypeError, match="no way to stack PReLU"):
        layers.stacked(nn.PReLU(), 2)


# -- attributes and shapes that do not fit -------------------------------------------------------------------

WRONG_ATTRIBUTES = [
    (lambda: Conv(0), "expected out to be an integer of at least 1, but got 0"),
    (lambda: Conv(8, stride=0), "expected stride to be an integer of at least 1, but got 0"),
    (lambda: Conv(8, padding=-3), "expected padding to be an integer of at least -2, but got -3"),
    (lambda: Conv(True), "expected out to be an integer of at least 1, but got true"),
    (lambda: Conv(8.0), "expected out to be an integer of at least 1, but got 8.0"),
    (lambda: Conv(8, bias=1), "expected bias to be true or false, but got 1"),
    (lambda: Dropout(1.5), "expected p to be a number from 0 to 1, but got 1.5"),
    (lambda: LeakyRelu(math.nan), "expected slope to be a number, but got nan"),
    (lambda: Gelu("erf"), "expected approximate to be none or tanh, but got erf"),
    (lambda: Chunk(MAX_PORTS + 1), "expected n to be an integer from 1 to 4096, but got 4097"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "family", "kind", "message"),
    [
        (
            "odd",
            "pools",
            int,
            r"UNI140.*expected a family of operations for odd, but got pools(.|\n)*did you mean 'pool'",
        ),
        ("relu", "activation", int, "UNI011.*named relu: one of uninas.ops.activation"),
        ("odd", "pool", list, "UNI140.*expected the attribute size to be int, float, bool or str, but got list"),
        ("odd", "pool", str, "UNI140.*expected choices for the attribute size, whose values are words"),
    ],
)
def test_an_operation_from_outside_that_cannot_be_one_is_told(name, family, kind, message):
    with REGISTRY.restored(), pytest.raises(UninasError, match=message):
        type("Odd", (Op,), {"__annotations__": {"size": kind}, "size": attr("a size")}, name=name, family=family)


@pytest.mark.parametrize(("make", "message"), WRONG_ATTRIBUTES)
def test_a_wrong_attribute_is_explained(make, message):
    with pytest.raises(ShapeError) as caught:
        make()
    assert str(caught.value) == message


WRONG_SHAPES = [
    (Conv(8), [VECTOR], "expected an input of shape C x H x W, but got a vector of 8"),
    (Conv(9, groups=3), [MAP], "expected input and output channels that 3 groups divide, but got 8 and 9"),
    (Conv(8, 5, padding=1), [(8, 2, 9)],
     "expected a length of at least 3 for kernel 5, dilation 1 and padding 1, but got 2"),
    (Conv(2**40, 1), [MAP], f"expected a tensor of at most 2^40 elements, but got {2**40} x 6 x 5"),
    (DepthwiseConv(3, padding=0), [(8, 2, 2)],
     "expected a length of at least 3 for kernel 3, dilation 1 and padding 0, but got 2"),
    (Linear(3), [MAP], "expected a vector or C x 1 x 1 (global_avg_pool or flatten), but got 8 x 6 x 5"),
    (GroupNorm(3), [MAP], "expected channels that 3 groups divide, but got 8"),
    (Softmax("height"), [VECTOR], "expected an input with a height, but got a vector of 8"),
    (MaxPool(3, padding=2), [MAP], "expected a padding of at most half the kernel of 3, but got 2"),
    (AvgPool(9, padding=0), [MAP],
     "expected a length of at least 9 for kernel 9, dilation 1 and padding 0, but got 6"),
    (Add(), [], "expected 1 or more inputs for add, but got 0"),
    (Subtract(), [MAP], "expected 2 inputs for subtract, but got 1"),
    (Conv(8), [MAP, MAP], "expected 1 input for conv, but got 2"),
    (Add(), [MAP, (4, 6, 5)],
     "expected inputs of equal shape (an axis of size 1 fits any), but got 8 x 6 x 5 and 4 x 6 x 5"),
    (Multiply(), [MAP, VECTOR],
     "expected inputs of equal shape (an axis of size 1 fits any), but got 8 x 6 x 5 and 8"),
    (REGISTRY["concat"](), [MAP, (8, 6, 4)],
     "expected inputs that differ in channels only, but got 8 x 6 x 5 and 8 x 6 x 4"),
    (REGISTRY["concat_tokens"](), [MAP, MAP], "expected tokens C x 1 x N of equally many channels, but got 8 x 6 x 5"),
    (REGISTRY["concat_tokens"](), [TOKENS, (7, 1, 9)],
     "expected tokens C x 1 x N of equally many channels, but got 8 x 1 x 9 and 7 x 1 x 9"),
    (Chunk(3), [MAP], "expected channels that 3 parts divide, but got 8"),
    (Split(3), [MAP], "expected channels that parts of 3 divide, but got 8"),
    (Split(1), [(5000, 1, 1)], "expected at most 4096 parts, but got 5000"),
    (Slice(3, 9), [MAP], "expected start < stop <= 8 channels, but got 3 and 9"),
    (Slice(4, 4), [MAP], "expected start < stop <= 8 channels, but got 4 and 4"),
    (Matmul1(), [MAP, (4, 6, 5)], "expected inputs with equal channels, but got 8 x 6 x 5 and 4 x 6 x 5"),
    (Matmul1(row_wise=True), [MAP, (8, 5, 6)],
     "expected inputs with equal channels and rows, but got 8 x 6 x 5 and 8 x 5 x 6"),
    (Matmul2(), [(1, 30, 29), MAP], "expected a map 1 x P x 30 beside values 8 x 6 x 5, but got 1 x 30 x 29"),
    (Matmul2(row_wise=True), [(1, 5, 5), MAP], "expected a map 6 x P x 5 beside values 8 x 6 x 5, but got 1 x 5 x 5"),
    (RelPosBias(), [(1, 8, 8)], "expected a map between the positions of a square grid, but got 1 x 8 x 8"),
    (RelPosBias(), [(1, 9, 8)], "expected a map between the positions of a square grid, but got 1 x 9 x 8"),
    (RelPosBias(height=3), [(1, 8, 8)], "expected a map between the positions of a 3 x ? grid, but got 1 x 8 x 8"),
    (RelPosBias(3, 3), [VECTOR], "expected a map of shape C x H x W, but got a vector of 8"),
    (WindowMask(6, 4, 2, 2), [(6, 4, 4)],
     "expected an image that windows of 2 tile, and a smaller shift, but got 6 x 4 and 2"),
    (WindowMask(6, 4, 2, 1), [(1, 4, 4)], "expected a map 6 x 4 x 4, but got 1 x 4 x 4"),
    (Untokens(3, 2), [TOKENS], "expected 6 tokens for 3 x 2, but got 9"),
    (Transpose(), [MAP], "expected tokens C x 1 x N, but got 8 x 6 x 5"),
    (Token(9), [TOKENS], "expected a position below 9, but got 9"),
    (ClassToken(), [MAP], "expected tokens C x 1 x N, but got 8 x 6 x 5"),
    (ChannelShuffle(3), [MAP], "expected channels that 3 groups divide, but got 8"),
    (PixelShuffle(3), [MAP], "expected channels that 3^2 divides, but got 8"),
    (PixelUnshuffle(2), [MAP], "expected a height and width that 2 divides, but got 6 x 5"),
    (Crop(4, 5, 3, 0), [MAP], "expected a rectangle inside 6 x 5, but got rows 3 to 7 and columns 0 to 5"),
    (WindowPartition(2), [MAP], "expected a map that windows of 2 tile, but got 6 x 5"),
    (WindowMerge(2, 6, 5), [(8, 6, 4)], "expected a map that windows of 2 tile, but got 6 x 5"),
    (WindowMerge(2, 6, 4), [(8, 5, 4)], "expected C x 6 x 4, but got 8 x 5 x 4"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "shapes", "message"), WRONG_SHAPES, ids=lambda value: str(value)[:40])
def test_a_wrong_shape_is_explained(op, shapes, message):
    with pytest.raises(ShapeError) as caught:
        op.outputs(*shapes)
    assert str(caught.value) == message


shapes_of_any_kind = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 40)),
        st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12)),
        st.tuples(*[st.integers(1, MAX_SIZE)] * 3),
    ),
    min_size=1,
    max_size=3,
)


@given(shapes_of_any_kind, st.sampled_from([op for op, _ in EXAMPLES]))
def test_a_shape_rule_gives_shapes_or_a_sentence(shapes, op):
    found, sentence = (), ""
    try:
        found = op.outputs(*shapes)
    except ShapeError as problem:
        sentence = str(problem)
    if found:
        assert all(len(shape) in (1, 3) and min(shape) >= 1 for shape in found)
        cost = op.cost(*shapes)
        assert min(cost.params, cost.macs, cost.elementwise) >= 0
    else:
        assert sentence.startswith("expected ") and ", but got " in sentence


# -- sliding windows -----------------------------------------------------------------------------------------


@given(st.integers(1, 14), st.integers(1, 5), st.integers(1, 4), st.integers(-1, 3), st.integers(1, 3), st.booleans())
def test_the_number_of_windows_is_torchs(length, kernel, stride, padding, dilation, ceil):
    x = torch.empty(1, 1, length, length, device="meta")
    pad = padding if padding >= 0 else (kernel - 1) * dilation // 2
    if ceil:  # torch knows `ceil` in pooling only
        pad = min(pad, kernel // 2)
        dilation = 1
        layer = nn.AvgPool2d(kernel, stride, pad, ceil_mode=True)
    else:
        layer = nn.Conv2d(1, 1, kernel, stride, pad, dilation, device="meta")
    try:
        wanted = layer(x).shape[-1]
    except RuntimeError:
        with pytest.raises(ShapeError, match="expected a length of at least"):
            window_steps(length, kernel, stride, pad, dilation, ceil)
    else:
        assert window_steps(length, kernel, stride, pad, dilation, ceil) == wanted


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("dilation", [1, 2])
def test_the_default_padding_keeps_the_size_for_odd_kernels(kernel, dilation):
    for op in (Conv(8, kernel, dilation=dilation), DepthwiseConv(kernel, dilation=dilation)):
        assert op.outputs(MAP) == (MAP,)
    assert MaxPool(kernel).outputs(MAP) == AvgPool(kernel).outputs(MAP) == (MAP,)


@pytest.mark.parametrize(("length", "kernel", "stride"), [(6, 3, 2), (7, 3, 2), (9, 2, 1), (224, 7, 4)])
def test_the_padding_of_tensorflow_gives_a_window_for_every_step_and_the_odd_zero_at_the_end(length, kernel, stride):
    before, after = window_sides(length, kernel, stride, -2)
    assert after - before in (0, 1)
    assert window_steps(length, kernel, stride, -2) == -(-length // stride)
    assert (length + before + after - kernel) // stride + 1 == -(-length // stride)


def test_uneven_padding_is_that_of_a_padded_map():
    x = inputs((MAP,))[0]
    for op in (Conv(4, 3, stride=2, padding=-2), DepthwiseConv(4, padding=-2), MaxPool(2, padding=-2)):
        (top, left), (bottom, right) = sides(MAP, *([op.kernel] * 2, [op.stride] * 2), -2)
        layer = emit(op, (MAP,))
        plain = emit(op.having(padding=0), ((8, 6 + top + bottom, 5 + left + right),))
        if isinstance(layer, nn.Module):
            plain.load_state_dict(layer.state_dict())
        around = F.pad(x, (left, right, top, bottom), value=-9e9 if isinstance(op, MaxPool) else 0)
        torch.testing.assert_close(layer(x), plain(around))


def test_standardised_kernels_have_mean_0_and_variance_1():
    layer = emit(Conv(4, 3, standardise=True, bias=False), (MAP,))
    x = inputs((MAP,))[0]
    kernels = layer.weight - layer.weight.mean((1, 2, 3), keepdim=True)
    kernels = kernels / kernels.square().mean((1, 2, 3), keepdim=True).sqrt()
    torch.testing.assert_close(layer(x), F.conv2d(x, kernels, padding=1), rtol=1e-3, atol=1e-3)


def test_a_fold_counts_how_many_windows_cover_a_position():
    taken = emit(Unfold(3), (MAP,))(torch.ones(1, *MAP))
    put = emit(Fold(6, 5, 3), ((72, 6, 5),))(taken)
    assert put[0, 0, 2, 2] == 9 and put[0, 0, 0, 0] == 4


def test_a_blur_keeps_what_is_constant():
    out = emit(Blur(5, padding=0), (MAP,))(torch.ones(1, *MAP))
    torch.testing.assert_close(out, torch.ones(1, 8, 2, 1))


def test_a_flat_kernel_is_as_high_and_wide_as_written():
    conv = emit(Conv(4, 1, width=7), (MAP,))
    assert conv.kernel_size == (1, 7) and conv.padding == (0, 3)


# -- values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [MAP, (8, 2, 7)])
def test_matmul1_is_its_formula(other):
    x, y = inputs((MAP, other))
    wanted = torch.einsum("bcp,bcq->bpq", x.flatten(2), y.flatten(2)) / math.sqrt(MAP[0])
    torch.testing.assert_close(emit(Matmul1(), (MAP, other))(x, y), wanted[:, None])


def test_matmul1_by_rows_is_matmul1_of_every_row():
    x, y = inputs((MAP, (8, 6, 3)))
    rows = [layers.matmul1(x[:, :, r : r + 1], y[:, :, r : r + 1]) for r in range(6)]
    torch.testing.assert_close(emit(Matmul1(row_wise=True), (MAP, (8, 6, 3)))(x, y), torch.cat(rows, 1))


@pytest.mark.parametrize("queries", [30, 11])
def test_matmul2_is_its_formula(queries):
    a, y = inputs(((1, queries, 30), MAP))
    wanted = torch.einsum("bpq,bcq->bcp", a[:, 0], y.flatten(2))
    result = emit(Matmul2(), ((1, queries, 30), MAP))(a, y)
    assert result.shape[2:] == ((6, 5) if queries == 30 else (1, 11))
    torch.testing.assert_close(result.flatten(2), wanted)


def test_matmul2_by_rows_is_matmul2_of_every_row():
    a, y = inputs(((6, 2, 5), MAP))
    wanted = torch.einsum("brpq,bcrq->bcrp", a, y)
    torch.testing.assert_close(emit(Matmul2(row_wise=True), ((6, 2, 5), MAP))(a, y), wanted)


@pytest.mark.parametrize("row_wise", [False, True])
@pytest.mark.parametrize("parts", [0, 3])
def test_fused_attention_equals_the_four_operations(row_wise, parts):
    shapes = MAP, MAP, (4, *MAP[1:])
    x, y, v = inputs(shapes, batch=2 * max(parts, 1))
    (scores,) = Matmul1(row_wise).outputs(MAP, MAP)
    op = RelPosBias(*((1, 5) if row_wise else MAP[1:]))
    bias = op.emit_stacked(layers, parts, scores) if parts else op.emit(layers, scores)
    layers.initialise(bias, "default", seeded())
    bias.bias.table.data.mul_(50)  # as large as the scores
    keywords = dict(Matmul2(row_wise).emit(layers, scores, shapes[2]).keywords)
    wanted = layers.matmul2(bias(layers.matmul1(x, y, row_wise)).softmax(-1), v, **keywords)
    torch.testing.assert_close(layers.attention(x, y, v, bias.bias(), None, **keywords), wanted)
    unbiased = layers.matmul2(layers.matmul1(x, y, row_wise).softmax(-1), v, **keywords)
    torch.testing.assert_close(layers.attention(x, y, v, None, None, **keywords), unbiased)


@pytest.mark.parametrize(("h", "w"), [(3, 3), (2, 4), (1, 5)])
def test_rel_pos_bias_looks_up_the_offset_from_key_to_query(h, w):
    positions = [(row, column) for row in range(h) for column in range(w)]
    shape = (2, h * w, h * w)
    module = emit(RelPosBias(h, w), (shape,))
    (x,) = inputs((shape,))
    wanted = x.clone()
    for (p, (row, column)), (q, (key_row, key_column)) in itertools.product(enumerate(positions), repeat=2):
        index = (row - key_row + h - 1) * (2 * w - 1) + column - key_column + w - 1
        wanted[:, :, p, q] += module.bias.table[index]
    torch.testing.assert_close(module(x), wanted)


def test_mask_keeps_a_band():
    shape = (2, 9, 12)
    (x,) = inputs((shape,))
    wanted = x * torch.tensor([[float(abs(row - column) <= 5) for column in range(12)] for row in range(9)])
    torch.testing.assert_close(emit(Mask(), (shape,))(x), wanted)


def test_windows_are_cut_row_by_row_and_put_back():
    x = torch.arange(24.0).reshape(1, 1, 4, 6)
    cut = emit(WindowPartition(2), ((1, 4, 6),))(x)
    assert cut[0, 0, 0].tolist() == [0, 1, 6, 7]
    assert cut[0, 0, 1].tolist() == [2, 3, 8, 9]
    assert cut[0, 0, 3].tolist() == [12, 13, 18, 19]
    assert torch.equal(emit(WindowMerge(2, 4, 6), ((1, 6, 4),))(cut), x)


@pytest.mark.parametrize(("h", "w", "window", "shift"), [(6, 4, 2, 1), (8, 8, 4, 2), (9, 6, 3, 1), (4, 4, 2, 0)])
def test_window_mask_parts_what_the_shift_brought_together(h, w, window, shift):
    """Two positions of a window may see each other if they are as far apart in the image as in the window."""
    image = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))[None].float()
    rolled = emit(Roll(-shift, -shift), ((2, h, w),))(image)
    row, column = layers.window_partition(rolled, window)[0]
    inside = torch.arange(window * window)
    apart_row = (inside // window)[:, None] - inside // window
    apart_column = (inside % window)[:, None] - inside % window
    neighbours = (row[:, :, None] - row[:, None] == apart_row) & (column[:, :, None] - column[:, None] == apart_column)
    shape = (h * w // window**2, window**2, window**2)
    mask = emit(WindowMask(h, w, window, shift), (shape,))(torch.zeros(1, *shape))[0]
    assert torch.equal(mask, torch.where(neighbours, 0.0, -100.0))


@pytest.mark.parametrize(("axis", "dim"), [("width", 3), ("height", 2), ("channels", 1)])
def test_softmax_sums_to_one_along_its_axis(axis, dim):
    (x,) = inputs((MAP,))
    result = emit(Softmax(axis), (MAP,))(x)
    torch.testing.assert_close(result, x.exp() / x.exp().sum(dim, keepdim=True))


def test_layer_norm_normalises_every_position():
    (x,) = inputs((MAP,))
    result = emit(LayerNorm(eps=0.0), (MAP,))(x)
    torch.testing.assert_close(result.mean(1), torch.zeros(2, 6, 5), atol=1e-6, rtol=0)
    torch.testing.assert_close(result.var(1, unbiased=False), torch.ones(2, 6, 5))


def test_sums_and_products_broadcast():
    x, y = inputs((MAP, (8, 1, 1)))
    assert torch.equal(emit(Add(), (MAP, (8, 1, 1)))(x, y), x + y.expand_as(x))
    assert torch.equal(emit(Multiply(), (MAP, (8, 1, 1)))(x, y), x * y.expand_as(x))
    assert torch.equal(emit(Subtract(), ((8, 1, 1), MAP))(y, x), y.expand_as(x) - x)
    assert torch.equal(emit(Maximum(), (MAP, (8, 1, 1)))(x, y), torch.where(x > y, x, y.expand_as(x)))


def test_chunks_concatenate_to_the_input():
    (x,) = inputs((MAP,))
    for op in (Chunk(4), Split(2)):
        assert torch.equal(layers.concat(*emit(op, (MAP,))(x)), x)
    assert torch.equal(emit(Slice(2, 7), (MAP,))(x), x[:, 2:7])


def test_roll_is_cyclic():
    (x,) = inputs((MAP,))
    result = emit(Roll(-1, 7), (MAP,))(x)
    assert torch.equal(result[:, :, 5, 2], x[:, :, 0, 0])


def test_pad_crop_and_tokens_are_undone_by_their_counterparts():
    (x,) = inputs((MAP,))
    padded = emit(Pad(1, 2, 3, 4), (MAP,))(x)
    assert padded.abs().sum() == x.abs().sum()
    assert torch.equal(emit(Crop(6, 5, 1, 3), ((8, 9, 12),))(padded), x)
    assert torch.equal(emit(Untokens(6, 5), ((8, 1, 30),))(emit(Tokens(), (MAP,))(x)), x)


def test_pixel_and_channel_shuffles_are_torchs():
    (x,) = inputs(((8, 6, 4),))
    assert torch.equal(emit(ChannelShuffle(4), ((8, 6, 4),))(x), F.channel_shuffle(x, 4))
    assert torch.equal(layers.PixelShuffle(2)(emit(PixelUnshuffle(2), ((8, 6, 4),))(x)), x)


def test_tokens_are_prepended_and_picked():
    module = emit(ClassToken(), (TOKENS,))
    (x,) = inputs((TOKENS,))
    longer = module(x)
    assert torch.equal(longer[..., 1:], x)
    first = emit(Token(), ((8, 1, 10),))(longer)
    assert torch.equal(first, module.weight.expand(2, 8, 1, 1))
    assert emit(Transpose(), (TOKENS,))(x)[1, 4, 0, 7] == x[1, 7, 0, 4]


@pytest.mark.parametrize("channels", [2, 7])
def test_a_zero_may_have_other_channels(channels):
    op = Zero(2, channels)
    x = torch.ones(1, 3, 5, 5, requires_grad=True)
    made = emit(op, ((3, 5, 5),))(x)
    assert made.shape == (1, *op.outputs((3, 5, 5))[0]) == (1, channels, 3, 3) and not made.any()
    made.sum().backward()
    assert x.grad is not None and op.canonical != Zero(2).canonical


def test_a_zero_passes_nothing_but_is_connected():
    (x,) = inputs((MAP,))
    x.requires_grad_()
    result = emit(Zero(2), (MAP,))(x)
    result.sum().backward()
    assert not result.any() and not x.grad.any()


def test_pooling_ignores_padding_unless_told():
    ones = torch.ones(1, *MAP)
    assert torch.equal(emit(AvgPool(), (MAP,))(ones), ones)
    assert emit(AvgPool(count_padding=True), (MAP,))(ones)[0, 0, 0, 0] == pytest.approx(4 / 9)
    assert torch.equal(emit(MaxPool(), (MAP,))(-ones), -ones)


def test_drop_path_keeps_the_expectation_and_drops_whole_samples():
    op, x = DropPath(0.3), torch.ones(4000, 2, 1, 1)
    module = emit(op, ((2, 1, 1),))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        result = module(x)
    assert torch.equal(result[:, 0], result[:, 1])
    kept = result[result != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / 0.7))
    # The mean of n samples has a standard deviation of sqrt(p / (1 - p) / n); five of them are no accident.
    assert abs(result.mean() - 1) < 5 * math.sqrt(0.3 / 0.7 / 4000)
    assert module.eval()(x) is x
    assert not emit(replace(op, p=1.0), ((2, 1, 1),))(x).any()


# -- initial weights -----------------------------------------------------------------------------------------


def weights_of(op: Op, shape: Shape, scheme: str) -> tuple[torch.Tensor, torch.Tensor]:
    module = op.emit(layers, shape)
    layers.initialise(module, scheme, seeded())
    return module.weight.detach(), module.bias.detach()


CONV = Conv(256, 3, groups=4), (128, 4, 4)  # fan-in 32 * 9, fan-out 64 * 9 of each group
DENSE = Linear(512), (300,)


@pytest.mark.parametrize(
    ("scheme", "layer", "std"),
    [
        ("default", CONV, math.sqrt(2 / (64 * 9))),
        ("default", DENSE, 0.02),
        ("kaiming_fan_out", DENSE, math.sqrt(2 / 512)),
        ("kaiming_fan_in", CONV, math.sqrt(2 / (32 * 9))),
        ("xavier", CONV, math.sqrt(2 / (32 * 9 + 64 * 9))),
        ("xavier", DENSE, math.sqrt(2 / 812)),
        ("trunc_normal", CONV, 0.02),
        ("torch", CONV, math.sqrt(1 / 3 / (32 * 9))),
        ("torch", DENSE, math.sqrt(1 / 3 / 300)),
    ],
)
def test_weights_have_the_deviation_of_their_scheme(scheme, layer, std):
    weight, bias = weights_of(*layer, scheme)
    # The relative error of a standard deviation over n draws is about 1 / sqrt(2 n).
    assert weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * weight.numel()))
    assert bool(bias.any()) == (scheme == "torch")


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.Linear])
def test_the_torch_scheme_draws_as_torch_does(kind):
    arguments = (96, 128, 3) if kind is nn.Conv2d else (300, 512)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wanted = kind(*arguments)
    ours = kind(*arguments)
    layers.initialise(ours, "torch", seeded())
    assert ours.weight.abs().max().item() == pytest.approx(wanted.weight.abs().max().item(), rel=1e-3)
    assert ours.weight.std().item() == pytest.approx(wanted.weight.std().item(), rel=1e-2)
    assert ours.bias.std().item() == pytest.approx(wanted.bias.std().item(), rel=0.2)


@pytest.mark.parametrize(("op", "shapes"), [(op, shapes) for op, shapes in EXAMPLES if op.params(*shapes)])
def test_every_weight_is_initialised_and_only_by_the_generator(op, shapes):
    made = op.emit(layers, *shapes)
    states = []
    for filler, scheme in itertools.product((math.nan, 1e9), initial.SCHEMES):
        for value in (*made.parameters(), *made.buffers()):
            if value.is_floating_point():
                value.data.fill_(filler)
        layers.initialise(made, scheme, seeded(7))
        states.append({name: value.clone() for name, value in made.state_dict().items()})
        assert all(value.abs().max() < 100 for value in states[-1].values())
    half = len(initial.SCHEMES)
    assert all(torch.equal(a[k], b[k]) for a, b in zip(states[:half], states[half:], strict=True) for k in a)


def test_stacked_layers_begin_like_single_ones():
    conv, shape = CONV
    whole = conv.emit_stacked(layers, 4, shape)
    layers.initialise(whole, "default", seeded())
    single, _ = weights_of(conv, shape, "default")
    assert whole.weight.std().item() == pytest.approx(single.std().item(), rel=5 / math.sqrt(2 * single.numel()))


def test_an_unknown_scheme_is_explained():
    with pytest.raises(UninasError) as caught:
        layers.initialise(nn.Linear(1, 1), "kaiming_fanout", seeded())
    assert caught.value.code == "UNI060"
    assert "expected init to be default, kaiming_normal_fan_in" in str(caught.value)
    assert "did you mean 'kaiming_fan_out'?" in str(caught.value)


def test_layers_hold_torchs_own_types():
    """Tools that look for exact types, such as quantisation, must find them."""
    assert type(Conv(4).emit(layers, MAP)) is nn.Conv2d
    assert type(Linear(4).emit(layers, VECTOR)) is nn.Linear
