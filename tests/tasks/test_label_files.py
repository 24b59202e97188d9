"""Label files as users have them: palettes, broken files, wrong formats, and real photographs' labels."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from conftest import PHOTOS, needs_photos
from PIL import Image

from mtl.tasks import HumanParts, Saliency, SemanticSegmentation, SurfaceNormals
from mtl.tasks.label_files import read_array, read_levels16

ALL = {
    "semseg": SemanticSegmentation(21),
    "human_parts": HumanParts(),
    "saliency": Saliency(),
    "normals": SurfaceNormals(),
}


def save(path, array):
    Image.fromarray(array).save(path)
    return path


def test_a_palette_image_gives_its_indices(tmp_path):
    ids = np.random.default_rng(0).integers(0, 21, (9, 11)).astype(np.uint8)
    ids[0, 0] = 255
    image = Image.fromarray(ids)
    image.putpalette(np.random.default_rng(1).integers(0, 256, 768).astype(np.uint8).tobytes())
    image.save(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").mode == "P"
    assert np.array_equal(ALL["semseg"].read(tmp_path / "a.png"), ids)
    assert np.array_equal(ALL["semseg"].read(save(tmp_path / "grey.png", ids)), ids)


@pytest.mark.parametrize("task", ALL.values(), ids=ALL.keys())
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.9])
def test_a_broken_file_is_named(tmp_path, task, share):
    shape = (64, 64, 3) if task.name == "normals" else (64, 64)
    path = save(tmp_path / "label.png", np.random.default_rng(0).integers(0, 5, shape).astype(np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"label\.png"):
        task.read(path)


def test_an_empty_missing_or_foreign_file_is_named(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    for name, reason in {"empty.png": "is empty", "text.png": "cannot", "missing.png": "No such file"}.items():
        with pytest.raises(ValueError, match=rf"{name}.*{reason}" if reason != "cannot" else rf"cannot read.*{name}"):
            ALL["semseg"].read(tmp_path / name)


def test_several_arrays_and_32_bits_are_refused(tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        np.savez(file, depth=np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"a\.npy is a \.npz of several arrays"):
        read_array(tmp_path / "a.npy")
    Image.fromarray(np.full((2, 2), 70_000, np.int32)).save(tmp_path / "a.png", format="TIFF")
    with pytest.raises(ValueError, match=r"a\.png has the channels 'I', not one of 16 bits"):
        read_levels16(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["semseg", "human_parts", "saliency"])
@pytest.mark.parametrize("shape", [(4, 4, 3), (4, 4, 4), (4, 4, 2)])
def test_class_ids_with_several_channels_are_refused(tmp_path, name, shape):
    with pytest.raises(ValueError, match=r"a\.png.*one channel"):
        ALL[name].read(save(tmp_path / "a.png", np.zeros(shape, np.uint8)))


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4)])
def test_normals_need_three_channels(tmp_path, shape):
    with pytest.raises(ValueError, match=r"a\.png.*three channels"):
        ALL["normals"].read(save(tmp_path / "a.png", np.zeros(shape, np.uint8)))


@pytest.mark.parametrize("task", ALL.values(), ids=ALL.keys())
def test_16_bit_files_are_refused(tmp_path, task):
    shape = (4, 4, 3) if task.name == "normals" else (4, 4)
    cv2.imwrite(str(tmp_path / "a.png"), np.full(shape, 300, np.uint16))
    with pytest.raises(ValueError, match=r"a\.png has 16"):
        task.read(tmp_path / "a.png")


def test_class_ids_in_a_jpeg_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.jpg is a JPEG"):
        ALL["semseg"].read(save(tmp_path / "a.jpg", np.zeros((8, 8), np.uint8)))


def test_a_damaged_chunk_is_named(tmp_path):
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", b"not deflated"), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.png"):
        ALL["semseg"].read(tmp_path / "a.png")


def test_ids_out_of_range_are_named_with_their_file():
    target = np.array([[0, 20, 21, 255]], np.uint8)
    with pytest.raises(ValueError, match=r"x\.png: class id 21 is not in 0\.\.20 or 255"):
        ALL["semseg"].check(target, "x.png")
    ALL["semseg"].check(target[:, [0, 1, 3]], "x.png")
    with pytest.raises(ValueError, match=r"x\.png: class id 2 .*0\.\.1 or 255"):
        ALL["saliency"].check(np.array([[2]], np.uint8), "x.png")
    with pytest.raises(ValueError, match=r"x\.png.*\(H, W\) uint8"):
        ALL["human_parts"].check(np.zeros((2, 2), np.int64), "x.png")


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_ids_in_grey_of_few_bits_are_as_stored(tmp_path, depth):
    """Written by hand: Pillow reads such files stretched to 8 bits, and writes none."""
    ids = np.arange(2**depth, dtype=np.uint8)
    packed = np.packbits(np.unpackbits(ids[:, None], axis=1)[:, 8 - depth :]).tobytes()

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", len(ids), 1, depth, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + packed)), (b"IEND", b"")]
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    assert ALL["semseg"].read(path).tolist() == [ids.tolist()]
    assert ALL["saliency"].read(path).tolist() == [(ids >= 2 ** (depth - 1)).astype(int).tolist()]


def test_a_jpeg_is_no_label_whatever_its_name(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png", format="JPEG")
    with pytest.raises(ValueError, match=r"a\.png is a JPEG"):
        ALL["semseg"].read(tmp_path / "a.png")
    with pytest.raises(ValueError, match="not a file"):
        ALL["semseg"].read(tmp_path)


@needs_photos
@pytest.mark.parametrize("name", ALL)
def test_labels_of_real_photographs_are_read(name):
    task = ALL[name]
    paths = sorted((PHOTOS / name).iterdir())[::7]
    values = set()
    for path in paths:
        target = task.read(path)
        task.check(target, str(path))
        if name != "normals":
            values |= set(np.unique(target).tolist())
    expected = {"semseg": set(range(21)) | {255}, "human_parts": set(range(7)), "saliency": {0, 1}, "normals": set()}
    assert values <= expected[name]
    assert len(paths) > 5
    assert len(values) > 1 or name == "normals"
