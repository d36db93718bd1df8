"""What the attention layers of a model do with images.

A layer is shown if it has a method `describe_attention(inputs, query)`: of a
tensor as for a call, and of the row and column of a pixel on its map, it
returns a dictionary of tensors, by those fields of `LayerAttention` (from
`map` on) that it has.
"""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_attn.layers import ReZero
from keras_attn.layers import feature_maps
from keras_attn.rebuilding import calls
from keras_attn.rebuilding import check_graph
from keras_attn.rebuilding import has_graph
from keras_attn.rebuilding import own_graph


@dataclasses.dataclass(frozen=True, eq=False)
class LayerAttention:
    """What one attention layer does with a batch of images.

    All arrays are float32. What a layer does not have is `None`:

    | layer | has |
    |---|---|
    | `RectangularAttention2D` | `map`, `rectangles` |
    | `PositionwiseAttention2D` | `map` |
    | `GlobalSelfAttention2D` | `map`, `query_map`, `position_map` |
    | `RelativeSelfAttention2D` | `map`, `query_map` |
    | `ExplicitAttention2D` | `query_map`, `radius` |
    | `ChannelAttention2D` | `channel_weights` |

    Attributes:
        name: Name of the layer in the model, with a path where it is in a
            model inside the model; `":2"` follows for its second call.
        layer_type: Name of the layer's class.
        image_size: Height and width of the images.
        map_size: Height and width of the layer's inputs.
        query: Row and column of the pixel of the images that `query_map` and
            `position_map` belong to.
        scale: The learned scale of a `ReZero` around the layer itself, which
            adds this times the layer's outputs to its inputs, or else `None`.
            At 0 the layer changes nothing, wherever it looks.
        map: `(batch, height, width)`, how much of each pixel the layer lets
            pass (from 0 to 1), or how much all pixels attend to it (the sum
            is 1): `attention_map` of the layer.
        query_map: `(batch, height, width)`, how much the query attends to
            each pixel: the mean over the heads of the magnitude of the
            layer's `query_attention`. In GSA, that of the content part.
        position_map: `(batch, height, width)`, the same of the position part
            of GSA.
        rectangles: `(batch, 5)`, centre x, centre y, two half-extents and the
            angle, see `keras_attn.layers.RectangularAttention2D.rectangles`.
            `corners` gives the same in pixels.
        radius: `(heads,)`, the radii of ExpAtt in pixels of the images.
        channel_weights: `(batch, channels)`, from 0 to 1.
    """

    name: str
    layer_type: str
    image_size: tuple[int, int]
    map_size: tuple[int, int]
    query: tuple[int, int]
    scale: float | None = None
    map: np.ndarray | None = None
    query_map: np.ndarray | None = None
    position_map: np.ndarray | None = None
    rectangles: np.ndarray | None = None
    radius: np.ndarray | None = None
    channel_weights: np.ndarray | None = None

    @property
    def maps(self):
        """A dictionary of those of `map`, `query_map` and `position_map`
        that the layer has, by name."""
        fields = ("map", "query_map", "position_map")
        maps = {field: getattr(self, field) for field in fields}
        return {name: map for name, map in maps.items() if map is not None}

    def resized(self):
        """Return the same with all maps in the size of the images.

        Returns:
            A `LayerAttention`. Its maps are interpolated bilinearly, and
            have the values they had, whatever their sum becomes.
        """
        maps = {
            name: _resize(values, self.image_size)
            for name, values in self.maps.items()
        }
        return dataclasses.replace(self, **maps)

    def corners(self):
        """Return the corners of the rectangles in pixels of the images.

        Returns:
            Float32 array `(batch, 4, 2)`: x and y of the corners, going
            round. The upper left corner of the image is (0, 0), the lower
            right one is its width and height.

        Raises:
            ValueError: if the layer has no rectangles.
        """
        if self.rectangles is None:
            raise ValueError(
                "Only RectangularAttention2D has rectangles. "
                f"Received: the layer {self.name!r} of type {self.layer_type}"
            )
        x, y, long, short, angle = self.rectangles.T[:, :, None]
        along = long * np.array([1, -1, -1, 1])
        across = short * np.array([1, 1, -1, -1])
        x = x + along * np.cos(angle) - across * np.sin(angle)
        y = y + along * np.sin(angle) + across * np.cos(angle)
        # The unit is half of the longer side of the map.
        height, width = self.image_size
        half = max(self.map_size) / 2
        x = width * (0.5 + x * half / self.map_size[1])
        y = height * (0.5 + y * half / self.map_size[0])
        return np.stack([x, y], axis=-1).astype("float32")


def attention_maps(model, images, query=None, batch_size=32):
    """Return what every attention layer of a model does with images.

    The images go through the model once, as far as the inputs of the last
    attention layer. Positions on a map are taken for those of the image, so
    that a model that crops or pads its images gives maps of what it keeps.

    Args:
        model: A functional or sequential `keras.Model` with one input: a
            network of `keras_attn.applications`, a result of
            `keras_attn.insert_attention`, or any other with layers of
            `keras_attn.layers`, in models inside the model too.
        images: Array `(batch, height, width, channels)`, or `(batch,
            channels, height, width)`, as the model takes it.
        query: Row and column of a pixel of the images, for the layers that
            give each pixel an attention of its own. Defaults to the middle.
        batch_size: Integer, how many images go through the model at a time.

    Returns:
        A list of `keras_attn.maps.LayerAttention` in the order of the model.

    Raises:
        ValueError: if the model has no graph of layers, several inputs, no
            attention, or attention inside of a layer of another kind; if
            `images` is no batch, or `query` is not on the images.
    """
    batch_size = feature_maps.positive_integer("batch_size", batch_size)
    layers, features = _attention_inputs(model)
    images = ops.convert_to_tensor(images)
    if len(images.shape) != 4 or images.shape[0] == 0:
        raise ValueError(
            "`images` must be a batch of images of rank 4. "
            f"Received: images.shape={tuple(images.shape)}"
        )
    batches = []
    for start in range(0, images.shape[0], batch_size):
        batch = images[start : start + batch_size]
        inputs = keras.tree.flatten(features(batch, training=False))
        batches.append(
            [
                _look(*layer, tensor, batch.shape, query)
                for layer, tensor in zip(layers, inputs)
            ]
        )
    return [_joined(parts) for parts in zip(*batches)]


def _attention_inputs(model):
    """Return layers, each with its name and the shortcuts beside it, and a
    model that gives their inputs."""
    if not has_graph(model):
        raise ValueError(
            "`model` must be a functional or a built sequential model. "
            f"Received: model={model} of type {type(model).__name__}"
        )
    if len(model.inputs) != 1:
        raise ValueError(
            "`model` must have one input, the images. "
            f"Received: model={model} with {len(model.inputs)} inputs"
        )
    found = _find_in_graph(model)
    if not found:
        raise ValueError(
            f"The network {model.name!r} has no attention, so there is "
            "nothing to show"
        )
    layers = [found_layer for *found_layer, _ in found]
    return layers, keras.Model(model.inputs[0], [x for *_, x in found])


def _find_in_graph(model, prefix="", shortcuts=()):
    """Return of each attention layer its name, the layer, the `ReZero` layers
    that it is inside of, and its input."""
    check_graph(model)
    found = []
    for operation, nodes in calls(model).items():
        if not isinstance(operation, keras.layers.Layer):
            continue
        for number, node in enumerate(nodes, 1):
            name = prefix + operation.name + (f":{number}" * (number > 1))
            given = (*node.arguments.args, *node.arguments.kwargs.values())
            if given:  # not to an input layer
                found += _find_in_layer(operation, given[0], name, shortcuts)
    return found


def _find_in_layer(layer, inputs, name, shortcuts):
    """The same for one layer that is called with tensors."""
    if hasattr(layer, "describe_attention"):
        return [(name, layer, shortcuts, inputs)]
    if isinstance(layer, ReZero):
        shortcuts = (*shortcuts, layer)
        return _find_in_layer(layer.layer, inputs, name, shortcuts)
    if has_graph(layer):
        return _find_in_model(layer, inputs, f"{name}/", shortcuts)
    hidden = [
        inner.name
        for inner in layer._flatten_layers(include_self=False)
        if hasattr(inner, "describe_attention")
    ]
    if hidden:
        raise ValueError(
            "`model` must have its attention layers in its graph, or in that "
            f"of a model inside it. Received: {', '.join(hidden)} inside of "
            f"the layer {name!r} of type {type(layer).__name__}"
        )
    return []


def _find_in_model(model, inputs, prefix, shortcuts):
    found = _find_in_graph(model, prefix, shortcuts)
    if not found:
        return []
    # With inputs in the structure that it is called with.
    features = keras.Model(own_graph(model).input, [x for *_, x in found])(
        inputs
    )
    features = keras.tree.flatten(features)
    return [(*layer, x) for (*layer, _), x in zip(found, features)]


def _look(name, layer, shortcuts, features, images_shape, query):
    """Return the attention of a layer to a batch."""
    scales = [ops.convert_to_numpy(shortcut.scale) for shortcut in shortcuts]
    scale = float(np.prod(scales)) if scales else None
    features = ops.cast(features, layer.compute_dtype)  # as a call would
    image_size = feature_maps.map_shape(images_shape, layer.data_format)[:2]
    map_size = feature_maps.map_shape(features.shape, layer.data_format)[:2]
    query = _checked(query, image_size)
    pixel = [
        at * of_map // of_image
        for at, of_map, of_image in zip(query, map_size, image_size)
    ]
    shown = {
        field: ops.convert_to_numpy(ops.cast(values, "float32"))
        for field, values in layer.describe_attention(features, pixel).items()
    }
    if "radius" in shown:
        shown["radius"] = shown["radius"] * image_size[0] / map_size[0]
    return LayerAttention(
        name=name,
        layer_type=type(layer).__name__,
        image_size=image_size,
        map_size=map_size,
        query=query,
        scale=scale,
        **shown,
    )


def _checked(query, image_size):
    height, width = image_size
    if query is None:
        return height // 2, width // 2
    feature_maps.check_pixel(query, height, width)
    return tuple(map(int, query))


def _joined(parts):
    """Join what a layer does with several batches."""
    by_image = {
        field: np.concatenate([getattr(part, field) for part in parts])
        for field in (*parts[0].maps, "rectangles", "channel_weights")
        if getattr(parts[0], field) is not None
    }
    return dataclasses.replace(parts[0], **by_image)


def _resize(maps, size):
    resized = ops.image.resize(
        maps[..., None], size, "bilinear", data_format="channels_last"
    )
    return ops.convert_to_numpy(resized)[..., 0]
