"""Pictures of any kind as the squares that a network takes."""

import os
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
    if isinstance(source, (str, os.PathLike)):
        if not os.path.exists(source):
            raise FileNotFoundError(f"{source}: there is no such file")
        return _decode(source, source)
    if isinstance(source, Image.Image):
        return _decode(source, "the picture")
    array = np.asarray(source)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
        raise ValueError(
            "An image array must be uint8 of shape (height, width, 3). "
            f"Received: dtype={array.dtype}, shape={array.shape}"
        )
    return Image.fromarray(array)


def _decode(source, name):
    """Decode a file or an image that Pillow has not decoded yet."""
    try:
        if isinstance(source, Image.Image):
            return _to_rgb(source)
        # Of a file that it opens itself, Pillow maps some TIFFs into memory,
        # and reads turned ones wrongly.
        with open(source, "rb") as file, Image.open(file) as image:
            most = Image.MAX_IMAGE_PIXELS  # `None` lifts the limit
            if most is not None and image.width * image.height > most:
                raise Image.DecompressionBombError
            return _to_rgb(image)
    # A warning, where the user has made errors of them.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(
            f"{name}: too large, expected at most {Image.MAX_IMAGE_PIXELS:,} "
            "pixels"
        ) from None
    except Image.UnidentifiedImageError:
        raise ValueError(f"{name}: not an image") from None
    except (PermissionError, IsADirectoryError) as error:
        raise ValueError(f"{name}: {error.strerror}") from None
    except NotImplementedError as error:
        raise ValueError(f"{name}: {error}") from None
    except Exception as error:  # Pillow raises anything, for odd EXIF also
        raise ValueError(f"{name}: damaged image ({error})") from None


def _to_rgb(image):
    if image.mode in ("I", "F"):  # in units that no file tells
        raise NotImplementedError(
            "expected 8 or 16 bits a channel, received Pillow's mode "
            f"{image.mode}, whose range is not known"
        )
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow would clip at 255.
        image = Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # else Pillow warns
    return image.convert("RGB")


def resize_and_crop(image, height, width, interpolation="bilinear"):
    """Scale a picture to cover a size and cut the middle out of the rest.

    Args:
        image: A `PIL.Image.Image`.
        height: Integer, pixels.
        width: Integer, pixels.
        interpolation: `"bilinear"` or `"bicubic"`, both antialiased.

    Returns:
        A `PIL.Image.Image` of that size.
    """
    return ImageOps.fit(image, (width, height), INTERPOLATIONS[interpolation])


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
        file
        for file in path.rglob("*")
        if file.suffix.lower() in EXTENSIONS and file.is_file()
    )
    if not files:
        raise ValueError(f"{path}: a folder without images")
    return files
