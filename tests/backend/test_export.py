"""Plain Python files and ONNX models compute what the compiled module computes."""

import importlib.util

import numpy as np
import onnxruntime
import pytest
import torch

import uninas
from uninas.backend.export import to_onnx, to_python

NETWORKS = [
    "coatnet",
    "resnet18",
    "vit_small_patch16_224",
    "swin_tiny_patch4_window7_224",
    "ghostnet_100",
    "convnext_tiny",
]


def imported(text, path):
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NETWORKS)
def test_a_python_file_stands_alone(name, tmp_path):
    graph = uninas.load(name)
    text = to_python(graph)
    assert "uninas" not in text.replace("UniNAS", "")
    module = imported(text, tmp_path / f"exported_{name}.py")
    network = [
        value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__
    ][-1]
    ours, theirs = uninas.compile(graph).eval(), network().eval()
    theirs.load_state_dict(ours.state_dict())
    assert list(theirs.state_dict()) == list(ours.state_dict()) or set(theirs.state_dict()) == set(ours.state_dict())
    x = torch.randn(1, *graph.inputs[0], generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(theirs(x), ours(x))


def test_a_python_file_draws_all_weights(tmp_path):
    graph = uninas.load(
        "block B { input 32 x 4 x 4  out = in -> tokens -> class_token -> pos_embed -> token -> linear(3) }"
    )
    module = imported(to_python(graph), tmp_path / "exported_drawn.py")
    one, two = module.create(1), module.create(1)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.isfinite().all()
        assert a.abs().max() < 1


SMALL = """
block Net {
    input 3 x 32 x 32
    a = in -> conv(16, 3, stride=2) -> batch_norm -> gelu
    heads = a -> conv(48, 1) -> split(24) -> each part {
        q, k, v = part -> chunk(3)
        map = (q, k) -> matmul1 -> rel_pos_bias -> softmax
        out = (map, v) -> matmul2
    }
    out = a + (heads -> concat -> layer_norm) -> global_avg_pool -> linear(10)
}
"""


@pytest.mark.parametrize("source", [SMALL, "resnet18"], ids=["attention", "resnet18"])
def test_onnx_computes_the_same_for_any_batch(source):
    graph = uninas.create_model(source, img_size=32).architecture
    session = onnxruntime.InferenceSession(to_onnx(graph, generator=torch.Generator().manual_seed(0)))
    model = uninas.compile(graph, generator=torch.Generator().manual_seed(0)).eval()
    for batch in (1, 3):
        x = torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(batch))
        (theirs,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        with torch.inference_mode():
            np.testing.assert_allclose(theirs, model(x).numpy(), rtol=1e-3, atol=1e-4)
