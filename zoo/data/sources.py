"""Data sets by name: the project's own files, or tensorflow-datasets."""

import dataclasses
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from keras_attn import images as image_files

MOST_IN_MEMORY = 4e9  # bytes
# How TFDS calls the images that a network is evaluated on.
EVALUATION_SPLITS = ("val", "validation", "test")
# What tfds.ImageFolder reads; it leaves out other pictures without a word.
FOLDER_EXTENSIONS = (".jpeg", ".jpg", ".png")
OTHER_EXTENSIONS = set(image_files.EXTENSIONS) - set(FOLDER_EXTENSIONS)


@dataclasses.dataclass(frozen=True)
class ArraySplit:
    """A split whose images have one size and are all in memory.

    Attributes:
        images: uint8 array `(n, height, width, 3)`.
        labels: int32 array `(n,)`.
        class_names: List of strings.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: list[str]

    def __len__(self):
        return len(self.images)


@dataclasses.dataclass(frozen=True)
class StoredSplit:
    """A split whose images have many sizes, or do not fit into memory.

    They stay in their files, of which the system keeps in memory what it has
    room for, and are decoded only after they have been shuffled.

    Attributes:
        images: `tf.data.Dataset` of pairs of an image as it is stored
            (a string) and an integer label.
        decode: Function from such a string to a uint8 image
            `(height, width, 3)`.
        count: Integer, how many there are.
        class_names: List of strings.
    """

    images: object
    decode: object
    count: int
    class_names: list[str]

    def __len__(self):
        return self.count


def load(name, data_dir, split):
    """Return a split of a data set.

    Args:
        name: `"tiny_imagenet"`, or a name of tensorflow-datasets such as
            `"cifar100"`, `"imagenet_resized/64x64"` or `"imagenet2012"`, or
            `"image_folder"`.
        data_dir: Path. Tiny-ImageNet: its unpacked folder. CIFAR-100: a
            folder with `cifar100_train.parquet` and `cifar100_test.parquet`,
            or that of tensorflow-datasets. Else that of tensorflow-datasets,
            which are downloaded and prepared where they are missing. A folder
            with `train/CLASS/*` and `val/CLASS/*` for the name
            `"image_folder"`.
        split: `"train"` or `"val"`.

    Returns:
        An `ArraySplit` or a `StoredSplit`.

    Raises:
        ValueError: for an unknown data set or split, a data set without
            pictures in colour and one class each, a folder with pictures
            that are neither JPEG nor PNG, a file of CIFAR-100 without what
            is read of it, or a missing package.
        FileNotFoundError: if the folder is not that data set, or cannot
            become it.
    """
    if split not in ("train", "val"):
        raise ValueError(
            f"`split` must be 'train' or 'val'. Received: split={split!r}"
        )
    data_dir = Path(data_dir)
    if name == "tiny_imagenet":
        return _tiny_imagenet(data_dir, split)
    if name == "cifar100" and any(data_dir.glob("cifar100_*.parquet")):
        return _cifar100(data_dir, split)
    return _tensorflow_dataset(name, data_dir, split)


def _tiny_imagenet(folder, split):
    if not (folder / "wnids.txt").is_file():
        raise FileNotFoundError(
            f"{folder} is not Tiny-ImageNet: it has no wnids.txt. Unpack "
            "tiny-imagenet-200.zip and pass that folder as --data-dir."
        )
    wordnet_ids = sorted((folder / "wnids.txt").read_text().split())
    label_of = {wnid: label for label, wnid in enumerate(wordnet_ids)}
    words = dict(
        line.split("\t")
        for line in (folder / "words.txt").read_text().splitlines()
    )
    if split == "train":
        files = sorted(folder.glob("train/*/images/*.JPEG"))
        labels = [label_of[file.parent.parent.name] for file in files]
    else:
        rows = (folder / "val/val_annotations.txt").read_text().splitlines()
        rows = [row.split("\t")[:2] for row in rows]
        files = [folder / "val/images" / file for file, _ in rows]
        labels = [label_of[wnid] for _, wnid in rows]
    # The first of the synonyms is the name that people use.
    class_names = [words[wnid].split(",")[0] for wnid in wordnet_ids]
    return ArraySplit(_decode_all(files), np.int32(labels), class_names)


def tiny_imagenet_boxes(folder):
    """Return the annotated box of each validation image, in their order.

    Args:
        folder: Path of Tiny-ImageNet.

    Returns:
        Float array `(n, 4)`: the left, top, right and bottom edge, in pixels
        from the top left corner of the image. The files name the first and
        the last pixel of a box; an edge is the outer side of it.
    """
    rows = (folder / "val/val_annotations.txt").read_text().splitlines()
    first_and_last = np.array([row.split("\t")[2:] for row in rows], float)
    return first_and_last + [0, 0, 1, 1]


def _cifar100(folder, split):
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(
            "Parquet files need the package pyarrow: "
            "pip install 'keras-attn[train]'"
        ) from error
    name = {"train": "cifar100_train.parquet", "val": "cifar100_test.parquet"}
    file = folder / name[split]
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder} does not hold all of CIFAR-100: it has no {file.name}. "
            "Pass a folder with it as --data-dir."
        )
    table = pyarrow.parquet.read_table(file)
    columns, metadata = table.column_names, table.schema.metadata or {}
    if not {"image", "label"} <= set(columns) or b"classes" not in metadata:
        raise ValueError(
            f"{file} must have the columns image and label, "
            "and the names of the classes as classes in its metadata. It has "
            f"the columns {columns} and the metadata {list(metadata)}"
        )
    images = _decode_all(map(io.BytesIO, table["image"].to_pylist()))
    class_names = metadata[b"classes"].decode().split(",")
    labels = table["label"].to_numpy().astype("int32")
    return ArraySplit(images, labels, class_names)


def _decode_all(files):
    with ThreadPoolExecutor() as threads:
        return np.stack(list(threads.map(_decode, files)))


def _decode(file):
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def _tensorflow_dataset(name, data_dir, split):
    try:
        import tensorflow  # noqa: F401, which reads what tfds has prepared
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ValueError(
            f"Reading {name} needs tensorflow and tensorflow-datasets. Without "
            "them there are tiny_imagenet and, as parquet files, cifar100."
        ) from error

    if name == "image_folder":
        builder = _image_folder(data_dir)
    else:
        builder = _prepared_builder(name, data_dir)
    splits = builder.info.splits
    if split == "val":
        split = next((s for s in EVALUATION_SPLITS if s in splits), split)
    if split not in splits:
        raise ValueError(
            f"The data set {name} has the splits {sorted(splits)}, but no "
            f"{split!r}."
        )
    count = splits[split].num_examples
    features = dict(builder.info.features.items())
    image, label = features.get("image"), features.get("label")
    in_colour = image is not None and image.shape[-1] == 3
    if not in_colour or not isinstance(label, tfds.features.ClassLabel):
        raise ValueError(
            f"The data set {name} must have an `image` in colour and a `label` "
            f"each. It has: {features}"
        )
    class_names = list(label.names)
    if None in image.shape or count * np.prod(image.shape) > MOST_IN_MEMORY:
        images = builder.as_dataset(
            split=split,
            as_supervised=True,
            decoders={"image": tfds.decode.SkipDecoding()},
        )
        return StoredSplit(images, image.decode_example, count, class_names)
    images = builder.as_dataset(split=split, as_supervised=True)
    pictures, labels = zip(*tfds.as_numpy(images))
    return ArraySplit(np.stack(pictures), np.int32(labels), class_names)


def _image_folder(folder):
    import tensorflow_datasets as tfds

    if not (folder / "train").is_dir():
        raise FileNotFoundError(
            f"{folder} is not a folder of images: it has no folder 'train'. "
            "Pass one with train/CLASS/* and val/CLASS/* as --data-dir."
        )
    left_out = [
        file
        for file in sorted(folder.glob("*/*/*"))
        if file.suffix.lower() in OTHER_EXTENSIONS
    ]
    if left_out:
        raise ValueError(
            f"{folder} has {len(left_out)} pictures that are not "
            f"{', '.join(FOLDER_EXTENSIONS)}, such as {left_out[0]}: convert "
            "them, or remove them"
        )
    return tfds.ImageFolder(str(folder))


def _prepared_builder(name, data_dir):
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=str(data_dir))
    except tfds.core.registered.DatasetNotFoundError:
        raise ValueError(
            "`name` must be 'tiny_imagenet', 'image_folder' or a name of "
            f"tensorflow-datasets. Received: name={name!r}"
        ) from None
    # Not from Google's storage, which holds old versions.
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        builder.download_and_prepare(download_config=config)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        files = ""
        if name == "cifar100":
            files = ", or with cifar100_train.parquet and cifar100_test.parquet"
        raise FileNotFoundError(
            f"{data_dir} does not hold {name}, and tensorflow-datasets could "
            f"not prepare it there ({reason}). Pass a folder where it is "
            f"prepared{files} as --data-dir."
        ) from error
    return builder
