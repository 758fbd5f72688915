"""Small sets of drawn images, and a network that learns them in seconds."""

import torch

from uninas.training.images import Labelled

NET = """
network tiny {
    input 3 x 16 x 16
    stem conv(8, 3) -> batch_norm -> gelu
    stage 12 x 1 stride 2 { Residual(width, stride) }
    stage 16 x 1 stride 2 { Residual(width, stride) }
    head layer_norm -> global_avg_pool -> linear(4)
}
block Residual(width, stride) {
    x = in -> conv(width, 3, stride)
    heads = x -> split(C / C * 4) -> each part { out = part -> conv(C, 1) -> gelu }
    out = x + (heads -> concat -> dropout(0.1))
}
"""


def shapes(count, seed, size=16):
    """Bars of four directions in noise."""
    source = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 60, (count, 3, size, size), generator=source, dtype=torch.uint8)
    labels = torch.arange(count) % 4
    for image, label in zip(images, labels.tolist(), strict=True):
        at = int(torch.randint(4, size - 4, (), generator=source))
        if label == 0:
            image[:, at] = 255
        elif label == 1:
            image[:, :, at] = 255
        elif label == 2:
            image[:, at - 3 : at + 3, at - 3 : at + 3] = 255
        else:
            image[0] += 120
    return Labelled(images, labels)
