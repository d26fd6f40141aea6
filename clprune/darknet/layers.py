"""All kinds of layers under one name."""

from clprune.darknet.kinds.base import Layer, MatrixLayer, PruneOptions
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional, Local
from clprune.darknet.kinds.joins import Route, Shortcut
from clprune.darknet.kinds.normalization import BatchNorm, Normalization
from clprune.darknet.kinds.planes import Crop, Reorg, Upsample
from clprune.darknet.kinds.pools import AvgPool, MaxPool
from clprune.darknet.kinds.values import Activation, Cost, Dropout, Softmax

__all__ = [
    "Activation",
    "AvgPool",
    "BatchNorm",
    "Connected",
    "Convolutional",
    "Cost",
    "Crop",
    "Dropout",
    "Layer",
    "Local",
    "MatrixLayer",
    "MaxPool",
    "Normalization",
    "PruneOptions",
    "Reorg",
    "Route",
    "Shortcut",
    "Softmax",
    "Upsample",
]
