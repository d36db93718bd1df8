"""JSON files, written whole or not at all."""

import json


def write(path, content):
    """Write what JSON can hold.

    Raises:
        ValueError: for numbers that are not finite, which are no JSON.
    """
    from keras_attn.replacing import replacing  # with it, Keras

    text = json.dumps(content, indent=1, allow_nan=False)
    with replacing(path) as unfinished:
        unfinished.write_text(text + "\n", "utf-8")
