"""Which sections and keys a cfg may hold: tables only.

A key is *read* (it changes what is computed here), *silent* (darknet or its forks know it and it does not change
inference), or *neutral* (it would change inference in a way that clprune does not compute, so only the value that
changes nothing is accepted). Every other key earns a warning.
"""

from __future__ import annotations

#: Short section names and what they stand for.
ALIASES: dict[str, str] = {
    "network": "net",
    "conv": "convolutional",
    "conn": "connected",
    "max": "maxpool",
    "avg": "avgpool",
    "soft": "softmax",
    "lrn": "normalization",
    "deconv": "deconvolutional",
}

#: Sections that darknet or a fork of it knows and clprune does not run.
UNSUPPORTED: frozenset[str] = frozenset(
    {
        "crnn",
        "deconvolutional",
        "detection",
        "gru",
        "iseg",
        "l2norm",
        "logistic",
        "lstm",
        "region",
        "rnn",
        "yolo",
        "Gaussian_yolo",
        "sam",
        "scale_channels",
        "conv_lstm",
        "history",
        "contrastive",
        "representation",
        "empty",
        "reorg3d",
        "implicit",
        "silence",
        "local_avg",
        "local_avgpool",
    }
)

#: clprune's own keys; stock darknet reports them as unused and loads the file.
PRUNE_KEYS: tuple[str, ...] = ("prune_method", "prune_unit", "prune_sparsity")

#: A fourth, for convolutions that were pruned in the Winograd domain.
PRUNE_WINOGRAD_KEY = "prune_winograd"

_NET_SILENT = """
    batch subdivisions time_steps notruth random adam B1 B2 eps max_crop min_crop max_ratio min_ratio center clip
    angle aspect saturation exposure hue policy burn_in power step scale steps scales gamma max_batches learning_rate
    momentum decay flip blur gaussian_noise mixup cutmix mosaic mosaic_bound letter_box label_smooth_eps
    attention adversarial_lr max_chart_loss loss_scale dynamic_minibatch optimized_memory workspace_size_limit_MB
    track augment_speed sequential_subdivisions init_sequential_subdivisions try_fix_nan max_delta weights_reject_freq
    equidistant_point ema_alpha use_cuda_graph contrastive contrastive_jit_flip unsupervised badlabels_reject_threshold
    badlabels_rejection_percentage num_sigmas_reject_badlabels burnin_update train_only_bn seq_scales
    seen learning_rate_min sgdr_cycle sgdr_mult resize show_receptive_field max_epochs
    contrastive_color
"""

_ANY_LAYER_SILENT = """
    truth onlyforward stopbackward dontsave learning_rate smooth burnin_update train_only_bn
    clip dont_update
"""

_CONVOLUTIONAL = "filters size stride pad padding groups activation batch_normalize dontload"
_CONNECTED = "output activation batch_normalize dontload"

_READ: dict[str, str] = {
    "net": "height width channels inputs",
    "convolutional": " ".join((_CONVOLUTIONAL, *PRUNE_KEYS, PRUNE_WINOGRAD_KEY)),
    "connected": _CONNECTED + " " + " ".join(PRUNE_KEYS),
    "maxpool": "stride size padding",
    "avgpool": "",
    "dropout": "probability",
    "softmax": "groups temperature",
    "cost": "",
    "crop": "crop_height crop_width noadjust",
    "route": "layers",
    "shortcut": "from activation alpha beta",
    "upsample": "stride scale",
    "batchnorm": "dontload",
    "activation": "activation",
    "reorg": "stride reverse",
    "normalization": "alpha beta kappa size",
    "local": "filters size stride pad activation dontload",
}

_SILENT: dict[str, str] = {
    "net": _NET_SILENT,
    "convolutional": "dot cbn angle grad_centr bin_output stream wait_stream",
    "dropout": "dropblock dropblock_size_rel dropblock_size_abs",
    "route": "stream wait_stream",
    "softmax": "noloss",
    "cost": "type scale ratio noobj thresh",
    "crop": "flip angle saturation exposure shift",
}

_NEUTRAL: dict[str, dict[str, float]] = {
    "convolutional": {
        "binary": 0,
        "xnor": 0,
        "flipped": 0,
        "dilation": 1,
        "antialiasing": 0,
        "sway": 0,
        "rotate": 0,
        "stretch": 0,
        "stretch_sway": 0,
        "deform": 0,
        "assisted_excitation": 0,
        "reverse": 0,
        "coordconv": 0,
    },
    "maxpool": {"maxpool_depth": 0, "maxpool_zero_nonmax": 0, "antialiasing": 0, "out_channels": 1},
    "softmax": {"spatial": 0},
    "route": {"groups": 1, "group_id": 0},
    "reorg": {"extra": 0, "flatten": 0},
}

_ANY_LAYER_NEUTRAL: dict[str, float] = {"numload": 0, "dontloadscales": 0}

#: Keys that always change inference and that clprune does not compute.
REFUSED: dict[str, frozenset[str]] = {
    "convolutional": frozenset({"stride_x", "stride_y", "share_index"}),
    "maxpool": frozenset({"stride_x", "stride_y"}),
    "softmax": frozenset({"tree"}),
    "shortcut": frozenset({"weights_type", "weights_normalization"}),
}

#: Layer kinds that clprune knows.
KINDS: tuple[str, ...] = tuple(kind for kind in _READ if kind != "net")


def known_keys(kind: str) -> frozenset[str]:
    """Keys that a section of this kind may hold without a warning."""
    silent = _SILENT.get(kind, "").split()
    shared = [] if kind == "net" else _ANY_LAYER_SILENT.split()
    return frozenset([*_READ[kind].split(), *silent, *shared, *neutral_keys(kind), *REFUSED.get(kind, ())])


def neutral_keys(kind: str) -> dict[str, float]:
    """Keys of which only one value is accepted, and that value."""
    shared = {} if kind == "net" else _ANY_LAYER_NEUTRAL
    return {**_NEUTRAL.get(kind, {}), **shared}
