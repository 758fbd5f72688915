"""Proxies of gradients against closed forms by hand, and the conventions that they share."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from uninas.proxies import ProxyError, score

LOSSES = ("epe_nas", "fisher", "grad_norm", "grad_sign", "grasp", "plain", "snip", "zico")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Softmax:
    """Logits x W^T + b of 6 samples and 4 classes, with the loss L = mean of -ln p_y and its derivatives by hand."""

    def __init__(self, samples: int = 6, classes: int = 4, width: int = 3):
        self.module = nn.Linear(width, classes).double()
        for seed, parameter in enumerate(self.module.parameters()):
            parameter.data.copy_(drawn(*parameter.shape, seed=seed))
        self.x = drawn(samples, width, seed=2)
        self.labels = [n % classes for n in range(samples)]
        self.w = self.module.weight.detach()
        self.logits = self.x @ self.w.T + self.module.bias.detach()
        self.p = self.logits.softmax(1)
        self.error = self.p - torch.eye(classes, dtype=torch.float64)[self.labels]  # dL_n / dlogits
        self.each = self.error[:, :, None] * self.x[:, None]  # dL_n / dW
        self.g = self.each.mean(0)

    def score(self, name: str, **options: object) -> float:
        return score(name, self.module, self.x, labels=self.labels, **options).value


@pytest.fixture
def softmax() -> Softmax:
    return Softmax()


# -- closed forms --------------------------------------------------------------------------------------------


def test_norms_and_products(softmax: Softmax):
    w, g = softmax.w, softmax.g
    assert score("l2_norm", softmax.module, softmax.x).value == pytest.approx(float(w.square().sum().sqrt()))
    assert softmax.score("grad_norm") == pytest.approx(float(g.square().sum().sqrt()))
    assert softmax.score("plain") == pytest.approx(float((w * g).sum()))
    assert softmax.score("snip") == pytest.approx(float((w * g).abs().sum()))


def test_biases_count_only_when_asked(softmax: Softmax):
    b = softmax.module.bias.detach()
    both = (softmax.w * softmax.g).abs().sum() + (b * softmax.error.mean(0)).abs().sum()
    assert softmax.score("snip", min_ndim=1) == pytest.approx(float(both))


def test_grasp_is_minus_w_hessian_g(softmax: Softmax):
    """H[(k, i), (l, j)] = mean of (p_k [k = l] - p_k p_l) x_i x_j."""
    covariance = torch.diag_embed(softmax.p) - softmax.p[:, :, None] * softmax.p[:, None]
    product = torch.einsum("nkl,ni,nj,lj->ki", covariance, softmax.x, softmax.x, softmax.g) / len(softmax.x)
    assert softmax.score("grasp") == pytest.approx(-float((softmax.w * product).sum()))


def test_fisher_at_layers(softmax: Softmax):
    """The values are the logits, their gradient is error / N, and three weights make each."""
    delta = (softmax.logits * softmax.error / 6).square().mean(0) / 2
    assert softmax.score("fisher") == pytest.approx(3 * float(delta.sum()))


@pytest.mark.parametrize("inplace", [False, True])
def test_fisher_at_activations(inplace: bool):
    first, last = nn.Conv1d(2, 3, 1).double(), nn.Linear(12, 4).double()
    module = nn.Sequential(first, nn.ReLU(inplace), nn.Flatten(), last)
    x, labels = drawn(5, 2, 4), [0, 1, 2, 3, 0]
    a = first(x).relu().detach()
    p = last(a.flatten(1)).softmax(1)
    g = ((p - torch.eye(4)[labels]) / 5 @ last.weight).reshape(a.shape)
    expected = ((a * g).sum(2).square().mean(0) / 2).sum().detach()
    found = score("fisher", module, x, labels=labels, at="activations")
    assert found.value == pytest.approx(expected.item())
    assert found.components == {"channels": 3}


@pytest.mark.parametrize("activation", [nn.GELU(), nn.SiLU(), nn.LeakyReLU(), nn.Hardswish(), nn.PReLU(), nn.ReLU6()])
def test_fisher_sees_any_activation(activation: nn.Module):
    module = nn.Sequential(nn.Linear(3, 7), activation, nn.Linear(7, 4))
    found = score("fisher", module, torch.ones(2, 3), at="activations")
    assert found.value > 0
    assert found.components == {"channels": 7}


def test_a_value_that_is_overwritten_counts_as_it_was():
    twin = [nn.Sequential(nn.Linear(3, 7), nn.ReLU(inplace), nn.Linear(7, 4)) for inplace in (False, True)]
    twin[1].load_state_dict(twin[0].state_dict())
    x = drawn(4, 3).float()
    assert score("fisher", twin[0], x).value == pytest.approx(score("fisher", twin[1], x).value)


def test_grad_sign_counts_samples_that_agree(softmax: Softmax):
    expected = softmax.each.sign().sum(0).abs().sum()
    found = score("grad_sign", softmax.module, softmax.x, labels=softmax.labels)
    assert found.value == float(expected)
    assert found.components["agreement"] == pytest.approx(float(expected) / 6 / 12)


@pytest.mark.parametrize("batches", [2, 3])
@pytest.mark.parametrize("absolute", [False, True])
def test_zico_is_the_log_of_ratios(softmax: Softmax, batches: int, absolute: bool):
    g = softmax.each.reshape(batches, 6 // batches, 4, 3).mean(1).numpy()
    deviation = np.std(np.abs(g) if absolute else g, axis=0)
    expected = np.log(np.sum(np.mean(np.abs(g), axis=0) / deviation))
    assert softmax.score("zico", batches=batches, absolute=absolute) == pytest.approx(expected)


@pytest.mark.parametrize("classes", [4, 101])
def test_epe_correlates_within_classes(classes: int):
    """By the formula, with numpy's correlation coefficients."""
    module = nn.Sequential(nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, classes)).double()
    x, labels = drawn(8, 9), [0, 1, 2, 0, 1, 2, 0, 3]
    leaf = x.clone().requires_grad_()
    gradients = torch.autograd.grad(module(leaf).sum(), leaf)[0].numpy()
    groups = [gradients[[n for n, label in enumerate(labels) if label == one]] for one in range(4)]
    sums = [np.log(np.abs(np.atleast_2d(np.corrcoef(group))) + 1e-5).sum() for group in groups]
    if classes <= 100:
        expected = np.abs(sums).sum()
    else:
        means = [one / len(group) for one, group in zip(sums, groups, strict=True)]
        expected = sum(abs(one - other) for one in means for other in means) / 4
    found = score("epe_nas", module, x, labels=labels)
    assert found.value == pytest.approx(expected)
    assert found.components == {"classes": 4}


def test_synflow_is_the_flow_through_each_layer():
    """Without biases every layer passes on the same flow R, so that the score is R times the number of layers."""
    first, last = nn.Linear(3, 5, bias=False), nn.Linear(5, 2, bias=False)
    flow = (last.weight.double().abs() @ first.weight.double().abs()).sum().detach()
    plain = nn.Sequential(first, nn.ReLU(), last)
    assert score("synflow", plain, torch.zeros(2, 3)).value == pytest.approx(2 * float(flow))


@pytest.mark.parametrize("tracked", [True, False])
def test_synflow_makes_batch_norms_the_identity(tracked: bool):
    norm = nn.BatchNorm1d(5, track_running_stats=tracked)
    nn.init.uniform_(norm.weight, 1, 2)
    nn.init.uniform_(norm.bias, 1, 2)
    if tracked:
        norm.running_var.fill_(7.0)
    first, last = nn.Linear(3, 5), nn.Linear(5, 2)
    plain, normed = nn.Sequential(first, last), nn.Sequential(first, norm, last)
    x = torch.zeros(2, 3)
    assert score("synflow", normed, x).value == pytest.approx(score("synflow", plain, x).value, rel=1e-12)


# -- what scores do not depend on ----------------------------------------------------------------------------


def convolutional(**more: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    module = nn.Sequential()
    module.add_module("conv", nn.Conv2d(3, 4, 3, bias=False))
    module.add_module("norm", nn.BatchNorm2d(4))
    for name, layer in more.items():
        module.add_module(name, layer)
    module.add_module("relu", nn.ReLU())
    module.add_module("flat", nn.Flatten())
    module.add_module("last", nn.Linear(16, 5))
    return module


IMAGES = drawn(6, 3, 4, 4).float()


@pytest.mark.parametrize("name", [*LOSSES, "synflow"])
def test_dropout_is_no_throw_of_dice(name: str):
    dropping = convolutional(drop=nn.Dropout(0.9))
    assert score(name, dropping, IMAGES).value == score(name, convolutional(), IMAGES).value


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "zico"])
def test_the_order_of_the_batch_does_not_matter(name: str):
    labels = [0, 1, 2, 3, 4, 0]
    one = score(name, convolutional(), IMAGES, labels=labels)
    other = score(name, convolutional(), IMAGES.flip(0), labels=labels[::-1])
    assert one.value == pytest.approx(other.value, rel=1e-3, abs=1e-6)


def test_the_mode_and_frozen_layers_of_the_module():
    module = convolutional()
    value = score("snip", module, IMAGES).value
    assert score("snip", module.eval(), IMAGES).value == value
    module.conv.requires_grad_(False)
    assert 0 < score("snip", module, IMAGES).value < value


def test_what_a_norm_makes_scale_free_has_no_plain_score():
    """Euler: a function that does not change with the scale of w has w dL/dw = 0 in sum."""
    module = convolutional()
    module.last.requires_grad_(False)
    assert abs(score("plain", module, IMAGES).value) < 1e-4 * score("snip", module, IMAGES).value


def test_a_shared_weight_counts_once():
    layer = nn.Linear(3, 3)
    twice = nn.Sequential(layer, nn.ReLU(), layer)
    x = drawn(4, 3).float()
    assert score("l2_norm", twice, x).value == pytest.approx(layer.weight.norm().item())
    untied = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    untied.load_state_dict(twice.state_dict())
    assert score("snip", twice, x).value != score("snip", untied, x).value
    assert score("plain", twice, x).value == pytest.approx(score("plain", untied, x).value, rel=1e-4)
    assert score("synflow", twice, x).value == pytest.approx(score("synflow", untied, x).value)


def test_attention_has_second_derivatives():
    module = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16), nn.Flatten(), nn.Linear(40, 3))
    assert score("grasp", module, drawn(4, 5, 8).float()).value != 0


def test_grasp_knows_the_second_derivative_of_a_hard_sigmoid():
    class ByHand(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x + 3).clamp(0, 6) / 6

    ours, by_hand = (nn.Sequential(nn.Linear(8, 6), gate, nn.Linear(6, 5)) for gate in (nn.Hardsigmoid(), ByHand()))
    by_hand.load_state_dict(ours.state_dict())
    x = drawn(4, 8).float()
    assert score("grasp", ours, x).value == pytest.approx(score("grasp", by_hand, x).value) != 0


@pytest.mark.parametrize("name", ["snip", "grasp", "fisher"])
def test_gradients_exist_under_no_grad(name: str):
    with torch.no_grad():
        assert score(name, convolutional(), IMAGES).value == score(name, convolutional(), IMAGES).value != 0


def test_random_labels_come_from_the_generator(softmax: Softmax):
    scores = [score("snip", softmax.module, softmax.x, torch.Generator().manual_seed(seed)).value for seed in (1, 1, 2)]
    assert scores[0] == scores[1] != scores[2]


# -- mistakes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "expected 6 integers as labels, but got .* of shape"),
        ([0.5] * 6, "expected 6 integers as labels, but got torch.float32"),
        ("cat", "expected 6 integers as labels, but got str"),
        ([4] * 6, "expected labels from 0 to 3, but got 4 to 4"),
        ([-1] * 6, "expected labels from 0 to 3, but got -1 to -1"),
    ],
)
def test_labels_that_do_not_fit(name: str, labels: object, message: str, softmax: Softmax):
    with pytest.raises(ProxyError, match=message):
        score(name, softmax.module, softmax.x, labels=labels)


class Detached(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


@pytest.mark.parametrize("name", [*LOSSES, "synflow"])
def test_a_module_that_cannot_be_differentiated(name: str):
    with pytest.raises(ProxyError, match=r"cannot be differentiated|were seen in the module"):
        score(name, Detached(3, 4), torch.ones(4, 3))


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x * 1

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient * 1


class OnlyOnce(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return Once.apply(super().forward(x))


def test_grasp_needs_a_second_derivative():
    assert score("snip", OnlyOnce(3, 4), torch.ones(4, 3)).value > 0
    with pytest.raises(ProxyError, match="depends on none of the tensors"):
        score("grasp", OnlyOnce(3, 4), torch.ones(4, 3))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("zico", {"batches": 1}, "expected batches from 2 to the 6 samples, but got 1"),
        ("zico", {"batches": 7}, "expected batches from 2 to the 6 samples, but got 7"),
        ("fisher", {"at": "norms"}, "expected at to be 'layers' or 'activations', but got 'norms'"),
        ("fisher", {"at": "activations"}, "no activations were seen"),
        ("snip", {"min_ndim": 3}, "no trainable parameters of at least 3 axes"),
    ],
)
def test_options_that_do_not_fit(name: str, options: dict[str, object], message: str, softmax: Softmax):
    with pytest.raises(ProxyError, match=message):
        score(name, softmax.module, softmax.x, **options)


def test_equal_batches_have_no_ratio(softmax: Softmax):
    with pytest.raises(ProxyError, match="the gradients of no weight differ"):
        score("zico", softmax.module, softmax.x[:1].expand(4, -1), labels=[0] * 4)


def test_a_flow_beyond_float64_is_an_error():
    module = nn.Sequential(*(nn.Linear(4, 4) for _ in range(40)))
    for parameter in module.parameters():
        nn.init.constant_(parameter, 1e30)
    with pytest.raises(ProxyError, match="the flow is no finite number: aten"):
        score("synflow", module, torch.ones(1, 4))


class Single(nn.Module):
    """Insists on float32."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x.float())


def test_synflow_of_a_module_that_insists_on_float32():
    module = Single()
    flow = module.layer.weight.abs().sum().item()  # R is the sum of all absolute weights and biases
    assert score("synflow", module, torch.ones(2, 4)).value == pytest.approx(flow, rel=1e-5)


def test_inputs_without_derivatives():
    module = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 3))
    words = torch.tensor([[0, 1, 2], [3, 4, 0]])
    assert score("snip", module, words).value > 0
    assert score("synflow", module, words).value > 0
    with pytest.raises(ProxyError, match="expected an input of floating-point numbers"):
        score("epe_nas", module, words)
