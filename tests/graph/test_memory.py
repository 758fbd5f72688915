"""Memory of networks: what training keeps is what torch keeps, and rows add up."""

import pytest
import torch
from helpers.commands import succeed

import uninas
from uninas.graph.memory import memory
from uninas.graph.summary import summarize

NETWORKS = ["resnet18", "mobilenetv2_100", "convnext_tiny", "densenet121", "unet"]
ATTENTION = """block Attention { input 32 x 1 x 16
    q, k, v = in -> layer_norm -> conv(C * 3, 1) -> chunk(3)
    out = in + (((q, k) -> matmul1 -> softmax, v) -> matmul2 -> gelu -> conv(C, 1)) }"""


def kept_by_torch(graph: uninas.Graph, batch: int = 2) -> float:
    """Numbers of float32 that autograd saves for each sample, weights left out, every storage once."""
    module = uninas.compile(graph).train()
    own = {each.untyped_storage().data_ptr() for each in [*module.parameters(), *module.buffers()]}
    saved: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in own and tensor.dtype == torch.float32:
            saved[place] = tensor  # held, so that its place is not given away again
        return tensor

    x = torch.randn(batch, *graph.inputs[0], generator=torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(x)
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values()) / 4 / batch


@pytest.mark.parametrize("name", NETWORKS)
def test_training_keeps_what_torch_keeps(name):
    graph = uninas.load(name, img_size=64)
    theirs = kept_by_torch(graph)  # and means of norms, which we leave out
    assert 0.97 * theirs < memory(graph)[""].kept <= theirs


def test_attention_keeps_its_map_and_what_its_products_take():
    graph = uninas.load(ATTENTION)
    assert 0.8 * kept_by_torch(graph) < memory(graph)[""].kept <= kept_by_torch(graph)


@pytest.mark.parametrize("name", ["resnet18", "unet", "retinanet_resnet50", "swin_tiny_patch4_window7_224"])
def test_rows_add_up(name):
    graph = uninas.load(name)
    for depth in (1, 3):
        found = summarize(graph, depth)
        rows = [row.memory for row in found.rows if row.depth == 0]
        assert sum(row.activations for row in rows) == found.activations == graph.activations
        assert sum(row.kept for row in rows) == found.kept > 0
        assert max(row.peak for row in rows) <= found.peak


def test_the_table_of_memory_and_its_columns():
    text = succeed("summary", "resnet18", "--memory")
    assert "written" in text and "training keeps  5.14 M elements" in text
    head, *rows = succeed("summary", "resnet18", "--format", "csv").splitlines()
    assert head.endswith("activations,kept,peak") and len(rows) == 7
