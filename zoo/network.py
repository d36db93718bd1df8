"""The network of a recipe, and how it learns."""

import keras

from keras_attn import applications
from zoo import equivariance
from zoo import variants

# Gains, offsets and the few weights that have a unit are not shrunk.
NOT_DECAYED = ["gamma", "beta", "bias", "saliency", "radius"]


def build(recipe, input_size=None, classifier_activation=None):
    """Return the network of a recipe.

    Args:
        recipe: A recipe, see `zoo.recipe`.
        input_size: Integer, the height and width of the images. Defaults to
            that of the recipe, or to any if it trains at several sizes.
        classifier_activation: Activation of the classifier, `None` for logits.

    Raises:
        ValueError: if there is no such constructor, or it has no such
            arguments.
    """
    model = recipe["model"]
    if model["constructor"] not in applications.__all__:
        raise ValueError(
            "model.constructor must be a name of keras_attn.applications. "
            f"Received: {model['constructor']!r}"
        )
    constructor = getattr(applications, model["constructor"])
    if input_size is None:
        input_size = _only_size(recipe["data"])
    arguments = model["arguments"] | {
        "input_shape": (input_size, input_size, 3),
        "classifier_activation": classifier_activation,
    }
    try:
        attention = arguments.get("attention")
        if attention in variants.VARIANTS:
            arguments["attention"] = variants.VARIANTS[attention]
        return constructor(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"model.arguments are not those of {model['constructor']}: {error}"
        ) from None


def _only_size(data):
    sizes = {phase["size"] for phase in data["training_sizes"]}
    sizes.add(data["evaluation_size"])
    return sizes.pop() if len(sizes) == 1 else None


def with_constraints(network, recipe):
    """Return the model to train: the network, or around it what adds the
    terms that the table `[equivariance]` of the recipe asks for."""
    if "equivariance" not in recipe:
        return network
    return equivariance.EquivariantTraining(
        network, **recipe["equivariance"], seed=recipe["training"]["seed"]
    )


def prepare(model, training, steps_per_epoch):
    """Compile a network with the optimiser and the loss of a recipe.

    Args:
        model: A `keras.Model` with logits as output.
        training: The table `[training]` of a recipe.
        steps_per_epoch: Integer, which the schedule of the rate needs.
    """
    warmup_steps = training["warmup_epochs"] * steps_per_epoch
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=training["epochs"] * steps_per_epoch - warmup_steps,
        warmup_target=training["peak_learning_rate"],
        warmup_steps=warmup_steps,
    )
    model.compile(
        _optimizer(training, schedule),
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=training["label_smoothing"]
        ),
        metrics=[
            keras.metrics.CategoricalAccuracy(name="top1"),
            keras.metrics.TopKCategoricalAccuracy(5, name="top5"),
        ],
    )


def _optimizer(training, schedule):
    ema_momentum = training.get("ema_momentum")
    common = {
        "weight_decay": training["weight_decay"],
        "use_ema": ema_momentum is not None,
        "ema_momentum": 0.99 if ema_momentum is None else ema_momentum,
    }
    momentum = training["momentum"]
    if training.get("optimizer") == "adamw":
        optimizer = keras.optimizers.AdamW(schedule, beta_1=momentum, **common)
    else:
        optimizer = keras.optimizers.SGD(
            schedule, momentum=momentum, nesterov=True, **common
        )
    optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    return optimizer
