"""The command `keras-attn`."""

import dataclasses
import json
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated
from typing import Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

import keras_attn
from keras_attn.replacing import replacing
from keras_attn.weights import files
from keras_attn.weights import manifest
from keras_attn.weights import published

DEFAULT_MODEL = "cram_resnet18_small.tiny_imagenet_64"
BATCH_SIZE = 64
MOST_EXPLAINED = 64

Quantization = Literal["float16", "dynamic", "int8"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Attention image classifiers for Keras 3, with pretrained weights.",
)
errors = Console(stderr=True)


def fail(message):
    """Print one line and stop with exit status 1."""
    complain(message)
    raise typer.Exit(1)


def complain(message):
    say(f"keras-attn: {message}")


def say(message):
    """Print one line on the standard error."""
    errors.print(
        printable(message), markup=False, highlight=False, soft_wrap=True
    )


def printable(text):
    """Leave out what terminals obey: names of others' files may hold it."""
    words = " ".join(str(text).split())
    return "".join(letter for letter in words if letter.isprintable())


def _print_version(asked):
    if asked:
        print(keras_attn.__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
):
    pass


@app.command()
def classify(
    images: Annotated[
        list[Path], typer.Argument(help="Images, and folders of images.")
    ],
    model: Annotated[
        str,
        typer.Option(
            help="A weight id (see `keras-attn list`), hf://ORG/NAME, a "
            "folder of such files, or a .keras file."
        ),
    ] = DEFAULT_MODEL,
    top: Annotated[
        int,
        typer.Option(min=1, help="Classes to show for each image."),
    ] = 5,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of tables.")
    ] = False,
    explain: Annotated[
        Path | None,
        typer.Option(
            help="Write a picture of where the network looks "
            f"(the first {MOST_EXPLAINED} images)."
        ),
    ] = None,
):
    """Say what is in images.

    An image that cannot be read, or that the network fails on, gets one line
    on the standard error, the others their answers, and the exit status is 1.
    """
    paths, failed = _find(images)
    _check_picture_path(explain, paths)
    classifier = _load(model)
    _check_classifies(classifier, model)
    if explain:
        _check_attends(classifier)
    answers, shown = [], []
    with Progress(
        console=errors, transient=True, disable=not errors.is_terminal
    ) as progress:
        task = progress.add_task("Classifying", total=len(paths))
        for batch in _decoded_batches(classifier, paths):
            good, prepared, bad = _readable(batch)
            failed += bad
            if good:
                classified, bad = _classify(classifier, good, prepared, top)
                failed += bad
                answers += [(path, decoded) for path, _, decoded in classified]
                shown = (shown + classified)[:MOST_EXPLAINED]
            progress.advance(task, len(batch))
    if as_json:
        _print_json(answers)
    else:
        _print_tables(answers)
    if explain and shown:
        _explain(classifier, shown, explain)
        if len(answers) > len(shown):
            complain(f"{explain} shows the first {len(shown)} images")
    if failed:
        raise typer.Exit(1)


def _check_picture_path(explain, images):
    if explain is None:
        return
    from PIL import Image

    formats = Image.registered_extensions()
    if formats.get(explain.suffix.lower()) not in Image.SAVE:
        fail(
            f"--explain {explain}: the name must end like a picture's, for "
            "example in .png"
        )
    if not explain.parent.is_dir():
        fail(f"--explain {explain}: there is no folder {explain.parent}")
    if explain.resolve() in [path.resolve() for path in images]:
        fail(f"--explain {explain}: this is one of the images to classify")


def _check_classifies(classifier, name):
    if classifier.class_names is None:
        fail(f"{name} has no class names: save it with Classifier.save")
    if None in classifier.input_size:
        fail(f"{name} does not say which size its images have")
    shapes = classifier.model.input_shape, classifier.model.output_shape
    if shapes[0][3:] != (3,) or len(shapes[1]) != 2:
        turns = f"turns {shapes[0]} into {shapes[1]}"
        fail(f"{name} {turns}: it does not classify pictures")


def _check_attends(classifier):
    from keras_attn import explanation

    _or_fail(explanation.check_attends, classifier.model)


def _load(weight_id):
    _start_keras_quietly()
    return _or_fail(keras_attn.load, weight_id)


def _or_fail(function, *arguments):
    try:
        return function(*arguments)
    except (ValueError, OSError) as error:
        fail(error)


def _start_keras_quietly():
    """Hide what TensorFlow says of its build and of missing GPUs: it writes
    to the file descriptor, past Python, and no setting stops all of it."""
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import keras

        keras.ops.zeros(1)
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _find(arguments):
    """Return the image files of the arguments, and whether any failed."""
    from keras_attn import images

    paths, failed = [], False
    for argument in arguments:
        try:
            paths += images.find(argument)
        except (ValueError, OSError) as error:
            complain(error)
            failed = True
    return paths, failed


def _decoded_batches(classifier, paths):
    """Yield lists of paths and futures of their images.

    Threads decode the next batch while the network sees this one.
    """
    from PIL import Image

    # Too large an image gets its own line, which Pillow need not announce.
    with warnings.catch_warnings(), ThreadPoolExecutor() as threads:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        ahead = []
        for start in range(0, len(paths), BATCH_SIZE):
            ahead.append(
                [
                    (path, threads.submit(classifier.prepare, path))
                    for path in paths[start : start + BATCH_SIZE]
                ]
            )
            if len(ahead) > 1:
                yield ahead.pop(0)
        yield from ahead


def _readable(batch):
    """Return the readable paths, their images, and whether any failed."""
    good, prepared, failed = [], [], False
    for path, image in batch:
        try:
            prepared.append(image.result())
            good.append(path)
        except (ValueError, FileNotFoundError) as error:
            complain(error)
            failed = True
    return good, prepared, failed


def _classify(classifier, paths, prepared, top):
    """Return triples of a path, its image and the best classes, and whether
    any failed."""
    import numpy as np

    predictions = classifier.model.predict_on_batch(np.stack(prepared))
    decoded = classifier.decode_predictions(predictions, top)
    classified, failed = [], False
    for path, image, row, best in zip(paths, prepared, predictions, decoded):
        if ((row >= 0) & (row <= 1)).all():
            classified.append((path, image, best))
        else:
            complain(
                f"{path}: the network's outputs are no probabilities: some are "
                "outside of 0 to 1, or NaN"
            )
            failed = True
    return classified, failed


def _print_json(answers):
    document = [
        {
            "image": str(path),
            "predictions": [
                {"class": index, "name": name, "probability": probability}
                for index, name, probability in decoded
            ],
        }
        for path, decoded in answers
    ]
    print(json.dumps(document, indent=2))


def _print_tables(answers):
    console = Console()
    for path, decoded in answers:
        console.print(escape(printable(path)), soft_wrap=True, emoji=False)
        table = Table(show_header=False)
        for _, name, probability in decoded:
            block = "█" if console.encoding.startswith("utf") else "#"
            bar = block * round(20 * probability)
            table.add_row(escape(name), f"{probability:6.1%}", bar)
        console.print(table)


def _explain(classifier, shown, path):
    import numpy as np

    from keras_attn import explanation
    from keras_attn.images import read
    from keras_attn.images import resize_and_crop

    # The part of the picture that the network sees, in more pixels.
    width, height = explanation.tile_size(*classifier.input_size)
    try:
        picture = explanation.draw(
            classifier.model,
            images=np.stack([image for _, image, _ in shown]),
            pictures=[
                resize_and_crop(read(file), height, width) for file, *_ in shown
            ],
            captions=[
                f"{decoded[0][1]} ({decoded[0][2]:.0%})"
                for *_, decoded in shown
            ],
        )
        with replacing(path) as unfinished:
            picture.save(unfinished)
    except (ValueError, OSError) as error:
        fail(error)
    say(f"Where it looks: {path}")


@app.command()
def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A weight id (see `keras-attn list`), hf://ORG/NAME, a folder "
            "with a repository's files, or a .keras file.",
        ),
    ],
    to: Annotated[
        Path,
        typer.Option(
            help="A .tflite file, a .onnx file, or the folder of a SavedModel."
        ),
    ],
    quantize: Annotated[
        Quantization | None,
        typer.Option(
            help="For .tflite files: weights in float16; weights in int8 "
            "(dynamic); or weights and activations in int8, which needs --data."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="A folder of images that int8 finds its ranges on."),
    ] = None,
    input_size: Annotated[
        int | None,
        typer.Option(
            min=8,
            help="Height and width of the images in pixels. Default: the "
            "network's own. That of a .keras file cannot be changed.",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Images in each call. Default: any number."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there.")
    ] = False,
):
    """Write a network as a file that needs neither keras-attn nor Keras."""
    if (quantize == "int8") != (data is not None):
        fail("--quantize int8 needs --data, and nothing else does")
    _start_keras_quietly()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            keras_attn.export(
                model,
                to,
                quantize=quantize,
                representative_data=data,
                input_size=input_size,
                batch_size=batch_size,
                overwrite=overwrite,
            )
        except (ImportError, ValueError, OSError) as error:
            fail(error)
    for warning in caught:
        if warning.category is UserWarning:
            complain(warning.message)
    say(f"Written: {to}")


@app.command("list")
def list_models(
    pattern: Annotated[str, typer.Argument(help='Such as "cram*".')] = "*",
):
    """List the pretrained networks."""
    from keras_attn.listing import list_models

    weight_ids = _or_fail(list_models, pattern)
    if not weight_ids:
        fail(f"no pretrained network matches {pattern!r}")
    table = Table()
    table.add_column("id", overflow="fold")
    for heading in ("parameters", "file", "top-1"):
        table.add_column(heading, justify="right", no_wrap=True)
    for weight_id in weight_ids:
        entry = manifest.entry(weight_id)
        top1 = [
            f"{metrics['top1']:.1%}"
            for splits in entry.metrics.values()
            for metrics in splits.values()
        ]
        table.add_row(
            entry.id,
            f"{entry.parameters / 1e6:.2f} M",
            f"{entry.bytes / 1e6:.1f} MB",
            ", ".join(top1),
        )
    Console().print(table)


def _published(weight_id):
    entry = published(weight_id)
    if entry is None:
        raise ValueError(f"{weight_id} is neither an id nor hf://ORG/NAME")
    return entry


@app.command()
def info(
    weight_id: Annotated[
        str,
        typer.Argument(metavar="ID", help="A weight id, or hf://ORG/NAME."),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of a table.")
    ] = False,
):
    """Tell everything that is known about a pretrained network."""
    entry = _or_fail(_published, weight_id)
    fields = dataclasses.asdict(entry)
    if as_json:
        print(json.dumps(fields, indent=2))
        return
    names = fields.pop("class_names")
    fields["classes"] = f"{len(names)}: {', '.join(names[:5])}, ..."
    fields["found"] = str(files.here(entry) or "on the Hub, see there")
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        text = value if isinstance(value, str) else json.dumps(value)
        table.add_row(name.replace("_", " "), escape(text))
    Console().print(table)


def main():
    # What the output's encoding lacks is no reason to stop.
    sys.stdout.reconfigure(errors="replace")
    app()
