"""VKDNW against torch.func and against a Fisher information computed by its definition."""

import math

import torch
from torch.func import functional_call, jacrev

import uninas
from uninas.proxies import score
from uninas.proxies.jacobian import Weight, logit_jacobian
from uninas.proxies.vkdnw import fisher_spectrum

TEXT = """
block Net {
    input 8 x 6 x 6
    a = in -> conv(12, 3) -> batch_norm -> gelu
    heads = a -> conv(24, 1) -> split(12) -> each p {
        q, k, v = p -> chunk(3)
        m = (q, k) -> matmul1 -> rel_pos_bias -> softmax
        out = (m, v) -> matmul2
    }
    b = heads -> concat -> layer_norm -> conv(12, 1)
    out = a * (b -> sigmoid) -> max_pool(3) -> global_avg_pool -> linear(5)
}
"""


def test_the_jacobian_equals_reverse_mode():
    model = uninas.create_model(TEXT).eval().double()
    x = torch.randn(3, 8, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    parameters = dict(model.named_parameters())
    names = list(parameters)
    expected = jacrev(lambda p: functional_call(model, p, (x,)))(parameters)
    columns = torch.stack([expected[name].flatten(2)[:, :, 0] for name in names], -1)
    found = logit_jacobian(model, (x,), [Weight(name) for name in names], dtype=torch.float64)
    torch.testing.assert_close(found.values, columns, rtol=1e-9, atol=1e-12)


def test_the_spectrum_is_that_of_the_definition():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 5, dtype=torch.float64, generator=generator)
    jacobian = torch.randn(4, 5, 7, dtype=torch.float64, generator=generator)
    p = logits.softmax(1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    fisher = torch.einsum("nkp,nkl,nlq->pq", jacobian, middle, jacobian) / 4
    torch.testing.assert_close(fisher_spectrum(logits, jacobian), torch.linalg.eigvalsh(fisher), rtol=1e-9, atol=1e-12)


def test_the_score_repeats_and_leaves_the_module_alone():
    model = uninas.create_model(TEXT)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(4, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    one, two = score("vkdnw", model, x), score("vkdnw", model, x)
    assert one.value == two.value
    assert 0 < one.value <= math.log(9)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
