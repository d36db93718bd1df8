"""What there is to say of the data sets that published weights are of."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
        name: As it is written.
        hub_name: Its repository on the Hugging Face Hub.
        split: The split that measures a network.
        terms: A sentence on what its pictures are under.
    """

    name: str
    hub_name: str
    split: str
    terms: str


DATA_SETS = {
    "cifar100": DataSet(
        "CIFAR-100",
        "uoft-cs/cifar100",
        "test",
        "CIFAR-100 states no licence for its pictures, which were collected "
        "from the web.",
    ),
    "tiny_imagenet": DataSet(
        "Tiny-ImageNet",
        "zh-plus/tiny-imagenet",
        "validation",
        "Tiny-ImageNet's pictures come from ImageNet and are under its terms.",
    ),
}
