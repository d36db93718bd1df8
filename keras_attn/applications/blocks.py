"""The parts that every network here is made of, in its own settings."""

import keras
from keras import layers

from keras_attn.layers import feature_maps


def convolution(x, filters, kernel_size, strides, name):
    return layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def batch_norm(x, name, gamma_initializer="ones"):
    return layers.BatchNormalization(
        axis=channel_axis(),
        momentum=0.9,
        epsilon=1e-5,
        gamma_initializer=gamma_initializer,
        name=name,
    )(x)


def batch_norm_relu(x, name):
    x = batch_norm(x, f"{name}_bn")
    return layers.ReLU(name=f"{name}_relu")(x)


def channel_axis():
    return 1 if keras.config.image_data_format() == "channels_first" else -1


def height_width_channels(x):
    return feature_maps.map_shape(x.shape, keras.config.image_data_format())
