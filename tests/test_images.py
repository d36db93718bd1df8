"""Pictures in, squares out; bad files are told apart."""

import struct
import warnings

import numpy as np
import pytest
from PIL import Image

from keras_attn import images


def test_paths_pictures_and_arrays_are_read_alike(tmp_path):
    array = np.arange(4 * 6 * 3, dtype="uint8").reshape(4, 6, 3)
    picture = Image.fromarray(array)
    picture.save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), picture, array):
        np.testing.assert_array_equal(images.read(source), array)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "I;16"])
def test_every_mode_becomes_red_green_and_blue(tmp_path, mode):
    extension = "jpg" if mode == "CMYK" else "png"
    Image.new(mode, (5, 4)).save(tmp_path / f"a.{extension}")
    assert images.read(tmp_path / f"a.{extension}").mode == "RGB"


def test_transparent_palettes_are_read_without_a_warning(tmp_path):
    picture = Image.new("P", (2, 1), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.save(tmp_path / "a.png", transparency=bytes([0, 50]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = images.read(tmp_path / "a.png")
    assert (np.asarray(read) == (10, 20, 30)).all()


def test_the_camera_s_orientation_counts(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn by 90 degrees.
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    for source in (tmp_path / "a.jpg", Image.open(tmp_path / "a.jpg")):
        assert images.read(source).size == (4, 8)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA"])
def test_it_counts_in_every_mode_and_format(tmp_path, name, mode):
    """Also where Pillow would map the file into memory."""
    exif = Image.Exif()
    exif[0x0112] = 6  # its left side is the upper one
    dtype = "uint16" if mode == "I;16" else "uint8"
    bright = np.iinfo(dtype).max
    half = np.zeros((16, 32), dtype)
    half[:, :16] = bright
    picture = Image.fromarray(half)
    if mode != "I;16":
        picture = picture.convert(mode)
    picture.save(tmp_path / name, exif=exif)
    read = np.asarray(images.read(tmp_path / name))
    assert read.shape == (32, 16, 3)
    assert (read[:16] == 255).all() and (read[16:] == 0).all()


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_other_depths_are_refused(tmp_path, dtype):
    """Pillow would clip them to 255."""
    Image.fromarray(np.full((4, 4), 0.5).astype(dtype)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="a.tif: expected 8 or 16 bits a chan"):
        images.read(tmp_path / "a.tif")


def test_sixteen_bits_are_scaled_and_not_clipped():
    deep = Image.fromarray(np.full((4, 4), 32768, "uint16"))
    assert deep.mode == "I;16"
    assert (np.asarray(images.read(deep)) == 128).all()


def test_bad_files_are_told_apart(tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    with pytest.raises(ValueError, match="text.jpg: not an image"):
        images.read(text)

    whole = tmp_path / "whole.jpg"
    Image.effect_noise((99, 99), 50).save(whole)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[:-500])
    with pytest.raises(ValueError, match="cut.jpg: damaged image"):
        images.read(cut)

    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2)
    exif += struct.pack("<HHIf", 0x0100, 11, 1, 8.5)  # a width of 8.5
    exif += struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + bytes(4)
    Image.new("RGB", (8, 4)).save(tmp_path / "odd.jpg", exif=exif)
    with pytest.raises(ValueError, match="odd.jpg: damaged image"):
        images.read(tmp_path / "odd.jpg")

    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2)
    exif += struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    exif += struct.pack("<HHIf", 0x0131, 11, 1, 8.5) + bytes(4)  # a software
    Image.new("RGB", (8, 4)).save(tmp_path / "soft.jpg", exif=exif)
    with pytest.raises(ValueError, match="soft.jpg: damaged image"):
        images.read(tmp_path / "soft.jpg")

    with pytest.raises(FileNotFoundError, match="nowhere.jpg"):
        images.read(tmp_path / "nowhere.jpg")


@pytest.mark.parametrize("warnings_are", ["error", "ignore"])
def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch, warnings_are):
    warnings.simplefilter(warnings_are)
    Image.new("1", (300, 300)).save(tmp_path / "bomb.png")
    for limit in (60_000, 10_000):  # Pillow warns, or raises itself.
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match="bomb.png: too large"):
            images.read(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # no limit
    assert images.read(tmp_path / "bomb.png").size == (300, 300)


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), "uint8")],
)
def test_other_arrays_are_refused(array):
    with pytest.raises(ValueError, match="uint8 of shape"):
        images.read(array)


def test_the_middle_of_the_longer_side_is_kept():
    picture = Image.new("RGB", (30, 10))
    picture.paste((255, 0, 0), (10, 0, 20, 10))
    square = np.asarray(images.resize_and_crop(picture, 10, 10))
    assert square.shape == (10, 10, 3)
    assert (square == (255, 0, 0)).all()


def test_a_picture_of_the_right_size_is_not_touched():
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), "uint8")
    np.testing.assert_array_equal(
        images.resize_and_crop(Image.fromarray(noise), 8, 8), noise
    )


@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_pictures_are_scaled_by_the_named_method(name):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), "uint8")
    picture = Image.fromarray(noise)
    method = getattr(Image.Resampling, name.upper())
    np.testing.assert_array_equal(
        images.resize_and_crop(picture, 12, 12, name),
        picture.resize((12, 12), method),
    )


def test_folders_are_searched_and_sorted(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "folder.jpg").mkdir()
    for name in ("b.png", "a.JPG", "inner/c.webp", "notes.txt"):
        (tmp_path / name).touch()
    found = [path.name for path in images.find(tmp_path)]
    assert found == ["a.JPG", "b.png", "c.webp"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: a folder without images"):
        images.find(tmp_path / "empty")
