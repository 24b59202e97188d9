"""Adaptation methods, one file each; importing the package registers them."""

from mtl.methods import (  # noqa: F401
    adapter,
    adaptformer,
    baselines,
    bitfit,
    compacter,
    composite,
    dora,
    hyperformer,
    lora,
    low_rank_adapter,
    mtlora,
    phm_adapter,
    polyhistor,
    polyhistor_lite,
    relative_bias,
    shared_adapter,
    ssf,
    vpt,
)
