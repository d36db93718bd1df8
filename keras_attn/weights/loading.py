"""Load a weights file into a network, by the names of the layers."""

import contextlib
import dataclasses
import errno
import logging
import os
import tempfile
from pathlib import Path

import h5py

from keras_attn.weights import files
from keras_attn.weights import hub
from keras_attn.weights import manifest

logger = logging.getLogger("keras_attn")

CLASSIFIER = "predictions"


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What became of each variable, as `layer/variable index`.

    Attributes:
        source: The file that was loaded.
        loaded: Variables that were loaded as they are.
        adapted: Positional tables that were interpolated to another size.
        reinitialized: Classifier variables that were not loaded, because the
            classes differ: those of a new network are random.
        left_out: Stored classifier variables that the network, having no
            top, does not use.
    """

    source: Path
    loaded: tuple[str, ...]
    adapted: tuple[str, ...]
    reinitialized: tuple[str, ...]
    left_out: tuple[str, ...]

    def __str__(self):
        parts = [f"{len(self.loaded)} variables loaded"]
        for what in ("adapted", "reinitialized", "left_out"):
            names = getattr(self, what)
            if names:
                label = what.replace("_", " ")
                parts.append(f"{len(names)} {label} ({', '.join(names)})")
        return f"{self.source.name}: {'; '.join(parts)}"


class MisfitError(ValueError):
    """A weights file is not of this network."""


def load_weights(model, weights):
    """Load weights into a network of `keras_attn.applications`.

    Variables are matched by the names of their layers, not by the running
    numbers of Keras's file format. A file does not say what has no variables:
    the network must have the `stem_strides` of the weights, which are checked
    for published ones only. Two differences are allowed, and told by a warning
    and in the report: another number of classes leaves the classifier as it is
    (random in a new network); another input size interpolates the tables of
    relative positions.

    Args:
        model: A `keras.Model` built by `keras_attn.applications`.
        weights: A published id, an address on the Hub (`hf://ORG/NAME`, also
            with `@REVISION`), an `Entry`, or the path of a `.weights.h5` file.

    Returns:
        A `LoadReport`.

    Raises:
        FileNotFoundError: if there is no such file.
        PermissionError, ConnectionError, OSError: if it cannot be downloaded.
        ValueError: for an unknown id, a damaged file, or a file that does not
            fit: every variable that does not is named, and the network is
            left as it was.
    """
    entry = published(weights)
    path = files.locate(entry) if entry else _path(weights)
    with tempfile.TemporaryDirectory() as folder:
        # Keras itself writes the layout that it will read.
        layout = Path(folder) / "layout.weights.h5"
        model.save_weights(layout)
        with (
            _damage_told(path),
            h5py.File(path) as stored,
            h5py.File(layout, "r+") as wanted,
        ):
            _check_storage(stored)
            report = _fill(wanted, stored, model, path)
        if entry:
            _check_stem(model, entry)
        model.load_weights(layout)
    if report.adapted or report.reinitialized:
        logger.warning("%s", report)
    return report


def stored_classes(weights):
    """Return how many classes the classifier in a weights file has, or `None`
    if there is none.

    Args:
        weights: Path of a `.weights.h5` file.

    Raises:
        FileNotFoundError, OSError, ValueError: as `load_weights` does.
    """
    path = _path(weights)
    with _damage_told(path), h5py.File(path) as stored:
        _check_storage(stored)
        kernel = _variables(stored).get(f"{CLASSIFIER}/0")
        # An array of no numbers may have any shape.
        return kernel.shape[-1] if kernel is not None and kernel.size else None


@contextlib.contextmanager
def _damage_told(path):
    """Raise what HDF5 makes of a damaged file as a `ValueError`."""
    try:
        yield
    except (MisfitError, PermissionError):
        raise
    except Exception as error:  # It has many ways to say so.
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise ValueError(
            f"{path} is not a readable weights file (HDF5): {error}"
        ) from error


def published(weights):
    """Return the `Entry` of an id, an address on the Hub or an `Entry`; `None`
    for a path."""
    if isinstance(weights, manifest.Entry):
        return weights
    text = os.fspath(weights)
    if text.startswith(hub.SCHEME):
        return hub.entry(text)
    is_path = not isinstance(weights, str) or text.endswith((".h5", ".keras"))
    if is_path or {os.path.sep, os.path.altsep} & set(text):
        return None
    return manifest.entry(text)


def _check_stem(model, entry):
    """Raise an error for the wrong strides of a 3x3 stem, which has the same
    variables with any."""
    trained = entry.arguments["stem_strides"]
    strides = model.get_layer("conv1_conv").strides[0]
    if trained != strides and trained != 4:
        raise ValueError(
            f"The weight {entry.id} was trained with stem_strides={trained}, "
            f"which the network {model.name!r} does not have"
        )


def _path(weights):
    path = Path(weights)
    if not path.is_file():
        raise FileNotFoundError(f"There is no weights file {path}")
    if not path.name.endswith(".weights.h5"):
        raise ValueError(
            "The name of a weights file ends in .weights.h5; a .keras file is "
            f"for keras_attn.load. Received: {path}"
        )
    return path


def forget_classifier(model, report):
    """Give the classifier random weights; warn, and return the report."""
    layer = model.get_layer(CLASSIFIER)
    layer.kernel.assign(layer.kernel_initializer(layer.kernel.shape))
    layer.bias.assign(layer.bias_initializer(layer.bias.shape))
    forgotten = tuple(
        name for name in report.loaded if name.startswith(f"{CLASSIFIER}/")
    )
    report = dataclasses.replace(
        report,
        loaded=tuple(name for name in report.loaded if name not in forgotten),
        reinitialized=(*report.reinitialized, *forgotten),
    )
    logger.warning("%s", report)
    return report


def _fill(wanted, stored, model, path):
    """Write the stored variables into the layout that the model wants."""
    sources, targets = _variables(stored), _variables(wanted)
    left_out, unknown = _unused(sources, targets)
    report, misfits = _compare(sources, targets, model, path, left_out)
    problems = misfits + [f"{name!r}: not in the network" for name in unknown]
    if problems:
        raise MisfitError(
            f"{path} does not fit the network {model.name!r}:\n  "
            + "\n  ".join(problems)
        )
    for name in (*report.loaded, *report.adapted):
        dataset = targets[name].name
        values = sources[name][()]
        del wanted[dataset]
        wanted[dataset] = values
        if values.dtype == "V2":
            wanted[dataset].attrs["dtype"] = "bfloat16"
    return report


def _compare(sources, targets, model, path, left_out):
    """Return what becomes of each variable of the model, and what does not
    fit."""
    loaded, adapted, reinitialized, misfits = [], [], [], []
    for name, target in targets.items():
        source = sources.get(name)
        if source is None:
            misfits.append(f"{name}: missing in the file")
        elif source.shape == target.shape:
            loaded.append(name)
        elif _is_of_classifier(name) and source.ndim == target.ndim:
            reinitialized.append(name)
        elif _is_table(model, name) and _can_adapt(source, target):
            adapted.append(name)
        else:
            misfits.append(
                f"{name}: expected shape {target.shape}, found {source.shape}"
            )
    kinds = loaded, adapted, reinitialized, left_out
    return LoadReport(Path(path), *map(tuple, kinds)), misfits


def _unused(sources, targets):
    """Return the variables of a file that the model has not: a classifier, if
    it has none, which is left out, and others, which may be anything."""
    unused = [name for name in sources if name not in targets]
    if any(map(_is_of_classifier, targets)):
        return [], unused
    left_out = [name for name in unused if _is_of_classifier(name)]
    return left_out, [name for name in unused if name not in left_out]


def _is_of_classifier(name):
    return name.startswith(f"{CLASSIFIER}/")


def _variables(file):
    """Return `{layer name/variable index: dataset}` of a weights file."""
    variables = {}
    for group in file.get("layers", {}).values():
        layer_name = group["vars"].attrs.get("name")

        def collect(path, item, layer_name=layer_name):
            if isinstance(item, h5py.Dataset):
                short = path.replace("vars/", "")
                variables[f"{layer_name}/{short}"] = item

        group.visititems(collect)
    return variables


def _check_storage(file):
    """Refuse what no weights file needs, and a hostile one could use: links
    and data outside of the file, and arrays of more bytes than it holds."""

    # h5py stops at the first answer; it does not let errors through.
    problem = file.visititems_links(_problem_of_link)
    problem = problem or file.visititems(_problem_of_item)
    if problem:
        raise ValueError(problem)


def _problem_of_link(name, link):
    if not isinstance(link, h5py.HardLink):
        return f"{name!r} is a {type(link).__name__}"
    return None


def _problem_of_item(name, item):
    if not isinstance(item, h5py.Dataset):
        return None
    if item.external or item.is_virtual:
        return f"the data of {name!r} is in another place"
    is_number = item.dtype.kind in "biuf" or item.dtype == "V2"  # bfloat16
    if item.shape is None or not is_number:
        return f"{name!r} is not an array of numbers"
    if item.chunks is not None:  # which could be compressed, or far larger
        return f"{name!r} is stored in chunks"
    stored = item.id.get_storage_size()
    if stored < item.nbytes:
        return f"{name!r} needs {item.nbytes} bytes, but {stored} are stored"
    return None


def _can_adapt(source, target):
    """Whether a stored table has the offsets of some size, both ways."""
    return source.shape[1:] == target.shape[1:] and source.shape[0] % 2 == 1


def _is_table(model, name):
    """Whether the layer itself adapts this variable to another size."""
    layer_name, _, index = name.partition("/")
    return index in getattr(model.get_layer(layer_name), "TABLES", {})
