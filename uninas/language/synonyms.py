"""What others call our operations, for hints; by the words of torch, timm, Keras and papers."""

from __future__ import annotations

from collections.abc import Container

SYNONYMS = {
    "swish": "silu", "hswish": "hard_swish", "hsigmoid": "hard_sigmoid", "hardswish": "hard_swish",
    "hardsigmoid": "hard_sigmoid", "lrelu": "leaky_relu",
    "bn": "batch_norm", "batchnorm2d": "batch_norm", "batchnorm": "batch_norm", "ln": "layer_norm",
    "layernorm": "layer_norm", "layernorm2d": "layer_norm", "gn": "group_norm", "groupnorm": "group_norm",
    "instance_norm": "group_norm", "rmsnorm": "rms_norm",
    "mul": "multiply", "times": "multiply", "prod": "multiply", "sum": "add", "plus": "add", "sub": "subtract",
    "minus": "subtract", "div": "divide", "cat": "concat", "concatenate": "concat", "max": "maximum", "amax": "largest",
    "maxpool": "max_pool", "maxpool2d": "max_pool", "avgpool": "avg_pool", "avgpool2d": "avg_pool",
    "gap": "global_avg_pool", "adaptive_avg_pool": "adaptive_pool", "adaptiveavgpool2d": "adaptive_pool",
    "fc": "linear", "dense": "linear", "mlp": "linear",
    "dwconv": "depthwise_conv", "depthwise": "depthwise_conv", "conv2d": "conv", "convolution": "conv",
    "pwconv": "conv",
    "interpolate": "upsample", "resize": "upsample", "im2col": "unfold", "col2im": "fold", "blurpool": "blur",
    "shuffle": "channel_shuffle",
    "convtranspose2d": "conv_transpose", "deconv": "conv_transpose", "upconv": "conv_transpose",
    "sinusoidal": "sine_embed", "rope": "rotary", "causal": "causal_mask", "coordconv": "coordinates",
    "droppath": "drop_path", "stochastic_depth": "drop_path", "gamma": "layer_scale", "ls": "layer_scale",
    "cls_token": "class_token", "position_embedding": "pos_embed", "positional_encoding": "pos_embed",
    "view": "reshape", "sqrt": "root", "parameter": "learned", "param": "learned", "constant": "learned",
}  # fmt: skip
"""Folded names (small letters) and the operations that they stand for."""


ABSENT = dict.fromkeys(
    ("lstm", "gru", "rnn", "lstmcell", "grucell"),
    "recurrent networks are not in the language; embedding, conv(C, 1, width=3) and attention are",
) | {
    "same": "without padding=, sizes stay for odd kernels; padding=-2 is TensorFlow's same, also for strides",
    "valid": "no zeros around the map: padding=0",
    "grid_partition": "a grid of g x g positions is window_partition(H / g) -> permute",
}
"""What there is no word for, and what to say about it."""


def meant(name: str, known: Container[str]) -> str:
    """'did you mean ...?' where a word of others stands for something known, or ''.

    >>> meant("Swish", {"silu"})
    "did you mean 'silu'?"
    """
    if name.lower() in ABSENT:
        return ABSENT[name.lower()]
    found = SYNONYMS.get(name.lower())
    return f"did you mean '{found}'?" if found is not None and found in known else ""
