"""The shapes that tables of shipped tiles are made for: convolutions of well-known networks, each of them once.

A network is words, in order: `64k3s2g8` is a convolution of 64 filters of 3x3 with stride 2 in 8 groups, `P` a 2x2
maximum of stride 2, `+4` the sum with the output of the fourth layer before. Repetitions are left out: their problems
are the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from clprune.darknet.network import Network, load_network
from clprune.resources import models_folder

_CONVOLUTION = re.compile(r"(\d+)k(\d+)(?:s(\d+))?(?:g(\d+))?")

#: Name -> side of the input, layers. vgg16 is the cfg that is shipped.
NETWORKS: Mapping[str, tuple[int, str]] = {
    "resnet50": (
        224,
        "64k7s2 P 64k1 64k3 256k1 64k1 64k3 256k1 +4 128k1 128k3s2 512k1 128k1 128k3 512k1 +4 "
        "256k1 256k3s2 1024k1 256k1 256k3 1024k1 +4 512k1 512k3s2 2048k1 512k1 512k3 2048k1 +4",
    ),
    "darknet19": (
        256,
        "32k3 P 64k3 P 128k3 64k1 128k3 P 256k3 128k1 256k3 P 512k3 256k1 512k3 P 1024k3 512k1 1024k3 1000k1",
    ),
    "darknet53": (
        256,
        "32k3 64k3s2 32k1 64k3 +3 128k3s2 64k1 128k3 +3 256k3s2 128k1 256k3 +3 512k3s2 256k1 512k3 +3 "
        "1024k3s2 512k1 1024k3 +3",
    ),
    "yolov3-tiny": (416, "16k3 P 32k3 P 64k3 P 128k3 P 256k3 P 512k3 1024k3 256k1 512k3 255k1"),
    "yolov4-tiny": (
        416,
        "32k3s2 64k3s2 64k3 32k3 32k3 64k1 P 128k3 64k3 64k3 128k1 P 256k3 128k3 128k3 256k1 P 512k3 256k1 512k3 255k1",
    ),
    "mobilenet-v2": (
        224,
        "32k3s2 32k3g32 16k1 96k1 96k3s2g96 24k1 144k1 144k3g144 24k1 +4 144k1 144k3s2g144 32k1 192k1 192k3g192 32k1 "
        "+4 192k1 192k3s2g192 64k1 384k1 384k3g384 64k1 +4 384k1 384k3g384 96k1 576k1 576k3g576 96k1 +4 "
        "576k1 576k3s2g576 160k1 960k1 960k3g960 160k1 +4 960k1 960k3g960 320k1 1280k1",
    ),
}
NAMES = ("vgg16", *NETWORKS)


def shapes_of(name: str, folder: Path) -> Network:
    """The network, whose cfg is written into `folder` unless it is shipped."""
    if name not in NETWORKS:
        return load_network(models_folder() / f"{name}.cfg")
    path = folder / f"{name}.cfg"
    path.write_text(cfg_text(*NETWORKS[name]), encoding="utf-8")
    return load_network(path)


def cfg_text(side: int, layers: str) -> str:
    """The cfg of a description."""
    sections = [f"[net]\nbatch=1\nheight={side}\nwidth={side}\nchannels=3\n"]
    for word in layers.split():
        if word == "P":
            sections.append("[maxpool]\nsize=2\nstride=2\n")
        elif word.startswith("+"):
            sections.append(f"[shortcut]\nfrom=-{word[1:]}\nactivation=linear\n")
        elif match := _CONVOLUTION.fullmatch(word):
            filters, size, stride, groups = (int(number or 1) for number in match.groups())
            sizes = f"filters={filters}\nsize={size}\nstride={stride}\ngroups={groups}\npad=1\n"
            sections.append(f"[convolutional]\n{sizes}activation=leaky\n")
        else:
            raise ValueError(f"{word!r} describes no layer")
    return "\n".join(sections)
