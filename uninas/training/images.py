"""Images and their classes, held in memory: from an .npz file, or from folders of small pictures.

An .npz file has images as N x C x H x W or N x H x W x C of integers from 0 to 255, or encoded (`jpeg` and `offset`,
see `proxies.inputs`), and their classes in an array `label`. An array `split` says which are for training (0) and
which for the test (1); without it every fifth is for the test. A folder has a folder for each class in `train` and in
`val` or `test`.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from uninas.errors import Diagnostic, UninasError, error, shown
from uninas.proxies.inputs import (
    DEVIATION,
    MEAN,
    MOST_BYTES,
    as_images,
    as_labels,
    decoded,
    encoded,
    header,
    listed,
    offsets_of,
    opened,
)
from uninas.training.seeds import generator

TEST_FOLDERS = ("val", "test", "validation")
HELD_OUT = 5
"""Every so many images are for the test where a file does not say which."""

RGB = (3, 1, 1)


@dataclass(frozen=True)
class Labelled:
    """Images of one size, N x 3 x H x W of bytes, with a class from 0 on for each."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: Tensor | slice) -> Labelled:
        return Labelled(self.images[chosen], self.labels[chosen])

    def to(self, device: torch.device | str) -> Labelled:
        """The same on another device."""
        return Labelled(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class ImageSet:
    """Images for training and others for the test."""

    train: Labelled
    test: Labelled
    classes: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """A hash of all images and classes."""
        digest = sha256()
        for part in (self.train, self.test):
            digest.update(part.images.numpy().tobytes())
            digest.update(part.labels.numpy().tobytes())
        return digest.hexdigest()[:16]

    def held_out(self, fit: int, validation: int, seed: int = 0) -> ImageSet:
        """The same with a part of the training images in the place of the test, which stays untouched.

        Both parts are drawn without repetition. Raises UninasError when there are too few images.
        """
        if fit + validation > len(self.train) or min(fit, validation) < 1:
            raise error("UNI130", f"expected {fit:,} + {validation:,} images for training, "
                        f"but there are {len(self.train):,}")  # fmt: skip
        order = torch.randperm(len(self.train), generator=generator(seed, "held out"))
        return ImageSet(self.train[order[:fit]], self.train[order[fit : fit + validation]], self.classes)


def read_images(source: str | Path, size: tuple[int, int] | None = None) -> ImageSet:
    """The images at a path. Pictures in folders are resized to `size`, height and width. Raises UninasError."""
    path = Path(source)
    if path.is_dir():
        return _from_folders(path, size)
    if path.suffix == ".npz" and path.is_file():
        return _from_archive(path)
    raise error("UNI130", f"expected a folder of images or an .npz file, but got {shown(path)}", None,
                "" if path.exists() else f"there is nothing at {shown(path)}")  # fmt: skip


def _from_archive(path: Path) -> ImageSet:
    arrays, named = opened(path, None, 4)
    if named is None:
        raise error("UNI130", f"expected an array of classes in {path}", None, "call it label, one integer an image")
    if "jpeg" in arrays:
        count = len(offsets_of(arrays, path)) - 1
        images = _stacked(
            [decoded(file, RGB, f"{n} in {path}") for n, file in encoded(arrays, path, range(count))], path
        )
    else:
        (stored,) = arrays.values()
        if stored.dtype != np.uint8:
            raise error("UNI130", f"expected images of bytes from 0 to 255 in {path}, but got {stored.dtype}")
        images = torch.from_numpy(np.ascontiguousarray(as_images(stored, 3)))
    split, names = _further(path)
    count = len(images)
    if split is None:
        split = np.arange(count) % HELD_OUT == HELD_OUT - 1
    if split.shape != (count,):
        raise error("UNI130", f"expected as many splits as images in {path}, but got {count:,} images and "
                    f"{split.shape[0]:,} splits")  # fmt: skip
    labels, why = as_labels(*named, count, path)
    if labels is None:
        raise error("UNI130", why, None, "one integer an image")
    if not count or labels.min() < 0:
        raise error("UNI130", f"expected images with classes from 0 on in {path}")
    test = torch.from_numpy(split.astype(bool))
    whole = Labelled(images, labels)
    known = tuple(map(str, names)) if names is not None else tuple(map(str, range(int(labels.max()) + 1)))
    return _checked(ImageSet(whole[~test], whole[test], known), path)


def _further(path: Path) -> tuple[Any, Any]:
    """The arrays `split` and `classes` of an archive, where they are there and small."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        found = []
        for name in ("split", "classes"):
            held = name in archive.files and len(header(archive, name)) == 1
            found.append(archive[name] if held else None)
    return found[0], found[1]


def _from_folders(path: Path, size: tuple[int, int] | None) -> ImageSet:
    test = next((path / name for name in TEST_FOLDERS if (path / name).is_dir()), None)
    if test is None or not (path / "train").is_dir():
        raise error("UNI130", f"expected folders train and {' or '.join(TEST_FOLDERS)} in {shown(path)}")
    names = sorted(folder.name for folder in (path / "train").iterdir() if folder.is_dir())
    if len(names) < 2:
        raise error("UNI130", f"expected a folder for each of at least two classes in {shown(path / 'train')}")
    parts = [_from_folder(folder, names, size) for folder in (path / "train", test)]
    return _checked(ImageSet(parts[0], parts[1], tuple(names)), path)


def _from_folder(folder: Path, names: list[str], size: tuple[int, int] | None) -> Labelled:
    """The pictures of one split. Raises one UninasError for all that cannot be read."""
    images: list[Tensor] = []
    labels: list[int] = []
    problems: list[Diagnostic] = []
    height, width = size or (0, 0)
    files = listed(folder)
    if len(files) * 3 * height * width > MOST_BYTES:
        raise error("UNI130", f"expected pictures that fit into {MOST_BYTES >> 30} GiB of memory in {shown(folder)}",
                    None, "read them as they are needed: --data folder:PATH")  # fmt: skip
    for file in files:
        name = file.relative_to(folder).parts[0]
        try:
            if name not in names:
                raise error("UNI130", f"the class {shown(name)} of {folder.name} is not among those for training")
            picture = decoded(file, RGB, file)
        except UninasError as problem:
            problems += problem.diagnostics
            continue
        if size:
            picture = _fitted(picture, height, width)
        images.append(picture)
        labels.append(names.index(name))
    if problems:
        raise UninasError(
            [Diagnostic("UNI130", f"{len(problems)} pictures in {folder} cannot be used"), *problems[:20]]
        )
    if not images:
        raise error("UNI130", f"there are no pictures in {shown(folder)}")
    return Labelled(_stacked(images, folder), torch.tensor(labels))


def _fitted(picture: Tensor, height: int, width: int) -> Tensor:
    """The middle of a picture at a size, as bytes."""
    from uninas.proxies.inputs import fitted

    return fitted(picture, (3, height, width)).round().clamp(0, 255).to(torch.uint8)


def _stacked(images: list[Tensor], path: Path) -> Tensor:
    sizes = {tuple(image.shape) for image in images}
    if len(sizes) != 1:
        raise error("UNI130", f"expected pictures of one size in {path}, but got {len(sizes)} sizes", None,
                    "name a size in the recipe: --set height=224 --set width=224")  # fmt: skip
    return torch.stack(images)


def _checked(images: ImageSet, path: Path) -> ImageSet:
    for part, name in ((images.train, "training"), (images.test, "the test")):
        if not len(part):
            raise error("UNI130", f"there are no images for {name} in {path}")
        if int(part.labels.max()) >= len(images.classes):
            raise error("UNI130", f"expected classes below {len(images.classes)} in {path}, "
                        f"but got {int(part.labels.max())}")  # fmt: skip
    return images


# ---- from bytes to what a network sees -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Shifts:
    """What is drawn for every image of an epoch: where its crop begins, and whether it is mirrored."""

    offsets: Tensor
    mirrored: Tensor

    @classmethod
    def draw(cls, count: int, pad: int, flip: float, source: torch.Generator) -> Shifts:
        offsets = torch.randint(0, 2 * pad + 1, (count, 2), generator=source)
        return cls(offsets, torch.rand(count, generator=source) < flip)

    def of(self, images: Tensor, chosen: Tensor, pad: int) -> Tensor:
        """The chosen images (bytes, already picked out), each shifted and mirrored in its own way."""
        height, width = images.shape[-2:]
        device = images.device
        offsets, mirrored = self.offsets[chosen].to(device), self.mirrored[chosen].to(device)
        rows = offsets[:, :1] + torch.arange(height, device=device)
        columns = torch.arange(width, device=device).expand(len(images), -1)
        columns = torch.where(mirrored[:, None], width - 1 - columns, columns) + offsets[:, 1:]
        padded = F.pad(images, (pad, pad, pad, pad)) if pad else images
        number = torch.arange(len(images), device=device)[:, None, None]
        return padded.movedim(1, -1)[number, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def as_input(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bytes to about mean 0 and deviation 1, by the statistics of ImageNet, at a height and width."""
    mean = torch.tensor(MEAN, device=images.device).reshape(3, 1, 1)
    deviation = torch.tensor(DEVIATION, device=images.device).reshape(3, 1, 1)
    x = (images.float() / 255 - mean) / deviation
    if tuple(x.shape[-2:]) != size:
        x = F.interpolate(x, size, mode="bilinear", antialias=size[0] < x.shape[-2], align_corners=False)
    return x
