"""Torch modules come in as text: the same parameters, FLOPs and numbers, in as few lines as a person would write."""

import os
import random
import re

import numpy as np
import onnxruntime
import pytest
import torch
from helpers.commands import succeed
from onnx import helper, numpy_helper
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import uninas
from uninas.backend import layers
from uninas.backend.export import to_onnx, to_python
from uninas.backend.trace import carried, import_module, names_json
from uninas.errors import UninasError
from uninas.graph import Wire
from uninas.interop import read_json
from uninas.interop.imported import Imported
from uninas.interop.onnx import read_onnx
from uninas.interop.python import text_in
from uninas.interop.views import Batch, Factor, Foreign, View, made, route, shape_of
from uninas.language.elaborate import check
from uninas.language.library import load_text


def imported(module: nn.Module, shape: tuple[int, ...], name: str = "net") -> Imported:
    """The import of a module, held to it: parameters, FLOPs, logits, key."""
    found = import_module(module, shape, name)
    graph = uninas.load(found.text)
    assert graph.key == found.graph.key and graph == found.graph
    assert uninas.load(uninas.dumps(graph)).key == graph.key
    assert graph.cost.params == sum(p.numel() for p in module.parameters())
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        module(x[:1])
    assert counter.get_total_flops() <= graph.cost.flops  # on the CPU fused attention is not counted
    copy = carried(found, module.state_dict(), uninas.compile(graph)).eval()
    with torch.no_grad():
        torch.testing.assert_close(copy(x), module(x), rtol=1e-4, atol=1e-5)
    return found


class Gate(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, channels // 4, 1), nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x):
        return x * self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class Residual(nn.Module):
    def __init__(self, width: int, out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(width, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())
        self.gate = Gate(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Conv2d(width, out, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        return torch.relu(self.conv2(self.gate(self.conv1(x))) + self.skip(x))


class Attention(nn.Module):
    """Attention as most people write it: fused qkv, heads by a reshape, the product of torch."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm, self.qkv, self.proj = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        found = nn.functional.scaled_dot_product_attention(q, k, v)
        return x + self.proj(found.transpose(1, 2).reshape(b, n, c))


class Hybrid(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.layer1 = nn.Sequential(Residual(16, 16, 1), Residual(16, 16, 1))
        self.layer2 = nn.Sequential(Residual(16, 32, 2), Residual(32, 32, 1))
        self.cls = nn.Parameter(torch.randn(1, 1, 32))
        self.pos = nn.Parameter(torch.randn(1, 65, 32))
        self.blocks = nn.Sequential(Attention(32, 4), Attention(32, 4), Attention(32, 4))
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = self.layer2(self.layer1(self.stem(x))).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls.expand(len(x), -1, -1), x), 1) + self.pos
        return self.head(self.blocks(x)[:, 0])


def seeded(make):
    torch.manual_seed(0)
    module = make().eval()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return module


def test_a_module_becomes_readable_text():
    found = imported(seeded(Hybrid), (3, 32, 32), "hybrid")
    assert len(found.text.splitlines()) <= 45
    assert "stage 16 x 2 { Residual" in found.text and "stage 32 x 3 { Attention }" in found.text
    assert found.text.count("block Attention") == 1 and not found.left


class Dense(nn.Module):
    """A dense block as torchvision has it: each layer takes a list of all that was made before."""

    def __init__(self, width: int, growth: int, count: int):
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(width + n * growth, growth) for n in range(count))

    def forward(self, x):
        found = [x]
        for layer in self.layers:
            found.append(layer(found))
        return torch.cat(found, 1)


class DenseLayer(nn.Module):
    def __init__(self, width: int, growth: int):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(width), nn.Conv2d(width, growth, 3, padding=1)

    def forward(self, found):
        return self.conv(torch.relu(self.norm(torch.cat(found, 1))))


def written(found: Imported) -> list[str]:
    """The lines of a text that say something, without those of the network."""
    return [line.strip() for line in found.text.partition("\nnetwork ")[0].splitlines() if line.strip()]


def test_layers_that_take_all_that_was_made_before_are_alike():
    found = imported(
        seeded(lambda: nn.Sequential(nn.Conv2d(3, 8, 3), Dense(8, 4, 5), nn.Conv2d(28, 3, 1))), (3, 16, 16)
    )
    lines = ["block DenseLayer {", "out = (in, in -> batch_norm -> relu -> conv(4)) -> concat", "}"]
    assert written(found) == lines
    assert "stage 28 x 5 { DenseLayer }" in found.text


class Inverted(nn.Module):
    """A bottleneck that adds what it was given where the sizes allow it."""

    def __init__(self, width: int, out: int, stride: int):
        super().__init__()
        self.widen, self.norm = nn.Conv2d(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.deep = nn.Conv2d(4 * width, 4 * width, 3, stride, 1, groups=4 * width)
        self.narrow = nn.Conv2d(4 * width, out, 1)
        self.adds = stride == 1 and width == out

    def forward(self, x):
        y = self.narrow(torch.relu(self.deep(torch.relu(self.norm(self.widen(x))))))
        return x + y if self.adds else y


def test_a_block_with_a_sum_around_it_is_that_block_and_a_sum():
    layers = [Inverted(16, 24, 2), Inverted(24, 24, 1), Inverted(24, 32, 2), Inverted(32, 32, 1)]
    found = imported(seeded(lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.Sequential(*layers))), (3, 34, 34))
    assert "out = in + (in -> Inverted(C, 1))" in written(found)
    assert sum("depthwise_conv" in line for line in written(found)) == 1


class Twice(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.point = nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.deep = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        y = self.point(x)
        return x + y * self.deep(y)


def test_a_short_chain_without_a_name_stands_where_it_is_used():
    found = imported(
        seeded(lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.Sequential(Twice(16), Twice(16)))), (3, 18, 18)
    )
    assert "Sequential" not in found.text
    assert written(found)[1].endswith("in -> conv(C, 1) -> batch_norm -> relu")


class Pooled(nn.Module):
    """A learned token that looks at a row of blocks, as CaiT has it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.blocks = nn.Sequential(Twice(16), Twice(16), Twice(16))
        self.token, self.head = nn.Parameter(torch.randn(1, 1, 16)), nn.Linear(16, 10)

    def forward(self, x):
        x = self.blocks(self.stem(x)).flatten(2).transpose(1, 2)
        return self.head(torch.cat((self.token.expand(len(x), -1, -1), x), 1).mean(1))


def test_a_learned_tensor_takes_what_it_stands_beside():
    text = imported(seeded(Pooled), (3, 32, 32)).text
    assert "stage 16 x 3 { Twice }" in text and "stem conv(16, 4, 4, 0)" in text


class Lanes(nn.Module):
    """Two ways from the image to the end, so that no part of it is a row."""

    def __init__(self):
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), Twice(16))
        self.other = nn.Sequential(nn.Conv2d(3, 16, 5, padding=2), Twice(16))
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        return self.head((self.one(x) + self.other(x)).mean((2, 3)))


def test_a_search_changes_the_body_of_a_network_without_stages(tmp_path):
    start, folder = tmp_path / "start.uni", tmp_path / "run"
    text = imported(seeded(Lanes), (3, 16, 16), "lanes").text
    assert "section body" in text and "head global_avg_pool -> linear(10)" in text
    start.write_text(text, encoding="utf-8")
    succeed("search", "UniNAS", "--start", start, "--proxy", "params", "--iterations", 4, "-o", folder)
    assert len({one.key for one in uninas.open_run(folder).candidates()}) == 5


class Halves(nn.Module):
    """Rows of a fixed number of tokens, which other sizes do not divide into."""

    def forward(self, x):
        b, c, h, w = x.shape
        return x + x.reshape(b, c, 9, h * w // 9).softmax(-1).reshape(b, c, h, w)


def test_blocks_name_their_input_only_where_no_other_would_do():
    layers = [Halves(), Residual(16, 16, 1), Halves(), Residual(16, 16, 1)]
    found = imported(seeded(lambda: nn.Sequential(nn.Conv2d(3, 16, 1), nn.Sequential(*layers))), (3, 18, 18))
    assert [line for line in written(found) if line.startswith("input")] == ["input 16 x 18 x 18"]
    assert "input 16 x 18 x 18" in found.text.partition("block Halves {\n")[2].partition("}")[0]
    check(load_text(found.text))


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "test_convnext", "test_resnet"])
def test_models_of_timm_come_in(name):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    imported(timm.create_model(name, img_size=64).eval() if name == "test_vit" else timm.create_model(name).eval(),
             (3, 64, 64), name)  # fmt: skip


def test_what_is_missing_is_listed_with_its_place():
    class Chirp(nn.Module):
        def forward(self, x):
            return torch.fft.fft2(x).real

    with pytest.raises(UninasError, match=r"error\[UNI054\].*fft.*at 1") as caught:
        uninas.from_module(nn.Sequential(nn.Conv2d(3, 4, 3), Chirp(), nn.ReLU(), Chirp()), (3, 8, 8))
    assert "calls came in before the first of them" in str(caught.value)


class Chirping(nn.Module):
    """A layer that has no operation here, between layers that have one, and a transform of three axes."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)
        self.deep = nn.Conv3d(1, 1, 3, padding=1)

    def forward(self, x):
        x = self.deep(self.first(x).unsqueeze(1)).squeeze(1)
        return self.last(torch.fft.fft2(x).real)


def test_a_partial_import_is_drawn_and_counted_but_not_built(tmp_path):
    module = seeded(Chirping)
    found = import_module(module, (3, 8, 8), "chirping", partial=True)
    assert found.text.count("foreign(") == 3
    assert "# foreign: the function conv3d, at deep\n" in found.text
    graph = uninas.load(found.text)
    assert graph.cost.params == sum(p.numel() for p in module.parameters())
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, 3, 8, 8))
    assert graph.cost.flops == counter.get_total_flops()
    assert "foreign" in uninas.render(graph, tmp_path / "net.dot", level="full").read_text(encoding="utf-8")
    with pytest.raises(UninasError, match=r"error\[UNI054\].*cannot be built"):
        uninas.compile(graph)
    path = tmp_path / "net.uni"
    path.write_text(found.text, encoding="utf-8")
    assert "foreign" in succeed("summary", path)


def test_an_import_leaves_the_module_as_it_was():
    module = seeded(Hybrid).train()
    module.stem.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    uninas.from_module(module, torch.zeros(1, 3, 32, 32))
    assert module.training and not module.stem.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


# -- views ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_a_route_moves_numbers_where_the_layout_says(seed):
    """Every route, on a tensor that counts: what torch's permute of the factors gives."""
    draw = random.Random(seed)
    factors = [Factor(draw.choice((2, 2, 3, 5))) for _ in range(draw.randint(3, 5))]

    def layout():
        order = draw.sample(factors, len(factors))
        a, b = sorted((draw.randint(0, len(order)), draw.randint(0, len(order))))
        return tuple(order[:a]), tuple(order[a:b]), tuple(order[b:])

    own, wanted = layout(), layout()
    x = torch.arange(float(torch.tensor([f.size for f in factors]).prod())).reshape(1, *shape_of(own))
    y = x
    for op in route(own, wanted):
        y = op.emit(layers, tuple(y.shape[1:]))(y)
    flat_own, flat_wanted = [f for axis in own for f in axis], [f for axis in wanted for f in axis]
    cut = x.reshape([f.size for f in flat_own]).permute([flat_own.index(f) for f in flat_wanted])
    assert torch.equal(y, cut.reshape(1, *shape_of(wanted)))


def test_a_view_follows_reshapes_without_operations():
    batch = Batch(2)
    view = View(Wire("in"), (made(96), made(14), made(14)), ((batch,), made(96), made(14), made(14)))
    view = View(view.wire, view.own, ((batch,), view.own[0], view.own[1], view.own[2]))
    windows = (
        view.permuted([0, 2, 3, 1]).reshaped([2, 2, 7, 2, 7, 96]).permuted([0, 1, 3, 2, 4, 5]).reshaped([8, 49, 96])
    )
    assert windows.shape == (8, 49, 96) and shape_of(windows.own) == (96, 14, 14)
    with pytest.raises(Foreign, match="reshape"):
        windows.reshaped([8, 50, 96])


# -- files ---------------------------------------------------------------------------------------------------

SMALL = """
block Unit(stride = 1) {
    out = in -> conv(C, 3, stride, bias=false) -> batch_norm -> gelu
}

network small {
    input 3 x 16 x 16
    stem conv(8, 3, stride=2) -> relu6
    stage 8 x 2 { Unit }
    head global_avg_pool -> linear(5)
}
"""


def test_an_onnx_file_is_read_as_data(tmp_path):
    pytest.importorskip("onnxscript")
    graph = uninas.load(SMALL)
    path = tmp_path / "small.onnx"
    path.write_bytes(to_onnx(graph))
    found = read_onnx(path)
    assert found.graph.cost.flops == graph.cost.flops
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    wanted = onnxruntime.InferenceSession(path).run(None, {"x": x.numpy()})[0]
    weights = {name: torch.tensor(value) for name, value in found.weights.items()}
    with torch.no_grad():
        got = carried(found, weights, uninas.compile(found.graph)).eval()(x)
    torch.testing.assert_close(got, torch.tensor(wanted), rtol=1e-4, atol=1e-5)
    assert "gelu" in found.text and "network small" in found.text
    assert uninas.load(str(path)).key == found.graph.key


@pytest.mark.parametrize("content", [b"", b"\x08\x07garbage", b"\xff" * 99])
def test_a_file_that_is_no_onnx_is_refused(content, tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(UninasError, match=r"error\[UNI0(01|54)\]"):
        read_onnx(path)


def onnx_file(path, *nodes, opset=18, **constants):
    """A file of nodes from x, 1 x 4 x 8 x 8, to y."""
    x, y = helper.make_tensor_value_info("x", 1, [1, 4, 8, 8]), helper.make_tensor_value_info("y", 1, None)
    given = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], given), opset_imports=[helper.make_opsetid("", opset)]
    )
    path.write_bytes(model.SerializeToString())
    return path


HUGE = np.array([200_000, 200_000, 4])
TRUE = helper.make_tensor_value_info("c", 9, [])
FOREVER = helper.make_graph(
    [helper.make_node("Identity", ["c"], ["d"])], "g", [helper.make_tensor_value_info("i", 7, []), TRUE],
    [helper.make_tensor_value_info("d", 9, [])],
)  # fmt: skip


@pytest.mark.parametrize(
    ("message", "nodes", "constants"),
    [
        ("nothing makes nope", [("Relu", ["nope"], {})], {}),
        ("nothing makes y", [("Relu", ["x"], {}), ("Relu", ["x"], {})], {}),
        ("onnx Concat with such arguments", [("Concat", ["x", "x"], {})], {}),
        ("onnx Resize with such arguments", [("Resize", ["x", "", "s"], {"mode": "odd"})], {"s": np.ones(4)}),
        ("cannot compute the constant", [("ConstantOfShape", ["s"], {}), ("Add", ["x", "n0"], {})], {"s": HUGE}),
        ("cannot compute the constant", [("Expand", ["a", "s"], {}), ("Add", ["x", "n0"], {})], {"a": 1.0, "s": HUGE}),
        ("cannot compute the constant", [("Add", ["a", "b"], {}), ("Add", ["x", "n0"], {})],
         {"a": np.ones((100_000, 1)), "b": np.ones((1, 100_000))}),
        ("a graph of its own", [("Loop", ["n", "t"], {"body": FOREVER}), ("Add", ["x", "n0"], {})],
         {"n": 2**62, "t": True}),
        ("onnx Conv with such arguments", [("Conv", ["x"], {})], {}),
        ("weights that depend on the input", [("PRelu", ["x", "x"], {})], {}),
        ("onnx Reshape with such arguments", [("Reshape", ["x", "x"], {})], {}),
        ("a permutation of 4 axes", [("Transpose", ["x"], {"perm": [0, 1, 2, 2]})], {}),
        ("div with such arguments", [("Div", ["x", "a"], {})], {"a": 0.0}),
        ("matmul with such arguments", [("MatMul", ["x", "a"], {})], {"a": np.ones(3)}),
        ("the function onnx Erf", [("Erf", ["x"], {})], {}),
        ("does not depend on the input", [("Identity", ["a"], {})], {"a": np.ones(1)}),
        ("does not depend on the input", [("Shape", ["x"], {})], {}),
        ("onnx MaxPool with such arguments", [("MaxPool", ["x"], {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1]})], {}),
    ],
)  # fmt: skip
def test_files_that_mean_harm_end_in_a_message(message, nodes, constants, tmp_path):
    made = [
        helper.make_node(kind, inputs, [f"n{n}" if len(nodes) - n > 1 else "y"], **attributes)
        for n, (kind, inputs, attributes) in enumerate(nodes)
    ]
    if message == "nothing makes y":
        made[-1].output[0] = "z"
    with pytest.raises(UninasError, match=message):
        read_onnx(onnx_file(tmp_path / "net.onnx", *made, **constants))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@pytest.mark.parametrize("read", [read_onnx, read_json, text_in])
def test_what_never_ends_is_not_opened(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff" * 9)
    for name, message in (("pipe", "expected a file"), ("nothing", "No such file"), ("binary", "cannot read")):
        with pytest.raises(UninasError, match=message):
            read(tmp_path / name)


def test_a_softmax_of_before_opset_13_is_over_all_axes_behind_its_own(tmp_path):
    softmax = helper.make_node("Softmax", ["x"], ["y"])
    assert " head softmax\n" in read_onnx(onnx_file(tmp_path / "new.onnx", softmax)).text
    with pytest.raises(UninasError, match="onnx Softmax"):
        read_onnx(onnx_file(tmp_path / "old.onnx", softmax, opset=11))


class Factors(nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.linspace(-1, 1, 4)[:, None, None])

    def forward(self, x):
        y = torch.relu(x)
        x = torch.add(torch.sub(x, y, alpha=3), self.shift, alpha=0.5)
        return torch.rsub(torch.sub(x, 2.0, alpha=0.25), 5.0, alpha=2)


def test_sums_and_differences_keep_their_factors():
    imported(Factors(), (4, 6, 6))


def test_an_exported_python_file_comes_back_without_being_run(tmp_path):
    graph = uninas.load(SMALL)
    path = tmp_path / "net.py"
    path.write_text(to_python(graph) + "\nraise SystemExit('this was run')\n")
    assert uninas.load(str(path)) == graph
    path.write_text("raise SystemExit('this was run')\n")
    with pytest.raises(UninasError, match="carries no network"):
        uninas.load(str(path))


def test_weights_go_along(tmp_path):
    module = seeded(Hybrid)
    graph = uninas.from_module(module, (3, 32, 32))
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(uninas.create_model(graph, state_dict=module.state_dict()).eval()(x), module(x))
        found = import_module(module, (3, 32, 32))
        text, names = tmp_path / "net.uni", tmp_path / "net.names.json"
        text.write_text(found.text)
        names.write_text(names_json(found))
        copy = uninas.create_model(text, state_dict=module.state_dict(), names=names).eval()
        torch.testing.assert_close(copy(x), module(x))
    with pytest.raises(UninasError, match="give names="):
        uninas.create_model(text, state_dict=module.state_dict())


def test_code_is_run_only_by_the_command_that_is_asked_to(tmp_path):
    with pytest.raises(UninasError, match="there is no shipped network"):
        uninas.load("os:getcwd")


# -- what starts from an import ------------------------------------------------------------------------------


def test_a_search_starts_from_an_imported_network(tmp_path):
    start, folder = tmp_path / "start.uni", tmp_path / "run"
    start.write_text(import_module(seeded(Hybrid), (3, 32, 32), "hybrid").text)
    succeed("search", "UniNAS", "--start", start, "--proxy", "params", "--iterations", 6, "-o", folder)
    best = uninas.load(folder / "best.uni")
    assert best.inputs == ((3, 32, 32),) and best.output_shapes == ((10,),)


@pytest.mark.parametrize(("name", "size"), [("test_resnet", 64), ("test_convnext", 64), ("test_vit2", 0)])
def test_a_search_starts_from_models_of_different_families(name, size, tmp_path):
    timm = pytest.importorskip("timm")
    start, folder = tmp_path / "start.uni", tmp_path / "run"
    module = timm.create_model(name).eval()
    shape = (3, size, size) if size else module.default_cfg["input_size"]
    found = import_module(module, shape, name)
    start.write_text(found.text, encoding="utf-8")
    budget = ("--params-max", found.graph.cost.params * 2, "--flops-max", found.graph.cost.flops * 2)
    succeed("search", "UniNAS", "--start", start, *budget, "--proxy", "flops", "--iterations", 8, "-o", folder)
    best = uninas.load(folder / "best.uni")
    assert best.inputs == (tuple(shape),) and best.cost.params <= found.graph.cost.params * 2
    assert best.key != found.graph.key


@pytest.mark.parametrize("command", [("summary",), ("summary", "--json"), ("print",)])
def test_commands_read_other_formats_directly(command, tmp_path):
    path = tmp_path / "net.py"
    path.write_text(to_python(uninas.load(SMALL)))
    name, *rest = command
    assert "head" in succeed(name, path, *rest)


# -- what modules do besides ---------------------------------------------------------------------------------


class InPlace(nn.Module):
    """Writes into a table and into a tensor that is used again, and embeds fixed position codes."""

    def __init__(self):
        super().__init__()
        self.conv, self.embed = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(2, 4, 1)

    def forward(self, x):
        table = x.new_zeros(1, 2, 8, 8)
        table[:, 1] = torch.linspace(0, 1, 8)
        y = self.conv(x)
        z = y * 2
        z.add_(y)
        y.relu_()
        return (z - y) + self.embed(table)


def test_writes_in_place_and_fixed_tables_come_in():
    found = imported(seeded(InPlace), (4, 8, 8))
    assert "learned" in found.text and "trainable=false" in found.text


class Biased(nn.Module):
    """Attention with a bias that is looked up in a table, as BEiT and LeViT have it, and a key without one."""

    def __init__(self, positions: int = 5, width: int = 8, heads: int = 2):
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.weight = nn.Parameter(torch.randn(3 * width, width) * 0.2)
        self.query_bias, self.value_bias = nn.Parameter(torch.randn(width)), nn.Parameter(torch.randn(width))
        self.register_buffer("key_bias", torch.zeros(width), persistent=False)
        self.table = nn.Parameter(torch.randn(heads, 7))
        places = (torch.arange(positions)[:, None] * 2 + torch.arange(positions)) % 7
        self.register_buffer("places", places, persistent=False)

    def forward(self, x):
        b, c, _, n = x.shape
        x = x.flatten(2).transpose(1, 2)
        bias = torch.cat((self.query_bias, self.key_bias, self.value_bias))
        qkv = nn.functional.linear(x, self.weight, bias).reshape(b, n, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * self.scale) @ k.transpose(-2, -1) + self.table[:, self.places]
        return (scores.softmax(-1) @ v).transpose(-2, -1).reshape(b, c, 1, n)


class Gated(nn.Module):
    """One parameter in two sums, as ConViT has it, and a network that makes a table from fixed numbers."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Parameter(torch.randn(4))
        self.maker = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 4))
        self.register_buffer("grid", torch.randn(8, 8, 2), persistent=False)

    def forward(self, x):
        gate = self.gate.sigmoid().view(1, -1, 1, 1)
        return (1 - gate) * x + gate * self.maker(self.grid).permute(2, 0, 1)


class Windows(nn.Module):
    """Pools inside windows, which lie in the batch, as Hiera does."""

    def forward(self, x):
        b, c, h, w = x.shape
        cut = x.view(b, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, h // 2, w // 2)
        small = nn.functional.max_pool2d(cut, 2)
        whole = small.reshape(b, 2, 2, c, h // 4, w // 4).permute(0, 3, 1, 4, 2, 5)
        return whole.reshape(b, c, h // 2, w // 2)


class Parted(nn.Module):
    """Attention inside windows, or between the same places of all windows, with a residual inside, as MaxViT has it."""

    def __init__(self, size: int, grid: bool):
        super().__init__()
        self.size, self.grid, self.attention = size, grid, Attention(8, 2)

    def forward(self, x):
        b, c, h, w = x.shape
        p = self.size
        x = x.reshape(b, c, h // p, p, w // p, p).permute(0, 2, 4, 3, 5, 1).reshape(b, -1, p * p, c)
        x = x.transpose(1, 2) if self.grid else x
        groups = x.shape[1]
        x = self.attention(x.flatten(0, 1)).unflatten(0, (b, groups))
        x = x.transpose(1, 2) if self.grid else x
        return x.reshape(b, h // p, w // p, p, p, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, w)


class Unrolled(nn.Module):
    """Tokens in an order in which pooling takes neighbours, as Hiera has it: units of 2 x 2 inside units of 2 x 2."""

    def __init__(self):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(4), nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))

    def forward(self, x):
        b, c, side, _ = x.shape
        x = x.permute(0, 2, 3, 1)
        for _ in range(2):
            side //= 2
            x = x.reshape(-1, side, 2, side, 2, c).permute(0, 2, 4, 1, 3, 5).reshape(-1, side, side, c)
        x = x.reshape(b, -1, c)
        x = x + self.mlp(self.norm(x))
        return x.reshape(b, 4, -1, c).amax(1).transpose(1, 2).reshape(b, c, -1, 4)


class Overlapping(nn.Module):
    """Takes patches apart and puts them back, as VOLO does."""

    def forward(self, x):
        patches = nn.functional.unfold(x, 3, padding=1, stride=2)
        return nn.functional.fold(patches.softmax(1), x.shape[-2:], 3, padding=1, stride=2)


class Softened(nn.Module):
    """Reflects the edges and blurs by a kernel that is not learned, as anti-aliased networks do."""

    def __init__(self):
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", (row[:, None] * row).expand(4, 1, 3, 3).clone(), persistent=False)

    def forward(self, x):
        return nn.functional.conv2d(nn.functional.pad(x, (1, 1, 1, 1), mode="reflect"), self.kernel, stride=2, groups=4)


def plain_norm() -> nn.GroupNorm:
    norm = nn.GroupNorm(2, 4)
    norm.register_parameter("bias", None)
    return norm


class Standardised(nn.Conv2d):
    """A kernel that is standardised at every step, with a gain, as NFNets have it."""

    def __init__(self):
        super().__init__(4, 6, 3, padding=1)
        self.gain = nn.Parameter(torch.rand(6, 1, 1, 1) + 0.5)

    def forward(self, x):
        flat = self.weight.reshape(1, 6, -1)
        gain = (self.gain * 0.3).view(-1)
        kernel = nn.functional.batch_norm(flat, None, None, gain, training=True, momentum=0.0, eps=1e-5)
        return nn.functional.conv2d(x, kernel.reshape_as(self.weight), self.bias, padding=1)


class HeadsConvolved(nn.Module):
    """One depthwise convolution for all heads, which lie in the batch, as MViT has it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, 2, 1, groups=4)

    def forward(self, x):
        return self.conv(x.reshape(-1, 4, 8, 8)).reshape(len(x), 8, 4, 4)


class Repeated(nn.Module):
    """Broadcasts in both directions, and cuts across axes."""

    def forward(self, x):
        b, c, h, w = x.shape
        rows, columns = x.mean(3), x.mean(2)
        both = (rows[:, :, :, None] + columns[:, :, None, :]).expand(b, c, h, w)
        return both.reshape(b, c, h * w)[:, :, : h * w - 4].reshape(b, 10, -1, 6)


class Branch(nn.Module):
    """A head of a detector, or a side of a siamese network."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return x + self.out(self.conv(x).relu())


class OnEveryLevel(nn.Module):
    """One head for maps of several sizes, as RetinaNet has it, and another layer in between."""

    def __init__(self):
        super().__init__()
        self.head, self.down, self.scale = Branch(), nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        small = self.down(x)
        smaller = nn.functional.max_pool2d(small, 2)
        found = [self.scale(self.head(level)).mean((2, 3)) for level in (x, small, smaller)]
        return found[0] + found[1] * found[2]


class AgainAndAgain(nn.Module):
    """One block three times in a row, as ALBERT has it, and one layer twice."""

    def __init__(self):
        super().__init__()
        self.block, self.layer, self.last = Branch(), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        for _ in range(3):
            x = self.block(x)
        return self.last(self.layer(self.layer(x)).relu())


class Logging(nn.Module):
    """Looks at its numbers on the way, which tensors without numbers do not have."""

    def __init__(self):
        super().__init__()
        self.conv, self.seen = nn.Conv2d(4, 4, 1), None

    def forward(self, x):
        x = self.conv(x)
        self.seen = x.detach().numpy().mean()
        return x.relu()


class Cell(nn.Module):
    """What two cells before it made, as NASNet has it (Zoph et al. 2018)."""

    def __init__(self, below):
        super().__init__()
        self.now, self.before = nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(below, 4, 1)

    def forward(self, now, before):
        return torch.cat([self.now(now).relu() + self.before(before), now.sigmoid()], 1)[:, 2:6]


class Cells(nn.Module):
    """Cells of two inputs, each before the next but one, too."""

    def __init__(self):
        super().__init__()
        self.cells = nn.ModuleList([Cell(4), Cell(4), Cell(4)])

    def forward(self, x):
        before = x
        for cell in self.cells:
            before, x = x, cell(x, before)
        return x


class TablesByRow(nn.Module):
    """A product of what is seen with a table, in which the batch lies among the rows, as MViTv2 has it."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(8, 8, 4))

    def forward(self, x):
        rows = torch.einsum("bchw,hkc->bhwk", x, self.table)
        return x + rows.permute(0, 3, 1, 2).mean(1, keepdim=True)


class AcrossSamples(nn.Module):
    """A product of matrices whose rows are the samples of a batch, as timm's csatv2 has it."""

    def forward(self, x):
        row = x.flatten(1)
        return (row @ row.transpose(-1, -2)).softmax(-1) @ row


MODULES = {
    "cells of two inputs": (Cells, (4, 8, 8), "-> Cell"),
    "products with a table for each row": (TablesByRow, (4, 8, 8), "matmul"),
    "uneven pooling": (lambda: nn.AdaptiveAvgPool2d((3, 5)), (4, 8, 8), "adaptive_pool(3, 5)"),
    "bias by a table": (Biased, (8, 1, 5), "lookup"),
    "a gate used twice": (Gated, (4, 8, 8), "learned"),
    "pooling of windows": (Windows, (4, 8, 8), "max_pool(2, 2"),
    "attention in windows": (
        lambda: Parted(4, False),
        (8, 8, 8),
        "head window_partition(4) -> Attention -> window_merge(4, 8, 8)",
    ),
    "attention on a grid": (
        lambda: Parted(2, True),
        (8, 8, 8),
        "window_partition(2) -> permute -> Attention -> permute -> window_merge",
    ),
    "units of tokens": (Unrolled, (4, 8, 8), "pixel_unshuffle(2) -> pixel_unshuffle(2)"),
    "patches that overlap": (Overlapping, (4, 8, 8), "fold"),
    "standardised kernels": (Standardised, (4, 8, 8), "standardise=true"),
    "heads in the batch": (HeadsConvolved, (8, 8, 8), "shared each"),
    "broadcast and recut": (Repeated, (4, 8, 8), "reshape"),
    "one head for all levels": (OnEveryLevel, (4, 16, 16), "shared each part { out = part -> Branch }"),
    "one block again": (AgainAndAgain, (4, 8, 8), "shared repeat 3 { Branch }"),
    "one layer again": (AgainAndAgain, (4, 8, 8), "shared repeat 2 { conv(4, 1) }"),
    "one that torch.export refuses": (Logging, (4, 8, 8), "relu"),
    "blur": (Softened, (4, 8, 8), "blur"),
    "transposed convolution": (
        lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1),
        (4, 8, 8),
        "conv_transpose",
    ),
    "flat pooling": (lambda: nn.MaxPool2d((1, 3), (1, 2)), (4, 8, 8), "width=3"),
    "pooling to a size": (lambda: nn.AdaptiveAvgPool2d((2, 4)), (4, 8, 8), "avg_pool(4"),
    "largest to a size": (lambda: nn.AdaptiveMaxPool2d(2), (4, 8, 8), "max_pool(4"),
    "two strides": (lambda: nn.Conv2d(4, 6, 3, (1, 2), 1), (4, 8, 8), "stride_width=2"),
    "norm without a shift": (plain_norm, (4, 8, 8), "bias=false"),
    "norm of nothing": (lambda: nn.GroupNorm(2, 4, affine=False), (4, 8, 8), "affine=false"),
}


@pytest.mark.parametrize("name", MODULES)
def test_what_single_modules_do_comes_in(name):
    make, shape, word = MODULES[name]
    assert word in imported(seeded(make), shape).text


def test_a_cell_of_two_inputs_is_said_once():
    text = imported(seeded(Cells), (4, 8, 8)).text
    assert len(re.findall(r"block Cell", text)) == 2  # the first takes one tensor twice
    assert len(re.findall(r"-> Cell2", text)) == 2


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (AcrossSamples, "across the samples of a batch"),
        (lambda: nn.Sequential(nn.Flatten(2), nn.LSTM(64, 4)), r"a recurrent layer \(lstm\)"),
    ],
)
def test_what_cannot_come_in_is_said_in_the_words_of_the_field(module, message):
    with pytest.raises(UninasError, match=message):
        imported(module(), (4, 8, 8))
