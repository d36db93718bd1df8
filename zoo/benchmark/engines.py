"""One process for each framework, which times what it is told to.

Processes, because the frameworks fight over threads and memory in one, and
because Keras has one backend a process. While one measures, the others sleep.
"""

import importlib.util
import multiprocessing
import os

from zoo.benchmark import timing

# Quick runs do without: it is no dependency of the tests.
HAS_GSA_PYTORCH = importlib.util.find_spec("gsa_pytorch") is not None
ENGINES = {
    "tensorflow": "tensorflow",
    "tensorflow_xla": "tensorflow",
    "jax": "jax",
    "torch": None,
}


class Engine:
    """A framework in a process of its own."""

    def __init__(self, name):
        self.name = name
        context = multiprocessing.get_context("spawn")
        self.connection, other_end = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(name, other_end), daemon=True
        )
        if ENGINES[name]:
            os.environ["KERAS_BACKEND"] = ENGINES[name]
        self.process.start()

    def ask(self, function, *arguments):
        """Call a function of the process; raise what it raised."""
        try:
            self.connection.send((function, arguments))
            worked, answer = self.connection.recv()
        except (EOFError, OSError):  # the system ended it, to save memory
            worked, answer = False, "the process is gone"
        if not worked:
            raise RuntimeError(f"{self.name}: {answer}")
        return answer

    def stop(self):
        self.process.terminate()
        self.process.join()


def _serve(name, connection):
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    worker = _Worker(name)
    while True:
        function, arguments = connection.recv()
        try:
            connection.send((True, getattr(worker, function)(*arguments)))
        except Exception as error:
            connection.send((False, f"{type(error).__name__}: {error}"))


class _Worker:
    def __init__(self, name):
        self.name = name
        self.calls = {}

    def prepare(self, subject, *case):
        """Build a subject and call it once."""
        calls = {
            "tensorflow": tensorflow_calls,
            "tensorflow_xla": xla_calls,
            "jax": jax_calls,
            "torch": torch_calls,
        }[self.name](subject, *case)
        for call in calls.values():
            call()
        self.calls[subject] = calls

    def subjects(self, batch, size):
        from zoo.benchmark import subjects

        return subjects.names(batch, size)

    def time(self, subject, mode, seconds):
        return timing.durations(self.calls[subject][mode], seconds)

    def forget(self):
        self.calls = {}

    def multiply_adds(self, subject, size, width):
        """Return those of one image (TensorFlow only)."""
        import keras

        from zoo import macs
        from zoo.benchmark import subjects

        shape = (size, size, width)
        model = keras.Sequential(
            [keras.Input(shape), subjects.SUBJECTS[subject](width)]
        )
        return macs.count(model, shape)

    def matrix_product_rate(self, dtype, seconds):
        """Return the multiply-adds a second of a large matrix product."""
        import tensorflow as tf

        size = 2048
        matrix = tf.cast(tf.random.normal((size, size)), dtype)
        product = tf.function(lambda: tf.matmul(matrix, matrix))
        product()
        return size**3 / min(timing.durations(product, seconds))


def _keras_layer(subject, size, width, dtype):
    import keras

    from zoo.benchmark import subjects

    policy = "mixed_bfloat16" if dtype == "bfloat16" else dtype
    keras.config.set_dtype_policy(policy)
    layer = subjects.SUBJECTS[subject](width)
    layer.build((None, size, size, width))
    return layer


def _image(size, width, batch):
    import numpy as np

    generator = np.random.default_rng(0)
    return generator.standard_normal((batch, size, size, width), "float32")


def xla_calls(*case):
    return tensorflow_calls(*case, jit=True)


def tensorflow_calls(subject, size, width, batch, dtype, jit=False):
    """Return a forward pass and one with gradients, both traced."""
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # Each subject is a new function.
    layer = _keras_layer(subject, size, width, dtype)
    image = tf.cast(_image(size, width, batch), dtype)
    weights = [variable.value for variable in layer.trainable_variables]
    trains = {"training": True} if layer._call_has_training_arg else {}

    @tf.function(jit_compile=jit)
    def forward(image):
        return layer(image)

    @tf.function(jit_compile=jit)
    def step(image):
        with tf.GradientTape() as tape:
            tape.watch(image)
            outputs = layer(image, **trains)
        # The outputs as their own gradient: any values of the right shape.
        return tape.gradient(
            outputs, [image, *weights], output_gradients=outputs
        )

    forward, step = (
        function.get_concrete_function(image) for function in (forward, step)
    )
    return {"forward": lambda: forward(image), "step": lambda: step(image)}


def jax_calls(subject, size, width, batch, dtype):
    import jax

    layer = _keras_layer(subject, size, width, dtype)
    image = jax.numpy.asarray(_image(size, width, batch), dtype)
    weights = [variable.value for variable in layer.trainable_variables]
    others = [variable.value for variable in layer.non_trainable_variables]
    trains = {"training": True} if layer._call_has_training_arg else {}

    @jax.jit
    def forward(weights, image):
        return layer.stateless_call(weights, others, image)[0]

    @jax.jit
    def step(weights, image):
        def outputs(weights, image):
            return layer.stateless_call(weights, others, image, **trains)[0]

        values, gradients = jax.vjp(outputs, weights, image)
        return gradients(values)

    return {
        "forward": lambda: jax.block_until_ready(forward(weights, image)),
        "step": lambda: jax.block_until_ready(step(weights, image)),
    }


def torch_calls(subject, size, width, batch, dtype):
    """gsa-pytorch's layer, without the output projection that the paper does
    not have, so that the work is the same."""
    import torch
    from gsa_pytorch import GSA

    heads = 8
    module = GSA(
        width, heads=heads, dim_key=width // heads, rel_pos_length=size
    )
    if subject == "gsa_pytorch":
        module.to_out = torch.nn.Identity()
    pixels = _image(size, width, batch).transpose(0, 3, 1, 2).copy()
    image = torch.from_numpy(pixels).requires_grad_(True)

    def autocast():
        return torch.autocast("cpu", torch.bfloat16, dtype == "bfloat16")

    def forward():
        module.eval()
        with torch.no_grad(), autocast():
            module(image)

    def step():
        module.zero_grad(set_to_none=True)  # or gradients would add up
        image.grad = None
        module.train()
        with autocast():
            outputs = module(image)
        outputs.backward(outputs.detach())

    return {"forward": forward, "step": step}
