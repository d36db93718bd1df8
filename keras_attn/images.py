"""Pictures of any kind as the squares that a network takes."""

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from PIL import ImageOps

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def read(source):
    """Return a picture in red, green and blue, the right way up.

    Args:
        source: A path, a `PIL.Image.Image`, or a uint8 array
            `(height, width, 3)`.

    Returns:
        A `PIL.Image.Image` in mode RGB.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no picture, damaged, or so large that
            decoding it would fill the memory; if the array is of another
            shape or type.
    """
    if isinstance(source, Image.Image):
        return source.convert("RGB")
    if isinstance(source, (str, os.PathLike)):
        return _decode(source)
    array = np.asarray(source)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
        raise ValueError(
            "An image array must be uint8 of shape (height, width, 3). "
            f"Received: dtype={array.dtype}, shape={array.shape}"
        )
    return Image.fromarray(array)


def _decode(path):
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return ImageOps.exif_transpose(image).convert("RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(
            f"{path}: too large, expected at most {Image.MAX_IMAGE_PIXELS:,} "
            "pixels"
        ) from None
    except Image.UnidentifiedImageError:
        raise ValueError(f"{path}: not an image") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: damaged image ({error})") from None


def resize_and_crop(image, size, interpolation="bilinear"):
    """Scale the shorter side to `size` and cut the middle out of the longer.

    Args:
        image: A `PIL.Image.Image`.
        size: Integer, the side of the result in pixels.
        interpolation: `"bilinear"` or `"bicubic"`, both antialiased.

    Returns:
        A `PIL.Image.Image` of `size` x `size` pixels.
    """
    return ImageOps.fit(image, (size, size), INTERPOLATIONS[interpolation])


def find(path):
    """Return the picture files at a path: itself, or all in a folder.

    Args:
        path: Path of a file or a folder, which is searched recursively.

    Returns:
        A sorted list of paths.

    Raises:
        ValueError: if a folder holds no pictures.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    files = sorted(
        file for file in path.rglob("*") if file.suffix.lower() in EXTENSIONS
    )
    if not files:
        raise ValueError(f"{path}: a folder without images")
    return files
