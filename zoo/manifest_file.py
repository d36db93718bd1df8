"""`weights_manifest.json`, as the scripts of the zoo write it."""

import json
from pathlib import Path

from keras_attn.weights import manifest
from zoo import json_files

PATH = Path(manifest.FILE_NAME)


def read():
    """Return what JSON has of it, or of one with no weights yet."""
    if not PATH.is_file():
        return {"class_names": {}, "weights": []}
    return json.loads(PATH.read_text("utf-8"))


def fields_of(document, weight_id):
    """Return the dictionary of one weight, for changes in place."""
    [fields] = [e for e in document["weights"] if e["id"] == weight_id]
    return fields


def write(document):
    """Write it, all or nothing.

    Raises:
        jsonschema.ValidationError: if it is not what the schema asks for.
    """
    manifest.schema().validate(document)
    json_files.write(PATH, document)


def change(weight_id, **fields):
    """Replace fields of one weight."""
    document = read()
    fields_of(document, weight_id).update(fields)
    write(document)
