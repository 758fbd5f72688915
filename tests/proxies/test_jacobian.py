"""The tangent engine against reverse mode, in float64: one small network for every kind of operation."""

import operator
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, jacrev
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from uninas.proxies import ProxyError, score
from uninas.proxies.engine import convolutions, dominators, forward, jacobian, jvp_rules, trace
from uninas.proxies.engine.aten_graph import lower
from uninas.proxies.engine.jacobian import Weight, logit_jacobian
from uninas.proxies.engine.jvp_rules import RULES


class Net(nn.Module):
    """Named layers and a function that uses them: `forward(net, x)`."""

    def __init__(self, forward: Callable[["Net", Tensor], Tensor], **layers: nn.Module | nn.Parameter):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


class Scale(nn.Module):
    """A custom leaf with a parameter of its own and an in-place operation."""

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.gamma[:, None, None]).add_(self.shift).relu_()


def pooled(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def conv_net(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))


def attention(net: Net, x: Tensor, product: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    tokens = net.stem(x).flatten(2).transpose(1, 2)
    q, k, v = net.qkv(net.norm(tokens)).unflatten(2, (3, 2, 3)).permute(2, 0, 3, 1, 4)
    tokens = tokens + net.out(product(q, k, v).transpose(1, 2).flatten(2))
    return net.head(tokens[:, 0] + tokens.mean(1))


def by_matmul(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ((q @ k.transpose(-1, -2)) * 3**-0.5).softmax(-1) @ v


def by_einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bhqk,bhkd->bhqd", torch.einsum("bhqd,bhkd->bhqk", q, k).softmax(-1), v)


def attention_net(product: Callable[[Tensor, Tensor, Tensor], Tensor]) -> nn.Module:
    layers = {"stem": nn.Conv2d(4, 6, 2, stride=2), "norm": nn.LayerNorm(6), "qkv": nn.Linear(6, 18)}
    return Net(lambda net, x: attention(net, x, product), **layers, out=nn.Linear(6, 6), head=nn.Linear(6, 5))


def two_branches(join: Callable[[Tensor, Tensor], Tensor], channels: int = 5) -> nn.Module:
    head = nn.Linear(channels, 5)
    return Net(
        lambda net, x: net.head(pooled(join(net.a(x), net.b(x)))), a=nn.Conv2d(4, 5, 3), b=nn.Conv2d(4, 5, 3), head=head
    )


def squeeze_excite(net: Net, x: Tensor) -> Tensor:
    x = net.conv(x)
    return net.head(pooled(x * net.expand(F.silu(net.reduce(x.mean((2, 3), keepdim=True)))).sigmoid()))


def residual_dag(net: Net, x: Tensor) -> Tensor:
    a = net.stem(x)
    b = F.relu(net.one(a)) + a
    c = net.two(b) - 0.5 * a
    return net.head(pooled(b / (2 + c.square()) + torch.maximum(a, c)))


def shared(net: Net, x: Tensor) -> Tensor:
    x = net.stem(x)
    return net.head(pooled(net.conv(F.gelu(net.conv(x)))))


def indexed(net: Net, x: Tensor) -> Tensor:
    x = net.stem(x)
    a, b, c = x.chunk(3, 1)
    d, e = torch.split(x, [2, 4], 1)
    y = torch.cat([a.flip(2), b[:, [1, 0]], torch.stack([c[:, 0], d[:, 1]], 1)], 1) + e.repeat(1, 2, 1, 1)[:, 1:7]
    return net.head(pooled(torch.roll(y, 1, 3).masked_fill(y < -1, 0.0)))


def table(net: Net, x: Tensor) -> Tensor:
    index = torch.arange(9) // 2
    return net.head(x.flatten(2)[:, :3, :9] * net.bias[index] + torch.where(net.bias[:1] > 9, 0, net.bias.sum())).mean(
        1
    )


def masked(net: Net, x: Tensor) -> Tensor:
    """As windows are masked: a table is written piece by piece, its type that of the values."""
    x = net.stem(x)
    mask = x.new_zeros(x.shape[2:])
    for number, rows in enumerate((slice(0, -3), slice(-3, -1), slice(-1, None))):
        mask[rows, 0:-2] = number
    return net.head(pooled(x * mask + torch.ones_like(x) * x.sign()))


def written(net: Net, x: Tensor) -> Tensor:
    """Writes into values that have derivatives."""
    x, y = net.a(x), net.b(x)
    z = x * y
    z[:, :, 1:-2] = y[:, :, 3:]
    z[:, 1:-1, :-1:2] += x[:, :-2, ::2]
    z[:, :, :, -1] = x[:, :, :, 0]
    z[:, :, -2] = torch.arange(8)
    z[:, 2].mul_(2)
    z.clamp_(-2, 2)[y > 1] = 0.5
    z[:, :, torch.tensor([0, 2])] = y[:, :, :2]
    return net.head(pooled(z))


def frozen_path(net: Net, x: Tensor) -> Tensor:
    return net.head(pooled(net.a(x) * net.b(x).detach().floor()))


def standardised(net: Net, x: Tensor) -> Tensor:
    weight = net.conv.weight
    weight = (weight - weight.mean((1, 2, 3), keepdim=True)) / weight.std((1, 2, 3), keepdim=True)
    return net.head(pooled(F.conv2d(x, weight, net.conv.bias, groups=2)))


def computed_norm(net: Net, x: Tensor) -> Tensor:
    """Neither the filters nor the norm's weight and offset are parameters."""
    filters = net.conv.weight - net.conv.weight.mean((1, 2, 3), keepdim=True)
    x = F.conv2d(x, filters, net.conv.bias.tanh(), groups=2)
    weight, offset = 1 + net.norm.weight.exp(), net.norm.bias.tanh()
    return net.head(pooled(F.batch_norm(x, net.norm.running_mean, net.norm.running_var, weight, offset)))


def _graph_module() -> nn.Module:
    """What a compiler emits: leaf modules, functions, and parameters fetched by name."""
    root = nn.Module()
    root.conv, root.scale, root.head = nn.Conv2d(4, 6, 1), Scale(6), nn.Linear(6, 5)
    root.gain = nn.Parameter(torch.ones(6, 1, 1))
    graph = fx.Graph()
    x = graph.placeholder("x")
    y = graph.call_module("scale", (graph.call_module("conv", (x,)),))
    y = graph.call_function(operator.mul, (y, graph.call_function(torch.sigmoid, (graph.get_attr("gain"),))))
    graph.output(graph.call_module("head", (graph.call_method("mean", (y, (2, 3))),)))
    return fx.GraphModule(root, graph)


ZOO: dict[str, Callable[[], nn.Module]] = {
    "conv stride, dilation": lambda: conv_net(nn.Conv2d(6, 6, 3, stride=2, padding=2, dilation=2, bias=False)),
    "conv groups": lambda: conv_net(nn.Conv2d(6, 12, 3, groups=3), nn.Conv2d(12, 6, 1)),
    "depthwise conv": lambda: conv_net(nn.Conv2d(6, 6, (3, 1), padding="same", groups=6)),
    "transposed conv": lambda: conv_net(nn.ConvTranspose2d(6, 6, 3, stride=2, output_padding=1)),
    "conv with much padding": lambda: conv_net(nn.Conv2d(6, 6, 1, padding=2), nn.Conv2d(6, 6, (3, 2), stride=(1, 3))),
    "conv1d": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 6, 3), nn.SELU(), nn.Flatten(), nn.Linear(6 * 62, 5)),
    "batch norm": lambda: conv_net(nn.BatchNorm2d(6), nn.GELU(), nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6, affine=False)),
    "folded norms": lambda: conv_net(
        nn.BatchNorm2d(6, affine=False),
        nn.Conv2d(6, 12, 3, groups=3, bias=False),
        nn.BatchNorm2d(12),
        nn.ConvTranspose2d(12, 6, 2, bias=False),
        nn.BatchNorm2d(6),
    ),
    "folded norms of large filters": lambda: conv_net(
        nn.AdaptiveAvgPool2d(2),
        nn.Conv2d(6, 12, 7, padding=3, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 6, 7, padding=3),
        nn.BatchNorm2d(6, affine=False),
    ),
    "norm of a value that is used twice": lambda: Net(
        lambda net, x: net.head(pooled(net.norm(y := net.conv(x)) * y)),
        conv=nn.Conv2d(4, 6, 3),
        norm=nn.BatchNorm2d(6),
        head=nn.Linear(6, 5),
    ),
    "batch statistics": lambda: conv_net(nn.BatchNorm2d(6, track_running_stats=False)),
    "group and instance norm": lambda: conv_net(nn.GroupNorm(2, 6), nn.InstanceNorm2d(6, affine=True)),
    "activations": lambda: conv_net(nn.Hardswish(), nn.SiLU(inplace=True), nn.ELU(), nn.Mish(), nn.PReLU(6), nn.GLU(2)),
    "max pool": lambda: conv_net(nn.MaxPool2d(3, 2, 1), nn.Conv2d(6, 6, 1)),
    "average pool": lambda: conv_net(
        nn.AvgPool2d(2),
        nn.AvgPool2d(2, 1, 1, count_include_pad=False),
        nn.AdaptiveAvgPool2d(3),
        nn.AdaptiveMaxPool2d(2),
    ),
    "upsampling": lambda: conv_net(nn.Upsample(scale_factor=2), nn.Upsample(size=11, mode="bilinear")),
    "padding": lambda: conv_net(
        nn.ZeroPad2d(1), nn.ReflectionPad2d(1), nn.ConstantPad2d((1, 2, 0, 1), 0.7), nn.Dropout(0.5)
    ),
    "shuffles": lambda: conv_net(nn.PixelUnshuffle(2), nn.Conv2d(24, 24, 1), nn.ChannelShuffle(3), nn.PixelShuffle(2)),
    "attention by matmul": lambda: attention_net(by_matmul),
    "attention by einsum": lambda: attention_net(by_einsum),
    "fused attention": lambda: attention_net(F.scaled_dot_product_attention),
    "transformer": lambda: nn.Sequential(
        nn.Flatten(2), nn.TransformerEncoderLayer(64, 2, 16, batch_first=True), nn.Flatten(), nn.Linear(256, 5)
    ),
    "sum": lambda: two_branches(lambda a, b: torch.add(a, b, alpha=2)),
    "difference": lambda: two_branches(lambda a, b: torch.sub(a, b, alpha=3) - 1),
    "gate": lambda: two_branches(lambda a, b: a * b.sigmoid()),
    "broadcast gate": lambda: two_branches(lambda a, b: a * b.mean((2, 3), keepdim=True) + b.amax(1, keepdim=True)),
    "powers": lambda: two_branches(lambda a, b: a**2 / (1 + b.exp()) + (a.abs() + 1).pow(b.tanh())),
    "unit vectors": lambda: two_branches(
        lambda a, b: F.normalize(a) + F.normalize(b, dim=-1) * F.cosine_similarity(a, b)[:, None]
    ),
    "normalised filters": lambda: conv_net(nn.utils.parametrizations.weight_norm(nn.Conv2d(6, 6, 3)), nn.Tanh()),
    "expanded values": lambda: two_branches(lambda a, b: a / b.mean(2, keepdim=True).expand_as(a).exp().cumsum(1)),
    "cat": lambda: two_branches(lambda a, b: torch.cat([a, torch.ones_like(a[:, :1]), b], 1), 11),
    "cat of last axis": lambda: two_branches(lambda a, b: torch.cat([a, b, a], -1)),
    "squeeze and excite": lambda: Net(
        squeeze_excite,
        conv=nn.Conv2d(4, 6, 3),
        reduce=nn.Conv2d(6, 2, 1),
        expand=nn.Conv2d(2, 6, 1),
        head=nn.Linear(6, 5),
    ),
    "residual graph": lambda: Net(
        residual_dag, stem=nn.Conv2d(4, 6, 1), one=nn.Conv2d(6, 6, 1), two=nn.Conv2d(6, 6, 1), head=nn.Linear(6, 5)
    ),
    "shared layer": lambda: Net(shared, stem=nn.Conv2d(4, 6, 1), conv=nn.Conv2d(6, 6, 3), head=nn.Linear(6, 5)),
    "indexing": lambda: Net(indexed, stem=nn.Conv2d(4, 6, 1), head=nn.Linear(6, 5)),
    "parameters as values": lambda: Net(table, bias=nn.Parameter(torch.ones(5)), head=nn.Linear(9, 5)),
    "no derivative": lambda: Net(frozen_path, a=nn.Conv2d(4, 6, 1), b=nn.Conv2d(4, 6, 1), head=nn.Linear(6, 5)),
    "written in place": lambda: Net(written, a=nn.Conv2d(4, 6, 1), b=nn.Conv2d(4, 6, 1), head=nn.Linear(6, 5)),
    "masked": lambda: Net(masked, stem=nn.Conv2d(4, 6, 1), head=nn.Linear(6, 5)),
    "standardised weight": lambda: Net(standardised, conv=nn.Conv2d(4, 6, 3, groups=2), head=nn.Linear(6, 5)),
    "computed norm": lambda: Net(
        computed_norm, conv=nn.Conv2d(4, 6, 3, groups=2), norm=nn.BatchNorm2d(6), head=nn.Linear(6, 5)
    ),
    "custom leaf": lambda: conv_net(Scale(6), nn.Conv2d(6, 6, 1), Scale(6)),
    "graph module": _graph_module,
}


def example(name: str) -> tuple[nn.Module, Tensor]:
    """A network with random parameters and statistics, all of them off their special values 0 and 1."""
    generator = torch.Generator().manual_seed(1)
    module = ZOO[name]().double().eval()
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.data.copy_(0.2 + torch.rand(tensor.shape, generator=generator, dtype=torch.float64) / 2)
            if tensor.ndim > 1:
                tensor.data.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64) / 2)
    return module, torch.randn(3, 4, 8, 8, generator=generator, dtype=torch.float64)


def reverse_mode(module: nn.Module, x: Tensor, weights: list[Weight]) -> Tensor:
    parameters = {name: p.detach() for name, p in module.named_parameters()}
    with sdpa_kernel(SDPBackend.MATH):  # torch cannot vectorise the derivative of the fused kernel
        full = jacrev(lambda p: functional_call(module, p, (x,)))(parameters)
    return torch.stack([full[w.name].reshape(len(x), -1, parameters[w.name].numel())[..., w.index] for w in weights], 2)


def some_weights(module: nn.Module, scalars: int = 2) -> list[Weight]:
    return [Weight(name, p.numel() * i // scalars) for name, p in module.named_parameters() for i in range(scalars)]


def assert_exact(found: Tensor, expected: Tensor) -> None:
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # reverse mode, of normalised filters
@pytest.mark.parametrize("name", ZOO)
def test_every_rule_equals_reverse_mode(name: str):
    module, x = example(name)
    weights = some_weights(module)
    expected = reverse_mode(module, x, weights)
    found = logit_jacobian(module, (x,), weights, dtype=torch.float64)
    assert found.way != "passes", "the walk itself must do it"
    assert_exact(found.values, expected)
    torch.testing.assert_close(found.logits, module(x), rtol=1e-9, atol=1e-11)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # reverse mode, of normalised filters
@pytest.mark.parametrize("name", [name for name in ZOO if name != "batch statistics"])
def test_rows_pulled_through_waists_equal_reverse_mode(name: str):
    module, x = example(name)
    x = torch.cat([x, 2 * x, x[:1]])  # seven samples: no other dimension looks like that one
    weights = some_weights(module)
    found = logit_jacobian(module, (x,), weights, dtype=torch.float64, way="rows")
    assert found.way == "rows"
    assert_exact(found.values, reverse_mode(module, x, weights))


def deep(classes: int) -> nn.Module:
    """Residual blocks, so that there are waists; narrow in the end."""
    block = [Net(lambda net, x: x + F.relu(net.conv(x)), conv=nn.Conv2d(6, 6, 3, padding=1)) for _ in range(6)]
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, classes)]
    return nn.Sequential(nn.Conv2d(4, 6, 3), *block, *tail).double()


@pytest.mark.parametrize("classes", [2, 30])
def test_few_rows_are_pulled_where_that_is_cheaper(classes: int):
    module, x = deep(classes), example("gate")[1]
    weights = some_weights(module)
    found = logit_jacobian(module, (x,), weights, dtype=torch.float64)
    assert found.way == "rows"
    assert_exact(found.values, reverse_mode(module, x, weights))


def test_the_narrowest_waist_may_be_a_map():
    parts = list(deep(2))[:7]
    narrow = [nn.Conv2d(6, 3, 3, stride=2), nn.Tanh(), nn.Conv2d(3, 8, 1), nn.Flatten(), nn.Linear(32, 40)]
    module = nn.Sequential(*parts, *narrow).double()
    x = example("gate")[1]
    weights = some_weights(module)
    expected = reverse_mode(module, x, weights)
    found = logit_jacobian(module, (x,), weights, dtype=torch.float32, way="rows")  # channels come last in memory
    assert found.way == "rows"
    torch.testing.assert_close(found.values.double(), expected, rtol=1e-3, atol=1e-5)


def test_rows_lie_in_memory_as_values_do(monkeypatch: pytest.MonkeyPatch):
    parts = [nn.Conv2d(4, 6, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()]
    module = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    x = example("gate")[1].float()
    flat, moved = dominators.by_sample, []

    def watched(stack: Tensor, like: Tensor) -> Tensor:
        found = flat(stack, like)
        moved.extend([found.data_ptr() != stack.data_ptr()] * (stack.ndim == 5))
        return found

    monkeypatch.setattr(dominators, "by_sample", watched)
    logit_jacobian(module, (x,), some_weights(module), way="rows")
    assert moved and not any(moved)


def test_columns_are_pushed_where_classes_are_many(monkeypatch: pytest.MonkeyPatch):
    module, x = deep(40), example("gate")[1]
    module = nn.Sequential(*list(module)[:7], nn.Flatten(), nn.Linear(6 * 36, 40)).double()
    monkeypatch.setattr(jacobian, "through_waists", None)
    logit_jacobian(module, (x,), some_weights(module))


@pytest.mark.parametrize("memory", [2**30, 300_000])
def test_a_large_batch_is_taken_in_pieces(memory: int, monkeypatch: pytest.MonkeyPatch):
    module = deep(2)
    x = torch.randn(21, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = some_weights(module)
    sizes = []
    through = jacobian.through_waists
    monkeypatch.setattr(
        jacobian, "through_waists", lambda p, *rest: (sizes.append(len(p.output.meta["val"])), through(p, *rest))[1]
    )
    found = logit_jacobian(module, (x,), weights, dtype=torch.float64, memory=memory)
    assert found.way == "rows" and sum(sizes) == 21 and len(sizes) > 2 and len(set(sizes)) <= 2
    assert (max(sizes) < 8) is (memory < 2**30)
    assert_exact(found.values, reverse_mode(module, x, weights))
    torch.testing.assert_close(found.logits, module(x), rtol=1e-9, atol=1e-11)


def test_a_module_that_takes_only_some_sizes_of_batches_is_pushed_through_whole():
    def fixed(net: Net, x: Tensor) -> Tensor:
        if len(x) not in (4, 8, 20):  # the whole, and its pieces
            raise ValueError("not this many")
        return net.body(x)

    module = Net(fixed, body=deep(2))
    x = torch.randn(20, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = some_weights(module)
    assert_exact(logit_jacobian(module, (x,), weights, dtype=torch.float64).values, reverse_mode(module, x, weights))


def test_samples_that_seem_to_stand_first_but_do_not_are_noticed():
    module, x = example("transformer")  # its queries, keys and values are as many as its samples
    weights = some_weights(module)
    found = logit_jacobian(module, (x,), weights, dtype=torch.float64, way="rows")
    assert_exact(found.values, reverse_mode(module, x, weights))


@pytest.mark.parametrize("samples", [3, 20], ids=["one piece", "three pieces"])
def test_samples_that_mix_are_noticed(samples: int):
    def batch_statistics(net: Net, x: Tensor) -> Tensor:
        x = net.body(x)
        return net.head(x - x.mean(0, keepdim=True))

    parts = dict(enumerate(deep(2)))
    module = Net(batch_statistics, body=nn.Sequential(*list(parts.values())[:-1]), head=nn.Linear(4, 2)).double()
    x = torch.randn(samples, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = some_weights(module)
    found = logit_jacobian(module, (x,), weights, dtype=torch.float64, way="rows")
    assert_exact(found.values, reverse_mode(module, x, weights))


@pytest.mark.parametrize(
    ("samples", "factor", "pushed"),
    [([3], 1.02, False), ([3], 3.0, True), (range(8), 1.02, True)],
    ids=["a unit switched by rounding", "a wrong sample", "all samples a little"],
)
def test_a_kink_in_one_sample_is_no_sign_of_mixing(samples, factor, pushed, monkeypatch: pytest.MonkeyPatch):
    module = deep(2)
    x = torch.randn(8, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    through = jacobian.through_waists

    def altered(*arguments: object) -> Tensor:
        values = through(*arguments)
        values[list(samples)] *= factor
        return values

    monkeypatch.setattr(jacobian, "through_waists", altered)
    found = logit_jacobian(module, (x,), some_weights(module), dtype=torch.float64, way="rows")
    assert found.way == ("columns" if pushed else "rows")


@pytest.mark.parametrize("name", ["residual graph", "batch norm", "fused attention", "shared layer"])
@pytest.mark.parametrize("memory", [1, 20_000, 100_000])
def test_chunks_do_not_change_the_result(name: str, memory: int, monkeypatch: pytest.MonkeyPatch):
    module, x = example(name)
    weights = some_weights(module)[::-1]
    whole = logit_jacobian(module, (x,), weights, dtype=torch.float64)
    walks = []
    walk = forward.walk
    monkeypatch.setattr(forward, "walk", lambda *args: (walks.append(args[3]), walk(*args))[1])
    parts = logit_jacobian(module, (x,), weights, dtype=torch.float64, memory=memory)
    assert len(walks) > 1
    assert_exact(parts.values, whole.values)


def too_much() -> None:
    """What torch really says, on this system."""
    torch.empty(2**60)


def out_of_memory_on_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


@pytest.mark.parametrize("fail", [too_much, out_of_memory_on_a_gpu])
def test_running_out_of_memory_halves_the_chunk(fail: Callable[[], None], monkeypatch: pytest.MonkeyPatch):
    module, x = example("residual graph")
    weights = some_weights(module)
    sizes = []
    walk = forward.walk

    def scarce(program, env, steps, seeds, ends):
        sizes.append(sum(map(len, seeds.values())))
        if sizes[-1] > 5:
            fail()
        return walk(program, env, steps, seeds, ends)

    monkeypatch.setattr(forward, "walk", scarce)
    found = logit_jacobian(module, (x,), weights, dtype=torch.float64, way="columns")
    assert sizes[:2] == [16, 8]
    assert_exact(found.values, reverse_mode(module, x, weights))


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # reverse mode, of normalised filters
@pytest.mark.parametrize("way", ["columns", "rows"])
@pytest.mark.parametrize("name", ZOO)
def test_what_is_done_otherwise_on_a_gpu_gives_the_same(name: str, way: jacobian.Way, monkeypatch: pytest.MonkeyPatch):
    module, x = example(name)
    weights = some_weights(module)
    monkeypatch.setattr(convolutions, "is_planned", lambda x: True)
    monkeypatch.setattr(jvp_rules, "in_one_call", lambda stack, shared: True)
    assert_exact(logit_jacobian(module, (x,), weights, dtype=torch.float64, way=way).values,
                 reverse_mode(module, x, weights))  # fmt: skip


@pytest.mark.gpu
@pytest.mark.parametrize("way", ["columns", "rows"])
@pytest.mark.parametrize("name", [name for name in ZOO if name != "batch statistics"])
def test_a_gpu_finds_the_same(name: str, way: jacobian.Way):
    module, x = example(name)
    weights = some_weights(module)
    expected = logit_jacobian(module, (x,), weights, dtype=torch.float64, way=way)
    found = logit_jacobian(module.cuda(), (x.cuda(),), weights, dtype=torch.float64, way=way)
    assert found.values.is_cuda
    rtol = 1e-6 if name == "activations" else 1e-9  # a GPU computes some of them in float32
    torch.testing.assert_close(found.values.cpu(), expected.values, rtol=rtol, atol=1e-11)
    torch.testing.assert_close(found.logits.cpu(), expected.logits, rtol=rtol, atol=1e-11)


@pytest.mark.gpu
def test_a_gpu_that_runs_out_of_memory_goes_on_with_less(monkeypatch: pytest.MonkeyPatch):
    module = deep(20).cuda()
    x = torch.randn(64, 4, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).cuda()
    weights = some_weights(module)
    whole = logit_jacobian(module, (x,), weights, dtype=torch.float64, way="columns")
    sizes = []
    walk = forward.walk
    monkeypatch.setattr(forward, "walk", lambda *args: (sizes.append(sum(map(len, args[3].values()))), walk(*args))[1])
    torch.cuda.empty_cache()
    has = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**29) / has)
    try:
        less = logit_jacobian(module, (x,), weights, dtype=torch.float64, way="columns")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert sizes[0] > sizes[1]  # one try was too much
    torch.testing.assert_close(less.values, whole.values, rtol=1e-9, atol=1e-11)


def test_running_out_of_memory_with_one_weight_is_an_error(monkeypatch: pytest.MonkeyPatch):
    def scarce(*_: object):
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(forward, "walk", scarce)
    module, x = example("gate")
    with pytest.raises(ProxyError, match="memory runs out even for the tangent of one weight"):
        logit_jacobian(module, (x,), some_weights(module))


def test_no_stack_has_more_numbers_than_a_gpu_can_count():
    """Some kernels number elements with 32 bits; tensors without data may be as large as this one."""
    module, images = deep(4).float(), 2**15
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        tensors = {name: torch.empty_like(tensor, device="cuda") for name, tensor in module.state_dict().items()}
        program = lower(module, tensors, (torch.empty(images, 4, 32, 32, device="cuda"),))
    places = [(node, 0) for node in program.placeholders[: len(tensors)]]
    prefixes = [forward.seeds_of(places, range(n + 1)) for n in range(len(places))]
    count = forward._fitting(program, range(program.stop), prefixes, 2**60)
    largest = images * 6 * 30 * 30
    assert 1 < count < len(places)
    assert count * largest < 2**31 <= (count + 1) * largest


def test_norms_fold_on_a_gpu_as_well():
    """torch has operations of its own there; what they are called shows without one."""
    module, x = example("folded norms")
    steps = []
    for device in ("cpu", "cuda"):
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            tensors = {name: torch.empty_like(tensor, device=device) for name, tensor in module.state_dict().items()}
            program = lower(module, tensors, (torch.empty_like(x, device=device),))
        steps.append([node.target for node in program.steps])
    assert steps[0] == steps[1]
    assert steps[0].count(torch.ops.aten.native_batch_norm.default) == 1  # behind a transposed convolution


class Constants(nn.Module):
    """Layer norms of equal numbers: the derivative is 0, and each multiplies what is rounded by 300."""

    def __init__(self, norms: int):
        super().__init__()
        self.stem, self.head = nn.Linear(4, 1), nn.Linear(7, 3)
        self.norms = nn.Sequential(*[nn.LayerNorm(7) for _ in range(norms)])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norms((self.stem(x) * torch.linspace(3, 3.0001, 7)).sin()))


@pytest.mark.parametrize("samples", [2, 9])
@pytest.mark.parametrize("way", ["fastest", "columns"])
def test_derivatives_that_are_rounding_noise_are_refused(way: jacobian.Way, samples: int):
    torch.manual_seed(0)
    x = torch.randn(samples, 4)
    for norms in (1, 4):
        module = Constants(norms)
        weights = some_weights(module)
        if norms == 1:
            assert logit_jacobian(module, (x,), weights, way=way).values.isfinite().all()
        else:
            with pytest.raises(ProxyError, match="rounding noise"):
                logit_jacobian(module, (x,), weights, way=way)
            logit_jacobian(module, (x,), weights, way=way, dtype=torch.float64)  # whoever wants to see them


class Deep(nn.Module):
    """Convolutions, and behind them norms of what is nearly constant, or none."""

    def __init__(self, norms: int):
        super().__init__()
        self.body = nn.Sequential(*[layer for _ in range(8) for layer in (nn.Conv2d(6, 6, 3, padding=1), nn.Tanh())])
        self.end = Constants(norms) if norms else nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.body(x).mean((2, 3))[:, :4])


def test_noise_is_found_out_before_all_columns_are_computed():
    torch.manual_seed(0)
    x = torch.randn(40, 6, 8, 8)

    def work(norms: int) -> int:
        module = Deep(norms)
        with FlopCounterMode(display=False) as counter:
            if norms:
                with pytest.raises(ProxyError, match="rounding noise"):
                    logit_jacobian(module, (x,), some_weights(module))
            else:
                logit_jacobian(module, (x,), some_weights(module))
        return counter.get_total_flops()

    assert work(4) < work(0)


def looks_at_values(net: Net, x: Tensor) -> Tensor:
    x = F.relu(net.conv(x))
    return net.head(pooled(x if x.sum() > 0 else -x))


def test_a_module_that_looks_at_values_gets_one_pass_per_weight():
    module = Net(looks_at_values, conv=nn.Conv2d(4, 6, 3), head=nn.Linear(6, 5)).double()
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = some_weights(module)
    found = logit_jacobian(module, (x,), weights, dtype=torch.float64)
    assert_exact(found.values, reverse_mode(module, x, weights))


def filtered(net: Net, x: Tensor) -> Tensor:
    spectrum = torch.fft.rfft2(net.conv(x)) * torch.view_as_complex(net.filter)
    return net.head(pooled(torch.fft.irfft2(spectrum, s=(6, 6)) + spectrum.abs().mean()))


def test_complex_numbers_get_one_pass_per_weight():
    module = Net(filtered, conv=nn.Conv2d(4, 6, 3), head=nn.Linear(6, 5))
    module.filter = nn.Parameter(torch.randn(6, 6, 4, 2, generator=torch.Generator().manual_seed(1)))
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = some_weights(module.double())
    for way in ("fastest", "columns", "rows"):
        found = logit_jacobian(module, (x,), weights, dtype=torch.float64, way=way)
        assert_exact(found.values, reverse_mode(module, x, weights))


def test_a_recurrent_layer_is_no_fused_one():
    """Torch has neither a forward derivative nor the FLOPs of what a CPU does in float32."""

    def read(net: Net, x: Tensor) -> Tensor:
        return net.head(net.recurrent(x)[0][:, -1])

    module = Net(read, recurrent=nn.LSTM(3, 6, batch_first=True), head=nn.Linear(6, 5))
    x = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    weights = some_weights(module)
    found = logit_jacobian(module, (x,), weights)
    torch.testing.assert_close(found.values, reverse_mode(module, x, weights), rtol=1e-4, atol=1e-6)
    assert score("flops", module, x).value == 2 * (4 * (4 * 6 * 3 + 4 * 6 * 6) + 6 * 5)


def test_what_torch_cannot_vectorise_gets_one_pass_per_weight(monkeypatch: pytest.MonkeyPatch):
    module, x = example("gate")
    monkeypatch.setitem(RULES, torch.ops.aten.sigmoid.default, lambda call, tangents: torch.zeros(2).view(3))
    for way in ("fastest", "columns"):
        found = logit_jacobian(module, (x,), some_weights(module), dtype=torch.float64, way=way)
        assert_exact(found.values, reverse_mode(module, x, some_weights(module)))


@pytest.mark.parametrize("name", ZOO)
def test_what_operations_make_is_remembered_as_it_was(name: str, monkeypatch: pytest.MonkeyPatch):
    module, x = example(name)
    wide = x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())

    def forms(inputs: Tensor) -> list[object]:
        program = lower(module, tensors, (inputs,))
        assert program is not None
        values = [leaf for node in program.steps for leaf in pytree.tree_leaves(node.meta["val"])]
        return [(v.shape, v.stride(), v.dtype, v.device) if isinstance(v, Tensor) else v for v in values]

    found = [forms(some) for some in (x, wide, x, wide)]
    monkeypatch.setattr(trace, "makes_one_tensor", lambda op: False)  # so that torch is asked each time
    assert found == [forms(x), forms(wide)] * 2


def test_what_is_multiplied_by_zero_costs_nothing(monkeypatch: pytest.MonkeyPatch):
    """As the operation `none` of NAS-Bench-201 does."""
    module = two_branches(lambda a, b: a + 0 * b).double()
    x = example("gate")[1]
    weights = some_weights(module)
    pushed = []
    push = forward.push
    monkeypatch.setattr(forward, "push", lambda call, tangents: (pushed.append(call.op), push(call, tangents))[1])
    for way in ("columns", "rows"):
        found = logit_jacobian(module, (x,), weights, dtype=torch.float64, way=way)
        assert_exact(found.values, reverse_mode(module, x, weights))
    assert torch.ops.aten.mul.Tensor not in pushed and torch.ops.aten.add.Tensor in pushed


def test_an_unused_weight_has_derivative_zero():
    module = Net(lambda net, x: net.head(pooled(x)), unused=nn.Linear(3, 3), head=nn.Linear(4, 5))
    found = logit_jacobian(module, (torch.ones(2, 4, 3, 3),), [Weight("unused.weight"), Weight("head.bias", 2)])
    assert torch.equal(found.values, torch.eye(5)[2].expand(2, 5)[..., None] * torch.tensor([0.0, 1.0]))


def test_several_inputs():
    module = nn.Bilinear(3, 4, 5).double()
    a, b = (torch.arange(1.0, 2 * n + 1, dtype=torch.float64).view(2, n) for n in (3, 4))
    found = logit_jacobian(module, (a, b), [Weight("weight", 4 * 2 + 1)], dtype=torch.float64)
    assert_exact(found.values[..., 0], torch.eye(5, dtype=torch.float64)[0] * (a[:, 2] * b[:, 1])[:, None])


def test_resnet18_equals_reverse_mode():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    module = timm.create_model("resnet18", num_classes=3).double().eval()
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    weights = [Weight(name) for name, _ in module.named_parameters()]
    found = logit_jacobian(module, (x,), weights, dtype=torch.float64)
    assert_exact(found.values, reverse_mode(module, x, weights))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Conv2d(4, 2, 1), r"logits \(N, K\), but got shape \(2, 2, 8, 8\)"),
        (nn.MaxPool2d(2, return_indices=True), "but got several outputs"),
        (nn.Conv2d(3, 2, 1), r"the module fails on inputs of shape \(2, 4, 8, 8\): .*3 channels"),
        (Net(lambda net, x: pooled(x) / 0), "logits are not finite"),
    ],
)
def test_what_has_no_jacobian_says_why(module: nn.Module, message: str):
    with pytest.raises(ProxyError, match=message):
        logit_jacobian(module, (torch.ones(2, 4, 8, 8),), [])
