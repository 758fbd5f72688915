"""Small sets of drawn images, and a network that learns them in seconds."""

import pytest
from helpers.shapes import NET, shapes

from uninas import load
from uninas.training.images import ImageSet


@pytest.fixture
def bars():
    return ImageSet(shapes(160, 0), shapes(80, 1), ("row", "column", "square", "red"))


@pytest.fixture
def tiny():
    return load(NET)
