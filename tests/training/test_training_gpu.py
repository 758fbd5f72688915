"""What only a GPU shows: bf16, kernels laid out channels last, compiled networks, memory at 1280 x 800."""

import pytest
import torch
from helpers.shapes import NET, shapes

from uninas import create_model, load
from uninas.backend.backbone import Backbone
from uninas.training.benchmark import benchmark
from uninas.training.classification import Classification
from uninas.training.distributed import World
from uninas.training.images import ImageSet
from uninas.training.loop import Trainer
from uninas.training.recipe import Recipe

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

RECIPE = Recipe("classification", epochs=12, batch=16, lr=4e-3, warmup_epochs=0.5, evaluate_every=0)


def trained(precision):
    place = World(device=torch.device("cuda"))
    images = ImageSet(shapes(160, 0), shapes(80, 1), ("row", "column", "square", "red"))
    task = Classification(RECIPE, images, device=place.device)
    network = task.network(load(NET))
    some = Trainer(task, task.module(network, 0), RECIPE, world=place, seed=0, parts=1, precision=precision)
    some.run()
    return some


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_network_learns_on_a_gpu(precision):
    assert trained(precision).rows[-1]["top1"] > 60


def test_the_same_training_gives_the_same_weights():
    one, other = (trained("bf16").weights() for _ in range(2))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-2, atol=1e-3)


def test_a_compiled_network_says_what_the_eager_one_says():
    eager, compiled = (create_model("micro_coatnet", fold=True).cuda().eval() for _ in range(2))
    compiled.compile()
    x = torch.randn(4, 3, 32, 32, device="cuda")
    with torch.inference_mode():
        torch.testing.assert_close(compiled(x), eager(x), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_step_of_coatnet_at_1280_x_800_fits_into_40_gb():
    backbone = Backbone(load("coatnet", img_size=(800, 1280)), fuse=True).cuda()
    torch.cuda.reset_peak_memory_stats()
    x = torch.randn(4, 3, 800, 1280, device="cuda").contiguous(memory_format=torch.channels_last)
    with torch.autocast("cuda", torch.bfloat16):
        sum(each.float().square().mean() for each in backbone(x)).backward()
    assert torch.cuda.max_memory_allocated() < 40e9


def test_rows_of_a_benchmark_name_the_gpu_and_its_memory():
    (row,) = benchmark(["micro_resnet"], device="cuda", dtype="bf16", batch=[2], seconds=0.0, passes=5, warm=0.0)
    assert row.memory and row.device == torch.cuda.get_device_name()
