"""Where batches come from: noise, pictures, arrays; and what is wrong with them."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from uninas.proxies import ProxyError, inputs, score, source

WHITE = [(1 - mean) / deviation for mean, deviation in zip(inputs.MEAN, inputs.DEVIATION, strict=True)]
SHAPE = (3, 4, 6)


def draw(text: object, count: int = 2, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Tensor:
    (batch,) = source(str(text), [shape], count)(torch.Generator().manual_seed(seed))
    return batch


def save(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures of one grey each in two folders, and a file that is none."""
    (tmp_path / "b").mkdir()
    for number in range(6):
        place = tmp_path / ("b" if number % 2 else ".") / f"{number}.{'png' if number < 4 else 'JPG'}"
        Image.new("RGB", (12, 8), (40 * number,) * 3).save(place)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


# -- what is drawn -------------------------------------------------------------------------------------------


def test_noise_has_the_shapes_of_all_inputs():
    one, other = source("normal", [(3, 50), (7,)], 40)(torch.Generator().manual_seed(0))
    assert (one.shape, other.shape) == ((40, 3, 50), (40, 7))
    assert abs(float(one.mean())) < 0.1
    assert float(one.std()) == pytest.approx(1, rel=0.05)


def test_pink_noise_has_amplitudes_that_fall_with_the_frequency():
    batch = draw("pink", 400, (2, 32, 64))
    assert abs(float(batch.mean())) < 0.02
    assert float(batch.var()) == pytest.approx(1, rel=0.05)
    power = torch.fft.fft2(batch.double()).abs().square().mean((0, 1))
    for frequency, (row, column) in {1 / 8: (4, 0), 1 / 4: (0, 16), 2**0.5 / 4: (8, 16)}.items():
        assert float(power[0, 4] / power[row, column]) == pytest.approx((frequency * 16) ** 2, rel=0.3)
    channels = torch.corrcoef(batch.transpose(0, 1).flatten(1))
    assert abs(float(channels[0, 1])) < 0.05
    assert torch.equal(batch, draw("pink", 400, (2, 32, 64))) and not torch.equal(
        batch, draw("pink", 400, (2, 32, 64), seed=1)
    )


def test_pink_noise_is_of_images():
    with pytest.raises(ProxyError, match=r"expected inputs C x H x W, to draw pink noise, but got shape \(7,\)"):
        draw("pink", shape=(7,))


def test_a_digest_tells_whether_a_source_has_changed(folder: Path, tmp_path: Path):
    path = save(tmp_path / "x.npz", a=np.zeros((4, *SHAPE)))
    before = [inputs.digest(text) for text in ("pink", str(folder), str(path), f"{path}:a")]
    assert len(set(before)) == 3 and before[2] == before[3]
    save(path, a=np.ones((4, *SHAPE)))
    (folder / "0.png").rename(folder / "00.png")
    after = [inputs.digest(text) for text in ("pink", str(folder), str(path))]
    assert [one == other for one, other in zip(before, after, strict=False)] == [True, False, False]
    with pytest.raises(ProxyError, match="cannot read nois: No such file or directory"):
        inputs.digest("nois")


def greys(batch: Tensor) -> list[int]:
    """The grey of each of the pictures, which must be of one grey."""
    assert float((batch - batch[:, :, :1, :1]).abs().max()) < 1e-5
    red = batch[:, 0, 0, 0] * inputs.DEVIATION[0] + inputs.MEAN[0]
    return (255 * red).round().int().tolist()


def test_pictures_are_drawn_without_repetition_and_by_seed(folder: Path):
    assert draw(folder).shape == (2, *SHAPE)
    assert sorted(greys(draw(folder, 6))) == [0, 40, 80, 120, 160, 200]
    assert greys(draw(folder, 6)) == greys(draw(folder, 6))
    assert len({tuple(greys(draw(folder, 6, seed=seed))) for seed in range(5)}) > 1


def test_grey_networks_get_grey_pictures(folder: Path):
    assert draw(folder, shape=(1, 4, 4)).shape == (2, 1, 4, 4)


def test_the_middle_of_a_picture_is_kept(tmp_path: Path):
    picture = np.zeros((6, 20, 3), np.uint8)
    picture[:, 7:13] = 255
    Image.fromarray(picture).save(tmp_path / "a.png")
    batch = draw(tmp_path, 1, (3, 6, 6))
    torch.testing.assert_close(batch, torch.tensor(WHITE)[:, None, None].expand(1, 3, 6, 6))


@pytest.mark.parametrize("size", [(300, 1), (1, 300), (1, 1), (5, 9)])
def test_pictures_of_any_proportion(tmp_path: Path, size: tuple[int, int]):
    Image.new("L", size, 255).save(tmp_path / "a.png")
    assert draw(tmp_path, 1)[0, :, 2, 2].tolist() == pytest.approx(WHITE)


@pytest.mark.parametrize("layout", ["first", "last"])
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_bytes_are_scaled_wherever_the_channels_are(tmp_path: Path, layout: str, kind: str):
    images = np.full((5, 4, 6, 3), 255, np.uint8)
    images[..., 1] = 0
    stored = images if layout == "last" else images.transpose(0, 3, 1, 2)
    path = tmp_path / f"x.{kind}"
    np.save(path, stored) if kind == "npy" else save(path, images=stored, labels=np.arange(5))
    batch = draw(path)
    assert batch.shape == (2, *SHAPE)
    assert batch[0, :, 0, 0].tolist() == pytest.approx([WHITE[0], -inputs.MEAN[1] / inputs.DEVIATION[1], WHITE[2]])


def test_numbers_that_are_no_bytes_stay(tmp_path: Path):
    rows = np.random.default_rng(0).normal(size=(9, *SHAPE))
    np.save(tmp_path / "x.npy", rows)
    batch = draw(tmp_path / "x.npy", 9)
    order = [int(np.argmin(np.abs(rows[:, 0, 0, 0] - float(one[0, 0, 0])))) for one in batch]
    assert sorted(order) == list(range(9))
    torch.testing.assert_close(batch, torch.from_numpy(rows[order]).float())


def test_samples_that_are_no_images(tmp_path: Path):
    np.save(tmp_path / "x.npy", np.ones((4, 7)))
    assert torch.equal(draw(tmp_path / "x.npy", shape=(7,)), torch.ones(2, 7))


def test_a_key_picks_one_of_several_arrays(tmp_path: Path):
    path = save(tmp_path / "x.npz", a=np.zeros((4, *SHAPE)), b=np.ones((4, *SHAPE)))
    assert torch.equal(draw(f"{path}:b"), torch.ones(2, *SHAPE))
    with pytest.raises(ProxyError, match=r"expected one array of 4 axes .* a \(4 x 3 x 4 x 6\), b .*\n.*x.npz:KEY"):
        draw(path)
    with pytest.raises(ProxyError, match="expected an array c in"):
        draw(f"{path}:c")


def encoded(*pictures: bytes) -> dict[str, np.ndarray]:
    return {
        "jpeg": np.frombuffer(b"".join(pictures), np.uint8),
        "offset": np.cumsum([0, *map(len, pictures)]),
    }


def jpeg(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (grey,) * 3).save(file, "JPEG")
    return file.getvalue()


def test_encoded_pictures_in_an_array(tmp_path: Path):
    path = save(tmp_path / "x.npz", **encoded(jpeg(0), jpeg(100), jpeg(200)))
    assert sorted(greys(draw(path, 3))) == [0, 100, 200]


def test_real_images_of_a_benchmark(shared: Path):
    batch = draw(shared / "benchmarks" / "cifar10_jpg_24k.npz", 8, (3, 32, 32))
    assert batch.shape == (8, 3, 32, 32)
    assert 0.5 < float(batch.std()) < 2


def test_a_score_draws_its_own_batch(tmp_path: Path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(50, 7)))
    drawn = source(str(tmp_path / "x.npy"), [(7,)], 4)
    result = score("snip", nn.Linear(7, 3), drawn, repeats=3, init="xavier_normal")
    assert 0 < result.spread < result.value


# -- labels --------------------------------------------------------------------------------------------------


def labelled(text: object, count: int = 4) -> tuple[list[int], list[int]]:
    """The greys of pictures, and their labels."""
    batch = source(str(text), [SHAPE], count)(torch.Generator().manual_seed(0))
    assert batch.labels is not None and batch.labels.dtype == torch.int64
    return greys(batch[0]), batch.labels.tolist()


def test_folders_are_classes(tmp_path: Path):
    for grey, place in ((0, "cat"), (40, "dog/old"), (80, "cat"), (120, "ant"), (160, "dog")):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), (grey,) * 3).save(tmp_path / place / f"{grey}.png")
    found, labels = labelled(tmp_path, 5)
    assert dict(zip(found, labels, strict=True)) == {120: 0, 0: 1, 80: 1, 40: 2, 160: 2}


def test_folders_that_are_no_classes(folder: Path, tmp_path: Path):
    generator = torch.Generator()
    assert source(str(folder), [SHAPE], 2)(generator).labels is None  # some pictures are in none
    assert source(str(folder / "b"), [SHAPE], 2)(generator).labels is None  # all are
    for picture in folder.glob("*.*"):
        picture.unlink()
    assert source(str(folder), [SHAPE], 2)(generator).labels is None  # one class


@pytest.mark.parametrize("name", inputs.LABELS)
def test_arrays_of_classes(tmp_path: Path, name: str):
    numbers = np.arange(4, dtype=np.uint8)
    plain = (numbers[:, None, None, None] * 40 * np.ones((1, *SHAPE))).astype(np.uint8)
    for arrays in ({"x": plain}, encoded(*(jpeg(40 * number) for number in numbers))):
        found, labels = labelled(save(tmp_path / "x.npz", **arrays, **{name: numbers}))
        assert [40 * label for label in labels] == found


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros(3, int),
        np.zeros(4) + 0.5,
        np.zeros((4, 2), int),
        np.full(4, np.nan),
        np.full(4, 1e300),
        np.eye(4),
        np.array(["a"] * 4),
        np.array(["a"] * 4, object),
        np.zeros(4, bool),
        np.zeros(4, complex),
    ],
    ids=str,
)
def test_arrays_that_are_no_classes(tmp_path: Path, labels: np.ndarray):
    path = save(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(4, *SHAPE)), label=labels)
    drawn = source(str(path), [SHAPE], 2)
    assert drawn(torch.Generator()).labels is None
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 5))
    with pytest.raises(ProxyError, match=r"whole numbers as labels in label of .*\n.*labels=random"):
        score("snip", module, drawn)
    assert score("snip", module, drawn, labels="random").value > 0 and score("naswot", module, drawn).value


@pytest.mark.parametrize("kind", [np.int8, np.uint64, np.float32, np.float16, np.float64])
@pytest.mark.parametrize("column", [False, True])
def test_whole_numbers_are_classes_however_they_are_stored(tmp_path: Path, kind: type, column: bool):
    numbers = np.array([3, 1, 2, 0])
    x = np.ones((4, *SHAPE)) * numbers[:, None, None, None]
    path = save(tmp_path / "x.npz", x=x, label=(numbers[:, None] if column else numbers).astype(kind))
    batch = source(str(path), [SHAPE], 4)(torch.Generator().manual_seed(0))
    assert batch.labels is not None and batch.labels.tolist() == batch[0][:, 0, 0, 0].tolist()


def test_images_whose_channels_may_be_first_or_last_are_refused(tmp_path: Path):
    path = save(tmp_path / "x.npz", x=np.zeros((4, 3, 7, 3)))
    with pytest.raises(ProxyError, match="3 x 7 x 3 may have their channels first or last"):
        source(str(path), [(3, 7, 7)], 2)(torch.Generator())


def test_numbers_beyond_float32_are_not_finite(tmp_path: Path):
    np.save(tmp_path / "x.npy", np.full((4, *SHAPE), 1e300))
    with pytest.raises(ProxyError, match="finite"):
        source(str(tmp_path / "x.npy"), [SHAPE], 2)(torch.Generator())


def test_rows_of_gigabytes_are_refused_before_they_are_read(tmp_path: Path):
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f8", "fortran_order": False, "shape": (4, 3, 20_000, 10_000)}
        )
        file.truncate(4 * 3 * 20_000 * 10_000 * 8 + 128)  # a sparse file: no bytes on the disk
    with pytest.raises(ProxyError, match="GiB"):
        source(str(tmp_path / "x.npy"), [SHAPE], 2)(torch.Generator())


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "folder/x.png"])
def test_pipes_are_no_files(tmp_path: Path, name: str):
    """To open one waits for a writer that may never come."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / name)
    place = tmp_path / name if "/" not in name else tmp_path / "folder"
    with pytest.raises(ProxyError, match=r"no file|that is none"):
        source(str(place), [SHAPE], 1)(torch.Generator())
    if "/" not in name:
        with pytest.raises(ProxyError, match="no file"):
            inputs.digest(str(place))


@pytest.mark.parametrize("proxy", ["epe_nas", "fisher", "grad_norm", "grad_sign", "grasp", "plain", "snip", "zico"])
def test_a_score_takes_the_labels_of_its_batch(tmp_path: Path, proxy: str):
    rng = np.random.default_rng(0)
    path = save(tmp_path / "x.npz", x=rng.normal(size=(50, *SHAPE)), y=rng.integers(3, size=50))
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))

    def value(batch: object, **options: object) -> float:
        return score(proxy, module, batch, torch.Generator().manual_seed(1), **options).value

    drawn = source(str(path), [SHAPE], 8)
    batch = drawn(torch.Generator().manual_seed(1))
    assert batch.labels is not None
    expected = value(tuple(batch), labels=batch.labels)
    assert value(drawn) == value(batch) == value(batch, labels=batch.labels) == expected
    assert value(batch, labels="random") == value(tuple(batch)) != expected


def test_labels_beyond_the_classes_have_a_way_out(tmp_path: Path):
    path = save(tmp_path / "x.npz", x=np.zeros((4, *SHAPE)) + np.arange(4)[:, None, None, None], y=np.arange(4) + 3)
    module, drawn = nn.Sequential(nn.Flatten(), nn.Linear(72, 5)), source(str(path), [SHAPE], 4)
    with pytest.raises(ProxyError, match=r"expected labels from 0 to 4, but got 3 to 6\n.*labels=random"):
        score("snip", module, drawn)
    assert score("snip", module, drawn, labels="random").value > 0
    assert score("trainable_layers", module, drawn).value == 2  # asks for none


# -- mistakes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 4, 6)), r"expected samples of shape \(3, 4, 6\)"),
        (np.zeros((5, 2, 4, 6)), r"expected samples of shape \(3, 4, 6\) in .*, but got \(2, 4, 6\)"),
        (np.zeros((5, 3, 0, 6)), "expected samples of shape"),
        (np.full((5, *SHAPE), np.nan), "expected finite numbers"),
        (np.zeros((5, *SHAPE), complex), "expected an array of numbers in .*, but got complex128 of 4 axes"),
        (np.zeros((5, *SHAPE), bool), "expected an array of numbers"),
        (np.full((5, *SHAPE), 256), "expected integers from 0 to 255 in .*, but got 256 to 256"),
        (np.full((5, *SHAPE), -1, np.int8), "expected integers from 0 to 255 in .*, but got -1 to -1"),
        (np.zeros((1, *SHAPE)), "expected from 2 to 10,000,000 samples in .*, but found 1"),
        (np.array("text"), "cannot read|expected an array of numbers"),
        (np.array([["text"] * 6] * 4), "cannot read|expected an array of numbers"),
        (np.array([{}, {}], dtype=object), "cannot read"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, array: np.ndarray, message: str):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(ProxyError, match=message):
        draw(tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", key=array)
    with pytest.raises(ProxyError, match=message):
        draw(f"{tmp_path / 'x.npz'}:key")


@pytest.mark.parametrize(
    ("content", "suffix"),
    [(b"", "npy"), (b"", "npz"), (b"PK\3\4 nonsense", "npz"), (b"\x80\4K\1.", "npy"), (b"\x93NUMPY\1\0v\0{", "npy")],
)
def test_files_that_are_no_arrays(tmp_path: Path, content: bytes, suffix: str):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ProxyError, match="cannot read"):
        draw(path)


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path: Path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**40, *SHAPE)})
    (tmp_path / "x.npy").write_bytes(header.getvalue())
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("key.npy", header.getvalue())
    for name in ("x.npy", "x.npz"):
        with pytest.raises(ProxyError, match="cannot read"):
            draw(tmp_path / name)


@pytest.mark.parametrize(
    "arrays",
    [
        {"jpeg": np.zeros(9, np.uint8), "offset": np.zeros((3, 3))},
        {"jpeg": np.zeros(9), "offset": np.zeros(3, int)},
        {"jpeg": np.zeros(9, np.uint8), "offset": np.zeros(0, int)},
    ],
)
def test_encoded_pictures_need_bytes_and_offsets(tmp_path: Path, arrays: dict[str, np.ndarray]):
    with pytest.raises(ProxyError, match=r"expected jpeg .bytes. and offset"):
        draw(save(tmp_path / "x.npz", **arrays))


@pytest.mark.parametrize("content", [b"", b"GIF89a", jpeg(7)[:60], b"\x89PNG\r\n\x1a\n" + bytes(30)])
def test_pictures_that_cannot_be_read_are_named(tmp_path: Path, content: bytes):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ProxyError, match=r"cannot read the picture .*a\.png: (it is no picture|Truncated)"):
        draw(tmp_path, 1)
    with pytest.raises(ProxyError, match=r"cannot read the picture 0 in .*x\.npz: (it is no picture|Truncated)"):
        draw(save(tmp_path / "x.npz", **encoded(content)), 1)


def test_pictures_of_too_many_pixels(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inputs, "MOST_PIXELS", 12)
    with pytest.raises(ProxyError, match="12 x 8 pixels are too many"):
        draw(folder)


def test_pictures_need_pillow(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ProxyError, match="needs Pillow"):
        draw(folder)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [([(3, 4, 4), (3, 4, 4)], "expected a module of one input"), ([(2, 4, 4)], "1 or 3 channels"), ([(7,)], "1 or 3")],
)
def test_shapes_that_are_no_pictures(folder: Path, shapes: list[tuple[int, ...]], message: str):
    with pytest.raises(ProxyError, match=message):
        source(str(folder), shapes, 2)(torch.Generator())


def test_too_few_pictures_and_unknown_words(folder: Path):
    with pytest.raises(ProxyError, match=r"expected from 7 to 10,000,000 pictures in .*, but found 6"):
        draw(folder, 7)
    for wrong in ("nois", "nois.npz", "nois.npy"):
        expected = rf"expected an input 'normal' or 'pink', a folder .*, but got {wrong}\n.*nothing at {wrong}"
        with pytest.raises(ProxyError, match=expected):
            draw(wrong)
    with pytest.raises(ProxyError, match="expected an input 'normal' or 'pink', a folder"):
        draw(folder / "notes.txt")
    with pytest.raises(ProxyError, match="a folder or a file, but got nothing"):
        draw("")
