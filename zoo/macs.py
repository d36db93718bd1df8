"""Count the multiply-adds that a network really executes."""

import math

# Operations with products that would otherwise pass as free.
NOT_COUNTED = ("Conv2DBackpropInput", "DepthwiseConv2dNative")


def count(model, input_shape):
    """Return the multiply-adds of one image through `model`.

    Traces the inference graph for one image and adds up the products of its
    convolutions and matrix products, whichever layer they come from.
    Additions, normalisation and activation functions do not count, as in the
    papers.

    Args:
        model: A `keras.Model` on the TensorFlow backend.
        input_shape: `(height, width, channels)` of the image.

    Returns:
        Integer.

    Raises:
        ValueError: if the graph has an operation that cannot be counted.
    """
    import tensorflow as tf  # of trainings on JAX only sizes are counted

    image = tf.TensorSpec((1, *input_shape), "float32")
    graph = (
        tf.function(lambda x: model(x, training=False))
        .get_concrete_function(image)
        .graph
    )
    operations = list(graph.get_operations())
    for function in graph._functions.values():
        operations += function.graph.get_operations()
    return sum(_multiply_adds(operation) for operation in operations)


def trainable_parameters(model):
    return sum(math.prod(v.shape) for v in model.trainable_variables)


def _multiply_adds(operation):
    if operation.type == "Conv2D":
        kernel = operation.inputs[1].shape
        outputs = math.prod(operation.outputs[0].shape)
        return outputs * math.prod(kernel[:3])
    if operation.type in ("MatMul", "BatchMatMulV2"):
        transposed = _attribute(operation, "transpose_a", "adj_x")
        inner = operation.inputs[0].shape[-2 if transposed else -1]
        return math.prod(operation.outputs[0].shape) * inner
    if operation.type == "Einsum":
        return _einsum_multiply_adds(operation)
    if operation.type in NOT_COUNTED:
        raise ValueError(
            f"Counting the multiply-adds of {operation.type} is not known. "
            f"Received: {operation.name}"
        )
    return 0


def _einsum_multiply_adds(operation):
    """Every combination of indices is one product."""
    equation = operation.get_attr("equation").decode()
    sizes = {}
    for labels, operand in zip(
        equation.split("->")[0].split(","), operation.inputs
    ):
        sizes.update(zip(labels, operand.shape, strict=True))
    return math.prod(sizes.values())


def _attribute(operation, *names):
    for name in names:
        if name in operation.node_def.attr:
            return operation.get_attr(name)
    return False
