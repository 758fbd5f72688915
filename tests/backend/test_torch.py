"""A compiled network behaves like any other module of torch."""

import copy

import pytest
import torch

import uninas


@pytest.fixture(scope="module")
def model():
    return uninas.create_model("coatnet", img_size=64, num_classes=5)


def images(batch=2, size=64):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_it_lints_and_its_code_speaks_the_words_of_the_source(model):
    model.graph.lint()
    assert "stages.2.blocks.0.rel_pos_attention.qkv.weight" in model.state_dict()
    assert "stages_2_blocks_0_rel_pos_attention_qkv" in model.code


def test_copies_are_equal_and_independent(model):
    other = copy.deepcopy(model).eval()
    with torch.inference_mode():
        assert torch.equal(other(images()), copy.deepcopy(model).eval()(images()))
    assert other.architecture == model.architecture
    assert {p.data_ptr() for p in other.parameters()}.isdisjoint(p.data_ptr() for p in model.parameters())


def test_it_takes_one_image_in_evaluation_and_training(model):
    assert copy.deepcopy(model).eval()(images(1)).shape == (1, 5)
    assert copy.deepcopy(model).train()(images(1)).shape == (1, 5)


def test_it_trains_under_autocast(model):
    model = copy.deepcopy(model).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    labels = torch.tensor([0, 1])
    losses = []
    for _ in range(4):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(model(images()), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


# Of a smaller network with the same operations, as torch looks at each of them for long.


def test_torch_export_keeps_the_function():
    model = uninas.create_model("micro_coatnet").eval()
    exported = torch.export.export(model, (images(size=32),)).module()
    with torch.inference_mode():
        torch.testing.assert_close(exported(images(size=32)), model(images(size=32)))


def test_torch_compile_keeps_the_function():
    model = uninas.create_model("micro_coatnet", fold=True).eval()
    fast = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(fast(images(size=32)), model(images(size=32)))


def test_drop_path_rates_rise_to_the_rate():
    model = uninas.create_model("convnext_tiny", img_size=64, drop_path_rate=0.2)
    rates = [module.p for module in model.modules() if type(module).__name__ == "DropPath"]
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0.2)
    assert rates == sorted(rates)
