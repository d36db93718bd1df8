"""Compare the networks' sizes with the papers': `python -m zoo.sizes`.

Writes `zoo/results/sizes.csv`: trainable parameters in millions and twice the
multiply-adds in billions ("GFLOPs" in these papers), at 224 x 224 pixels and
1000 classes, beside the published figures and the deviations.
"""

import csv
from pathlib import Path

import keras

from keras_attn import applications
from zoo import macs
from zoo.register import trainable_parameters

RESULTS = Path("zoo/results/sizes.csv")
PARAMETER_TOLERANCE = 0.005
MACS_TOLERANCE = 0.01

# Constructor: published parameters in millions, published 2 x MACs in billions.
PUBLISHED = {
    "AttnResNet34": (21.8, 7.4),
    "AttnResNet50": (25.56, 8.2),
    "AttnResNet101": (44.55, 15.6),
    "AttnResNet152": (60.19, 23.0),
    "GSAResNet38": (14.2, 5.9),
    "GSAResNet50": (18.1, 7.2),
    "GSAResNet101": (30.4, 12.2),
    "ExpAttResNet152": (57.66, 22.2),
    "AAResNet34": (20.7, 7.1),
    "AAResNet50": (25.8, 8.3),
    "AAResNet101": (45.4, 16.1),
    "AAResNet152": (61.6, 23.8),
}
ROUNDING = (
    "the rounding of channels to heads is not specified; ours fits the "
    "parameters to 0.1 %"
)
EXPLANATIONS = {
    "AAResNet34": "how the paper augments basic blocks is not specified; "
    "ours widens both 3x3 convolutions of each block",
    "AAResNet101": ROUNDING,
    "AAResNet152": ROUNDING,
}
COLUMNS = (
    "network",
    "parameters_m",
    "published_parameters_m",
    "parameter_deviation",
    "gflops",
    "published_gflops",
    "gflops_deviation",
    "explanation",
)


def measure(name):
    """Return `(parameters in millions, 2 x MACs in billions)`."""
    model = getattr(applications, name)()
    parameters = trainable_parameters(model) / 1e6
    gflops = 2 * macs.count(model, (224, 224, 3)) / 1e9
    keras.backend.clear_session()
    return parameters, gflops


def row(name):
    """Return a network's row of the table."""
    parameters, gflops = measure(name)
    published_parameters, published_gflops = PUBLISHED[name]
    parameter_deviation = parameters / published_parameters - 1
    gflops_deviation = gflops / published_gflops - 1
    holds = (
        abs(parameter_deviation) <= PARAMETER_TOLERANCE
        and abs(gflops_deviation) <= MACS_TOLERANCE
    )
    return {
        "network": name,
        "parameters_m": f"{parameters:.3f}",
        "published_parameters_m": published_parameters,
        "parameter_deviation": f"{parameter_deviation:+.2%}",
        "gflops": f"{gflops:.3f}",
        "published_gflops": published_gflops,
        "gflops_deviation": f"{gflops_deviation:+.2%}",
        "explanation": "" if holds else EXPLANATIONS.get(name, "unexplained"),
    }


def main():
    rows = [row(name) for name in PUBLISHED]
    with open(RESULTS, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    for values in rows:
        print(*values.values(), sep="  ")


if __name__ == "__main__":
    main()
