"""timm's names of parameters in the published networks, and ours. Read with `renaming`."""

from dataclasses import dataclass

from helpers.renaming import Change, heads_first, merged_patches, positions_last, table_per_head


@dataclass(frozen=True)
class Published:
    """How one of timm's networks becomes ours: its table of names, and changes of layout."""

    table: str
    changes: tuple[Change, ...] = ()
    size: int = 224


RESNET = """
    ^conv1                      stem.conv
    ^bn1                        stem.batch_norm
    ^fc                         head.linear
    ^layer{s+1}.{b}             stages.{s}.blocks.{b}
    conv{k}                     conv_{k}
    bn{k}                       batch_norm_{k}
    downsample.0                projection.conv
    downsample.1                projection.batch_norm
"""

REGNET = """
    stem.bn                     stem.batch_norm
    head.fc                     head.linear
    s{s+1}.b{b+1}               stages.{s}.blocks.{b}
    conv{k}.conv                conv_{k}
    conv{k}.bn                  batch_norm_{k}
    downsample.conv             projection.conv
    downsample.bn               projection.batch_norm
"""

INVERTED_RESIDUALS = """
    ^conv_stem                  stem.conv
    ^bn1                        stem.batch_norm
    ^conv_head                  head.conv
    ^bn2                        head.batch_norm
    classifier                  head.linear
    blocks.0.0.bn1              stages.0.blocks.0.batch_norm
    blocks.0.0.bn2              stages.0.blocks.0.body
    blocks.0.0.conv_pw          stages.0.blocks.0.conv
    ^blocks.{s}.{b}             stages.{s}.blocks.{b}
    conv_pw                     conv_1
    bn1                         batch_norm_1
    conv_dw                     depthwise_conv
    bn2                         batch_norm_2
    se.conv_reduce              squeeze_excite.conv_1
    se.conv_expand              squeeze_excite.conv_2
    conv_pwl                    conv_2
    bn3                         body
"""

CONVNEXT = """
    stem.0                      stem.conv
    stem.1                      stem.layer_norm
    head.norm                   head.layer_norm
    head.fc                     head.linear
    stages.0.blocks.{b}         stages.0.block.{b}
    stages.{s}.blocks.{b}       stages.{s}.blocks.{b+1}
    block                       blocks
    downsample.0                blocks.0.layer_norm
    downsample.1                blocks.0.conv
    conv_dw                     depthwise_conv
    norm                        layer_norm
    mlp.fc{k}                   conv_{k}
    gamma                       layer_scale.weight
"""

VIT = """
    cls_token                   stem.class_token.weight
    pos_embed                   stem.pos_embed.weight
    patch_embed.proj            stem.conv
    ^norm                       head.layer_norm
    ^head                       head.linear
    head.linear.layer_norm      head.layer_norm
    ^blocks.{b}                 stages.0.blocks.{b}
    norm{k}                     layer_norm_{k}
    attn.qkv                    attention.qkv
    attn.proj                   attention.conv
    mlp.fc{k}                   mlp.conv_{k}
"""

MIXER = """
    stem.proj                   stem.conv
    ^head                       head.linear
    ^norm                       head.layer_norm
    ^blocks.{b}                 stages.0.blocks.{b}
    norm{k}                     layer_norm_{k}
    mlp_tokens.fc{k}            mlp_1.conv_{k}
    mlp_channels.fc{k}          mlp_2.conv_{k}
"""

DENSENET = """
    features.conv0              stem.conv
    features.norm0              stem.batch_norm
    features.norm5              head.batch_norm
    classifier                  head.linear
    denseblock1.denselayer{b+1} stages.0.blocks.{b}
    denseblock{s+1}.denselayer{b} stages.{s}.blocks.{b}
    transition{s}               stages.{s}.blocks.0
    ^features.stages            stages
    conv{k}                     conv_{k}
    norm{k}                     batch_norm_{k}
    norm                        batch_norm
"""

GHOSTNET = """
    ^conv_stem                  stem.conv
    ^bn1                        stem.batch_norm
    ^conv_head                  head.conv
    classifier                  head.linear
    ^blocks.9.0.conv            head.conv_bn_act.conv
    ^blocks.9.0.bn1             head.conv_bn_act.batch_norm
    ^blocks.0.0                 stages.0.blocks.0
    ^blocks.1.0                 stages.1.blocks.0
    ^blocks.2.0                 stages.1.blocks.1
    ^blocks.3.0                 stages.2.blocks.0
    ^blocks.4.0                 stages.2.blocks.1
    ^blocks.5.0                 stages.3.blocks.0
    ^blocks.6.3                 stages.4.blocks.0
    ^blocks.6.4                 stages.4.blocks.1
    ^blocks.6.{b}               stages.3.blocks.{b+1}
    ^blocks.7.0                 stages.5.blocks.0
    ^blocks.8.{b}               stages.5.blocks.{b+1}
    ghost{k}                    ghost_module_{k}
    primary_conv.0              conv
    primary_conv.1              batch_norm_1
    cheap_operation.0           depthwise_conv
    cheap_operation.1           batch_norm_2
    conv_dw                     depthwise_conv
    bn_dw                       batch_norm
    se.conv_reduce              squeeze_excite.conv_1
    se.conv_expand              squeeze_excite.conv_2
    shortcut.0                  ghost_projection.depthwise_conv
    shortcut.1                  ghost_projection.batch_norm_1
    shortcut.2                  ghost_projection.conv
    shortcut.3                  ghost_projection.batch_norm_2
"""

INCEPTION = """
    fc                          head.linear
    Conv2d_1a_3x3               stem.conv_1
    Conv2d_2a_3x3               stem.conv_2
    Conv2d_2b_3x3               stem.conv_3
    Conv2d_3b_1x1               stem.conv_4
    Conv2d_4a_3x3               stem.conv_5
    Mixed_5b                    stages.0.blocks.0
    Mixed_5c                    stages.0.blocks.1
    Mixed_5d                    stages.0.blocks.2
    Mixed_6a                    stages.1.blocks.0
    Mixed_6b                    stages.1.blocks.1
    Mixed_6c                    stages.1.blocks.2
    Mixed_6d                    stages.1.blocks.3
    Mixed_6e                    stages.1.blocks.4
    Mixed_7a                    stages.2.blocks.0
    Mixed_7b                    stages.2.blocks.1
    Mixed_7c                    stages.2.blocks.2
    bn                          batch_norm
    branch1x1                   single
    branch_pool                 pooled.conv
    branch5x5_1                 conv_1                      # A
    branch5x5_2                 wide
    stages.0.blocks.{b}.branch3x3dbl_1      stages.0.blocks.{b}.conv_2
    stages.0.blocks.{b}.branch3x3dbl_2      stages.0.blocks.{b}.conv_3
    stages.1.blocks.0.branch3x3dbl_1        stages.1.blocks.0.conv_1    # B
    stages.1.blocks.0.branch3x3dbl_2        stages.1.blocks.0.conv_2
    branch3x3                   single
    branch3x3dbl_3              deep
    branch7x7_1                 conv_1                      # C
    branch7x7_2                 conv_2
    branch7x7_3                 once
    branch7x7dbl_1              conv_3
    branch7x7dbl_2              conv_4
    branch7x7dbl_3              conv_5
    branch7x7dbl_4              conv_6
    branch7x7dbl_5              twice
    branch3x3_1                 conv_1                      # D
    branch3x3_2                 single
    branch7x7x3_1               conv_2
    branch7x7x3_2               conv_3
    branch7x7x3_3               conv_4
    branch7x7x3_4               wide
    branch3x3_2a                once.conv_1                 # E
    branch3x3_2b                once.conv_2
    branch3x3dbl_1              conv_2
    branch3x3dbl_2              conv_3
    branch3x3dbl_3a             twice.conv_1
    branch3x3dbl_3b             twice.conv_2
"""

SWIN = """
    patch_embed.proj            stem.conv
    patch_embed.norm            stem.layer_norm
    ^norm                       head.layer_norm
    head.fc                     head.linear
    layers.0.blocks.{b}         stages.0.blocks.{b}
    layers.{s}.blocks.{b}       stages.{s}.blocks.{b+1}
    layers.{s}.downsample.norm  stages.{s}.blocks.0.layer_norm
    layers.{s}.downsample.reduction stages.{s}.blocks.0.conv
    norm{k}                     layer_norm_{k}
    attn                        window_attention
    proj                        conv
    mlp.fc{k}                   mlp.conv_{k}
"""

COATNET = """
    stem.conv{k}                stem.conv_{k}
    stem.norm1                  stem.batch_norm
    ^norm                       head.layer_norm
    head.fc                     head.linear
    shortcut.expand             projection.conv
    pre_norm                    batch_norm_1
    conv1_1x1                   conv_1
    conv2_kxk                   depthwise_conv
    conv3_1x1                   conv_2
    se_early.fc{k}              squeeze_excite.conv_{k}
    norm1.norm                  layer_norm_1
    stages.2.blocks.{b}.norm{k} stages.2.blocks.{b}.layer_norm_{k}
    stages.3.blocks.{b}.norm{k} stages.3.blocks.{b}.layer_norm_{k}
    norm{k}                     batch_norm_{k+1}
    attn                        rel_pos_attention
    proj                        conv
    mlp.fc{k}                   mlp.conv_{k}
"""

PUBLISHED = {
    "resnet18": Published(RESNET),
    "resnet50": Published(RESNET),
    "regnetx_032": Published(REGNET),
    "mobilenetv2_100": Published(INVERTED_RESIDUALS),
    "efficientnet_b0": Published(INVERTED_RESIDUALS),
    "convnext_tiny": Published(CONVNEXT),
    "vit_small_patch16_224": Published(VIT, (heads_first(64), positions_last)),
    "mixer_s16_224": Published(MIXER),
    "densenet121": Published(DENSENET),
    "ghostnet_100": Published(GHOSTNET),
    "inception_v3": Published(INCEPTION, size=299),
    "swin_tiny_patch4_window7_224": Published(SWIN, (heads_first(32), table_per_head, merged_patches)),
    "coatnet_0_rw_224": Published(COATNET, (table_per_head,)),
}
