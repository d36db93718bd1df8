"""`weights_manifest.json`: everything that is known about each weight."""

import dataclasses
import difflib
import functools
import json
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
REPOSITORY = PACKAGE.parent
FILE_NAME = "weights_manifest.json"
SCHEMA = Path(__file__).with_name("manifest.schema.json")
MOST_OF_A_PROBLEM = 300  # characters


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the manifest says of one weight.

    Attributes:
        id: `architecture.dataset_resolution`.
        summary: One sentence for people.
        constructor: Name of a constructor in `keras_attn.applications`.
        arguments: The constructor's keyword arguments, apart from
            `input_shape` and `classes`.
        file: Name of the weights file.
        bytes: Size of that file.
        sha256: Hash of that file.
        parameters: Trainable parameters.
        macs: Multiply-adds of one image at `input["size"]`.
        input: `size` in pixels, `resize` (the side that is made that long),
            `crop`, `interpolation`, `pixel_range`.
        class_names: The names of the classes, in the order of the outputs.
        metrics: `{data set: {split: {"images", "top1", "top5"}}}`, the
            accuracies from 0 to 1.
        training: `recipe`, `command`, `evaluation_command`, `seed`, `commit`,
            `history`.
        keras: `made_with` and `tested_with`, versions.
        licence: SPDX identifier.
        paper: Address of the paper.
        golden_output: `top`, the most probable `[class index, probability]`
            pairs for `keras_attn.weights.golden_image(size)`.
        int8: `images`, `float32_top1` and `top1` of the weight in int8, or
            `None` where that was not measured.
        hub: `repository` and `revision`, or `None` while not published.
    """

    id: str
    summary: str
    constructor: str
    arguments: dict
    file: str
    bytes: int
    sha256: str
    parameters: int
    macs: int
    input: dict
    class_names: tuple
    metrics: dict
    training: dict
    keras: dict
    licence: str
    paper: str
    golden_output: dict
    hub: dict | None
    int8: dict | None = None


def manifest_path():
    """Return the manifest of the repository, or else of the wheel."""
    for folder in (REPOSITORY, PACKAGE):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise FileNotFoundError(
        f"{FILE_NAME} is missing: expected it in {REPOSITORY} or {PACKAGE}. "
        "Install keras-attn again."
    )


@functools.cache
def entries():
    """Return the package's own manifest, as `read` does."""
    return read(manifest_path())


def read(path):
    """Read a manifest.

    Args:
        path: Path of a manifest.

    Returns:
        A dictionary from id to `Entry`, sorted by id.

    Raises:
        ValueError: if the file is not JSON, or not what the schema
            `manifest.schema.json` asks for.
    """
    path = Path(path)
    document = _checked(path)
    found = []
    for fields in document["weights"]:
        names = document["class_names"].get(fields["class_names"])
        if names is None:
            raise ValueError(
                f"{path} is not a valid manifest of weights: it has no class "
                f"names {fields['class_names']!r}"
            )
        highest = max(index for index, _ in fields["golden_output"]["top"])
        if highest >= len(names):
            raise ValueError(
                f"{path} is not a valid manifest of weights: the golden output "
                f"has a class {highest} of {len(names)}"
            )
        found.append(Entry(**{**fields, "class_names": tuple(names)}))
    return {entry.id: entry for entry in sorted(found, key=lambda e: e.id)}


def single_entry(path, hub=None):
    """Return the only `Entry` of a manifest.

    Args:
        path: Path of a manifest.
        hub: Where it came from, see `Entry`.

    Raises:
        ValueError: as `read`, and if there is not exactly one.
    """
    found = list(read(path).values())
    if len(found) != 1:
        raise ValueError(
            f"{path} must describe one weight. It has {len(found)}."
        )
    return dataclasses.replace(found[0], hub=hub)


def schema(path=SCHEMA):
    """Return the validator of a schema, by default that of manifests, which
    jsonschema makes."""
    import jsonschema

    standard = jsonschema.Draft202012Validator
    # Unlike in JSON, 64.0 is no integer here: it would be no size of images.
    types = standard.TYPE_CHECKER.redefine(
        "integer", lambda checker, value: type(value) is int
    )
    strict = jsonschema.validators.extend(standard, type_checker=types)
    return strict(json.loads(path.read_text("utf-8")))


def _checked(path):
    """Return a manifest that fits the schema."""
    import jsonschema

    try:
        text = path.read_text("utf-8")
        document = json.loads(text, parse_constant=_refuse_constant)
        schema().validate(document)
    except jsonschema.ValidationError as error:
        place = error.json_path.encode("unicode_escape").decode()
        problem = f"{place}: {error.message}"
    except (ValueError, RecursionError) as error:
        problem = repr(error)
    else:
        return document
    if len(problem) > MOST_OF_A_PROBLEM:
        problem = f"{problem[:MOST_OF_A_PROBLEM]} ..."
    raise ValueError(f"{path} is not a valid manifest of weights: {problem}")


def _refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


def entry(weight_id):
    """Return the `Entry` of an id, or raise with the nearest ids."""
    known = entries()
    if weight_id in known:
        return known[weight_id]
    near = [name for name in known if weight_id.lower() in name]
    near = near or difflib.get_close_matches(weight_id, known, cutoff=0.3)
    raise ValueError(
        f"There is no published weight {weight_id!r}. "
        + (f"Nearest: {', '.join(near[:3])}. " if near else "")
        + "`keras_attn.list_models()` and `keras-attn list` show all."
    )
