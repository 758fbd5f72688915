"""Where a batch comes from: noise, white or pink, a folder of pictures, or an array in a file.

A source is a function from a generator to the inputs of a module, so that repeated scores can draw a batch each:

    >>> import torch
    >>> draw = source("normal", [(3, 8, 8)], 4)
    >>> draw(torch.Generator().manual_seed(0))[0].shape
    torch.Size([4, 3, 8, 8])

Where classes are known, the batch brings labels. Pictures are of the class of the folder, below the given one, that
they are in, if all are in one and there are at least two; these are numbered in alphabetical order, as torchvision's
ImageFolder does. Arrays of an .npz file have an array of N (or N x 1) whole numbers beside them: label, labels,
target, targets or y. An array of such a name that holds something else is an error for proxies that need labels.

Pictures, and arrays of integers from 0 to 255, are scaled to 0..1, then to about mean 0 and deviation 1 by the
statistics of ImageNet; arrays of floating-point numbers are taken as they are. Of pictures of another size the
largest middle part of the right proportions is resized.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib import format as npy
from torch import Tensor

from uninas.errors import shown
from uninas.proxies.types import Batch, ProxyError

Shape = Sequence[int]
Draw = Callable[[torch.Generator], Batch]

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".webp")
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "WEBP")

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the red, green and blue of ImageNet; pictures that are not of three channels get their averages."""

LABELS = ("label", "labels", "target", "targets", "y")
"""What an array of classes is called."""

MOST_IMAGES = 10_000_000
MOST_PIXELS = 2**26
MOST_BYTES = 2**32


def source(text: str, shapes: Sequence[Shape], count: int) -> Draw:
    """The source that a word names, of `count` samples for inputs of these shapes (each without the batch axis).

    "normal", "pink", a folder of pictures, a .npy or .npz file, or file.npz:KEY; files are looked at when a batch is
    drawn. Raises ProxyError if it is none of these, or no source of that kind has such shapes.
    """
    if text in NOISES:
        return NOISES[text](shapes, count)
    if not text:
        raise ProxyError("expected an input 'normal' or 'pink', a folder or a file, but got nothing")
    if len(shapes) != 1:
        raise ProxyError(f"expected a module of one input, to read it from {text}, but it has {len(shapes)}")
    path, key = located(text)
    if path.is_dir():
        return pictures(path, shapes[0], count)
    if path.suffix in (".npy", ".npz") and path.exists():
        return array(path, shapes[0], count, key)
    raise ProxyError(
        f"expected an input 'normal' or 'pink', a folder of pictures, or a .npy or .npz file, but got {shown(text)}",
        "" if path.exists() else f"there is nothing at {path}",
    )


def located(text: str) -> tuple[Path, str | None]:
    """The path in a word that names no noise, and the key behind a colon."""
    path = Path(text)
    if path.exists() or ":" not in text:
        return path, None
    name, _, key = text.rpartition(":")
    return Path(name), key


def digest(text: str) -> str:
    """A fingerprint of a source: the hash of a file, or of the paths and sizes in a folder.

    ProxyError if there is nothing. A noise is its own name.
    """
    if text in NOISES:
        return text
    path, _ = located(text)
    try:
        if not path.is_dir():
            if path.exists() and not path.is_file():
                raise ProxyError(f"cannot read {shown(text)}: it is no file")
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        sizes = [(str(file.relative_to(path)), file.stat().st_size) for file in listed(path)]
        return hashlib.sha256(repr(sizes).encode()).hexdigest()
    except OSError as problem:
        raise ProxyError(
            f"cannot read {shown(text)}: {problem.strerror}", "an input is normal, pink or a path"
        ) from None


def listed(folder: Path) -> list[Path]:
    """The pictures in a folder and the folders below it, sorted."""
    files = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    return sorted(islice(files, MOST_IMAGES + 1))


def normal(shapes: Sequence[Shape], count: int) -> Draw:
    """Independent standard normal numbers."""
    return lambda generator: Batch(
        torch.randn(count, *shape, generator=generator, device=generator.device) for shape in shapes
    )


def pink(shapes: Sequence[Shape], count: int) -> Draw:
    """Noise with the spectrum of natural pictures: amplitudes fall with the spatial frequency, as 1 / f (Field 1987).

    Neighbours are alike, channels independent; mean 0 and variance 1. For images C x H x W.
    """
    for shape in shapes:
        if len(shape) != 3:
            raise ProxyError(f"expected inputs C x H x W, to draw pink noise, but got shape {tuple(shape)}")

    def draw(generator: torch.Generator) -> Batch:
        return Batch(coloured(white) for white in normal(shapes, count)(generator))

    return draw


def coloured(white: Tensor) -> Tensor:
    """White noise (..., H, W) with its amplitudes divided by their frequencies, at the same variance."""
    height, width = white.shape[-2:]
    f = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width))
    f[0, 0] = 1 / max(height, width)  # the mean varies like the longest waves
    amplitude = (1 / f).to(white.device)
    amplitude /= amplitude.square().mean().sqrt()
    pink: Tensor = torch.fft.ifft2(torch.fft.fft2(white) * amplitude).real
    return pink.contiguous()


NOISES = {"normal": normal, "pink": pink}
"""Sources that need no file."""


def pictures(folder: Path, shape: Shape, count: int) -> Draw:
    """Pictures drawn without repetition from all in a folder and the folders below it, for C x H x W with C 1 or 3.

    They are numbered by their sorted paths, so equal generators draw equal pictures. Needs Pillow.
    """

    def draw(generator: torch.Generator) -> Batch:
        found = listed(folder)
        chosen = [found[number] for number in some(len(found), count, f"pictures in {folder}", generator)]
        images = torch.stack([prepared(file, shape, file) for file in chosen])
        return Batch([images], classes(found, chosen, folder))

    return draw


def classes(found: Sequence[Path], chosen: Sequence[Path], folder: Path) -> Tensor | None:
    """The numbers of the folders that the chosen ones of all pictures are in; None where that says nothing."""
    names = sorted({file.relative_to(folder).parts[0] for file in found if file.parent != folder})
    if len(names) < 2 or any(file.parent == folder for file in found):
        return None
    return torch.tensor([names.index(file.relative_to(folder).parts[0]) for file in chosen])


def array(path: Path, shape: Shape, count: int, key: str | None = None) -> Draw:
    """Samples drawn without repetition from an array (N, ...), channels first or last, in a .npy or .npz file.

    An .npz file of several arrays needs a `key`, unless only one has the right number of axes. Pictures may also be
    stored encoded: an array `jpeg` of all their bytes, and an array `offset` (N + 1) of where each begins.
    """

    def draw(generator: torch.Generator) -> Batch:
        arrays, named = opened(path, key, len(shape) + 1)
        what = f"samples in {path}"
        if len(arrays) > 1:
            total = len(offsets_of(arrays, path)) - 1
            chosen = some(total, count, what, generator)
            files = encoded(arrays, path, chosen)
            images = torch.stack([prepared(file, shape, f"{n} in {path}") for n, file in files])
        else:
            (stored,) = arrays.values()
            if stored.dtype.kind not in "iuf" or not stored.ndim:
                raise ProxyError(
                    f"expected an array of numbers in {path}, but got {stored.dtype} of {stored.ndim} axes"
                )
            total = len(stored)
            chosen = some(total, count, what, generator)
            if math.prod(stored.shape[1:]) * count * stored.dtype.itemsize > MOST_BYTES:
                raise ProxyError(f"expected {what} of together at most {MOST_BYTES >> 30} GiB, not {stored.shape}")
            images = as_samples(stored[chosen], shape, path)
        if named is None:
            return Batch([images])
        labels, why = as_labels(*named, total, path)
        return Batch([images], None if labels is None else labels[chosen], why)

    return draw


def some(total: int, count: int, what: str, generator: torch.Generator) -> list[int]:
    """`count` different numbers below `total`."""
    if not count <= total <= MOST_IMAGES:
        raise ProxyError(f"expected from {count:,} to {MOST_IMAGES:,} {what}, but found {total:,}")
    return torch.randperm(total, generator=generator, device=generator.device)[:count].tolist()


# ---- pictures --------------------------------------------------------------------------------------------------------


def prepared(file: Path | IO[bytes], shape: Shape, name: object) -> Tensor:
    """A picture in a file as a sample C x H x W."""
    return normalised(fitted(decoded(file, shape, name), shape))


def decoded(file: Path | IO[bytes], shape: Shape, name: object) -> Tensor:
    """A picture in a file as bytes (C, height, width), C that of `shape`. ProxyError if it cannot be read."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ProxyError(f"expected inputs of 1 or 3 channels, to read pictures, but got shape {tuple(shape)}")
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise ProxyError("reading pictures needs Pillow", "pip install pillow") from None
    if isinstance(file, Path) and not file.is_file():
        raise ProxyError(f"cannot read the picture {name}: it is no file")
    try:
        with Image.open(file, formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(f"{picture.width} x {picture.height} pixels are too many")
            pixels = np.array(picture.convert("L" if shape[0] == 1 else "RGB"))
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as problem:
        why = "it is no picture" if isinstance(problem, UnidentifiedImageError) else problem
        raise ProxyError(f"cannot read the picture {name}: {why}") from None
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], shape[0]).movedim(-1, 0)


def fitted(image: Tensor, shape: Shape) -> Tensor:
    """The largest part in the middle of an image (C, h, w) that has the proportions of H x W, resized to that."""
    height, width = shape[1:]
    h, w = image.shape[1:]
    scale = min(h / height, w / width)
    inner_h, inner_w = (max(1, min(extent, round(n * scale))) for extent, n in ((h, height), (w, width)))
    top, left = (h - inner_h) // 2, (w - inner_w) // 2
    middle = image[:, top : top + inner_h, left : left + inner_w]
    if (inner_h, inner_w) == (height, width):
        return middle
    return F.interpolate(middle[None].float(), (height, width), mode="bilinear", antialias=True)[0]


def normalised(image: Tensor) -> Tensor:
    """Values 0..255 of (C, H, W) to about mean 0 and deviation 1."""
    mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
    if len(image) != len(MEAN):
        mean, deviation = mean.mean(), deviation.mean()
    return (image.float() / 255 - mean.reshape(-1, 1, 1)) / deviation.reshape(-1, 1, 1)


# ---- arrays ----------------------------------------------------------------------------------------------------------


def opened(path: Path, key: str | None, axes: int) -> tuple[Mapping[str, Any], tuple[str, Any] | None]:
    """The array to read from a file, by name, or the two of encoded pictures; and what is called labels, with its name.

    Nothing in it is unpickled.
    """
    if not path.is_file():  # to open a pipe or a device may wait for good
        raise ProxyError(f"expected a file at {path}, but that is none")
    try:
        if path.suffix == ".npy":
            return {path.name: np.load(path, mmap_mode="r", allow_pickle=False)}, None
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            headers = {name: header(archive, name) for name in archive.files[:1000]}
            chosen = chosen_keys(headers, key, axes, path)
            return {name: archive[name] for name in chosen}, labels_in(archive, headers)
    except ProxyError:
        raise
    except MemoryError:
        raise ProxyError(f"out of memory: {path} is too large", "take smaller or fewer samples") from None
    except Exception as problem:  # whatever a damaged file makes numpy and zipfile say
        raise ProxyError(f"cannot read {path}: {problem}") from None


def labels_in(archive: Any, headers: Mapping[str, tuple[int, ...]]) -> tuple[str, Any] | None:
    """The array that is called labels, by name; its content is None for objects, which would have to be unpickled."""
    named = next((name for name in LABELS if name in headers), None)
    if named is None:
        return None
    try:
        return named, archive[named]
    except ValueError:
        return named, None


def as_labels(name: str, array: Any, total: int, path: Path) -> tuple[Tensor | None, str]:
    """An array as classes (N,), or None and why it is none: one whole number for each sample, as N or N x 1."""
    found = "objects" if array is None else f"{array.dtype} of shape {array.shape}"
    why = f"expected {total} whole numbers as labels in {name} of {path}, but it has {found}"
    if array is None or array.shape not in ((total,), (total, 1)) or array.dtype.kind not in "iuf":
        return None, why
    flat = array.reshape(total).astype(np.float64 if array.dtype.kind == "f" else np.int64)
    if not (np.isfinite(flat).all() and (flat == np.floor(flat)).all() and (abs(flat) < 2**53).all()):
        return None, f"{why} that are not whole"
    return torch.from_numpy(flat.astype(np.int64)), ""


def header(archive: Any, name: str) -> tuple[int, ...]:
    """The shape of an array in an archive, before any memory is taken for it."""
    member = name if name in archive.zip.namelist() else f"{name}.npy"
    with archive.zip.open(member) as file:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
    if math.prod(shape) * dtype.itemsize > MOST_BYTES:
        raise ValueError(f"{name} is larger than {MOST_BYTES >> 30} GiB")
    return shape


def chosen_keys(headers: Mapping[str, tuple[int, ...]], key: str | None, axes: int, path: Path) -> list[str]:
    """Which arrays of an archive hold the samples."""
    if key is None and {"jpeg", "offset"} <= headers.keys():
        return ["jpeg", "offset"]
    fitting = [name for name, shape in headers.items() if (len(shape) == axes if key is None else name == key)]
    if len(fitting) != 1:
        listed = ", ".join(f"{name} ({' x '.join(map(str, shape))})" for name, shape in headers.items())
        wanted = f"one array of {axes} axes" if key is None else f"an array {shown(key)}"
        raise ProxyError(f"expected {wanted} in {path}, but it has {listed or 'none'}", f"name one: {path.name}:KEY")
    return fitting


def offsets_of(arrays: Mapping[str, Any], path: Path) -> Any:
    """Where each of the encoded pictures begins. ProxyError unless they are bytes and integers."""
    data, offsets = arrays["jpeg"], arrays["offset"]
    flat = data.ndim == offsets.ndim == 1 and len(offsets) > 0
    if not flat or data.dtype != np.uint8 or offsets.dtype.kind not in "iu":
        raise ProxyError(f"expected jpeg (bytes) and offset (N + 1 integers) in {path}")
    return offsets


def encoded(arrays: Mapping[str, Any], path: Path, chosen: Sequence[int]) -> Iterator[tuple[int, IO[bytes]]]:
    """The chosen ones of encoded pictures, by number."""
    data, offsets = arrays["jpeg"], offsets_of(arrays, path)
    for n in chosen:
        yield n, io.BytesIO(data[int(offsets[n]) : int(offsets[n + 1])].tobytes())


def as_samples(rows: Any, shape: Shape, path: Path) -> Tensor:
    """Rows of an array as inputs (n, *shape). ProxyError if they cannot be that."""
    scaled = rows.dtype.kind in "iu"
    if len(shape) == 3:
        rows = as_images(rows, shape[0])
    if rows.shape[1:] != (tuple(shape) if len(shape) != 3 else (shape[0], *rows.shape[2:4])) or not rows.size:
        raise ProxyError(f"expected samples of shape {tuple(shape)} in {path}, but got {rows.shape[1:]}")
    if scaled and not 0 <= rows.min() <= rows.max() <= 255:
        raise ProxyError(f"expected integers from 0 to 255 in {path}, but got {rows.min()} to {rows.max()}")
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, and is told
        samples = torch.from_numpy(rows.astype(np.float32))
    if not samples.isfinite().all():
        raise ProxyError(f"expected finite numbers, none beyond 3e38, in {path}")
    if len(shape) != 3:
        return samples
    images = [fitted(image, shape) for image in samples]
    return torch.stack([normalised(image) for image in images] if scaled else images)


def as_images(rows: Any, channels: int) -> Any:
    """Images with the channels first. ProxyError where both ends could be channels."""
    if rows.ndim == 3 and channels == 1:
        return rows[:, None]
    if rows.ndim == 4 and rows.shape[1] == rows.shape[3] == channels:
        shape = " x ".join(map(str, rows.shape[1:]))
        raise ProxyError(f"samples of {shape} may have their channels first or last", "store them as C x H x W")
    last = rows.ndim == 4 and rows.shape[3] == channels
    return np.moveaxis(rows, 3, 1) if last else rows
