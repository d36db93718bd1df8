"""Compare the networks' sizes with the papers': `python -m zoo.sizes`.

Writes `zoo/results/sizes.csv`: trainable parameters in millions and twice the
multiply-adds in billions ("GFLOPs" in these papers), at 224 x 224 pixels and
1000 classes, beside the published figures and the deviations.
"""

import keras

from keras_attn import applications
from keras_attn.layers import RelativeSelfAttention2D
from zoo import macs
from zoo import tables

RESULTS = tables.RESULTS / "sizes.csv"
PARAMETER_TOLERANCE = 0.005
MACS_TOLERANCE = 0.01

# Constructor: published parameters in millions, published 2 x MACs in billions.
PUBLISHED = {
    "AttnResNet34": (21.8, 7.4),
    "AttnResNet50": (25.6, 8.2),
    "AttnResNet101": (44.5, 15.6),
    "AttnResNet152": (60.2, 23.0),
    "GSAResNet38": (14.2, 5.9),
    "GSAResNet50": (18.1, 7.2),
    "GSAResNet101": (30.4, 12.2),
    "ExpAttResNet152": (57.66, 22.2),
    "AAResNet34": (20.7, 7.1),
    "AAResNet50": (25.8, 8.3),
    "AAResNet101": (45.4, 16.1),
    "AAResNet152": (61.6, 23.8),
}
EXPLANATIONS = {
    "AAResNet34": "the least of 20 key channels a head, which fits the "
    "bottleneck networks, seems not to hold for basic blocks",
}


def measure(name):
    """Return parameters in millions, 2 x MACs in billions, and how much of
    the latter are products of queries with tables of relative positions."""
    model = getattr(applications, name)()
    parameters = macs.trainable_parameters(model) / 1e6
    gflops = 2 * macs.count(model, (224, 224, 3)) / 1e9
    position_gflops = 2 * position_products(model) / 1e9
    keras.utils.clear_session()
    return parameters, gflops, position_gflops


def position_products(model):
    """Return the multiply-adds of AA's queries with its position tables."""
    products = 0
    for layer in model.layers:
        if isinstance(layer, RelativeSelfAttention2D):
            _, height, width, _ = layer.input.shape
            offsets = height * width * (height + width)
            products += offsets * layer.key_filters
    return products


def row(name):
    """Return a network's row of the table."""
    parameters, gflops, position_gflops = measure(name)
    published_parameters, published_gflops = PUBLISHED[name]
    parameter_deviation = parameters / published_parameters - 1
    gflops_deviation = gflops / published_gflops - 1
    holds = (
        abs(parameter_deviation) <= PARAMETER_TOLERANCE
        and abs(gflops_deviation) <= MACS_TOLERANCE
    )
    explanation = EXPLANATIONS.get(name)
    if explanation is None and position_gflops:
        deviation = (gflops - position_gflops) / published_gflops - 1
        explanation = (
            "the paper seems to leave out the products of queries and "
            f"position tables, without which we deviate by {deviation:+.2%}"
        )
    return {
        "network": name,
        "parameters_m": f"{parameters:.3f}",
        "published_parameters_m": published_parameters,
        "parameter_deviation": f"{parameter_deviation:+.2%}",
        "gflops": f"{gflops:.3f}",
        "published_gflops": published_gflops,
        "gflops_deviation": f"{gflops_deviation:+.2%}",
        "explanation": "" if holds else explanation or "unexplained",
    }


def main():
    rows = [row(name) for name in PUBLISHED]
    tables.write_rows(RESULTS, rows)
    for values in rows:
        print(*values.values(), sep="  ")


if __name__ == "__main__":
    main()
