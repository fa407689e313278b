"""Networks in an options file: `type` and the constructor's keyword arguments, of which a test holds the two together.

Adding a network is adding a class here, naming it in `NETWORKS`, and naming it in the union of the recipes that take it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from keyframes_gan.options.section import Count, Fraction, Positive, Section, Weight, refuse


class DMSASFFNetLite(Section):
    """`archs.dmsasff_lite_arch.DMSASFFNetLite`."""

    type: Literal["DMSASFFNetLite"]
    widths: Annotated[list[Positive], Field(min_length=3, max_length=3)] | None = None
    landmark_widths: Annotated[list[Positive], Field(min_length=3, max_length=3)] | None = None
    blocks: Count | None = None
    landmark_channels: Positive | None = None


class KeyframeFlowNet(Section):
    """`archs.keyframe_flow_arch.KeyframeFlowNet`."""

    type: Literal["KeyframeFlowNet"]
    widths: Annotated[list[Positive], Field(min_length=3, max_length=3)] | None = None
    blocks: Annotated[list[Count], Field(min_length=3, max_length=3)] | None = None


class VividKeyframeFlowNet(Section):
    """`archs.keyframe_flow_arch.VividKeyframeFlowNet`."""

    type: Literal["VividKeyframeFlowNet"]
    widths: Annotated[list[Positive], Field(min_length=3, max_length=3)] | None = None
    blocks: Annotated[list[Count], Field(min_length=3, max_length=3)] | None = None
    detail_blocks: Count | None = None
    detail_share: Fraction | None = None


class DMSASFFNet(Section):
    """`archs.dmsasff_arch.DMSASFFNet`: the published network; its size is fixed."""

    type: Literal["DMSASFFNet"]
    joint_vgg: bool | None = None


class VGGStyleDiscriminator256(Section):
    """`archs.discriminator_arch.VGGStyleDiscriminator256`: for patches of 256 pixels."""

    type: Literal["VGGStyleDiscriminator256"]
    num_in_ch: Positive | None = None
    num_feat: Positive | None = None


class MultiScaleDiscriminator(Section):
    """`archs.discriminator_arch.MultiScaleDiscriminator`."""

    type: Literal["MultiScaleDiscriminator"]
    input_ch: Positive | None = None
    base_ch: Positive | None = None
    num_layers: Positive | None = None
    num_discriminators: Positive | None = None


class ContrastDiscriminator(Section):
    """`archs.discriminator_arch.ContrastDiscriminator`."""

    type: Literal["ContrastDiscriminator"]
    base_ch: Positive | None = None
    num_layers: Positive | None = None


class VQAutoEncoder(Section):
    """`archs.vqgan_arch.VQAutoEncoder`."""

    type: Literal["VQAutoEncoder"]
    img_size: Positive | None = None
    nf: Annotated[int, Field(ge=32, multiple_of=32)] | None = None
    ch_mult: Annotated[list[Positive], Field(min_length=1)] | None = None
    quantizer: Literal["nearest", "gumbel"] | None = None
    res_blocks: Positive | None = None
    attn_resolutions: list[Positive] | None = None
    codebook_size: Annotated[int, Field(ge=2)] | None = None
    emb_dim: Positive | None = None
    beta: Weight | None = None
    gumbel_straight_through: bool | None = None
    gumbel_kl_weight: Weight | None = None


class VQHQEncoder(VQAutoEncoder):
    """`archs.vqgan_arch.VQHQEncoder`: the same network without its generator."""

    type: Literal["VQHQEncoder"]  # type: ignore[assignment]


class VQGANDiscriminator(Section):
    """`archs.vqgan_discriminator_arch.VQGANDiscriminator`."""

    type: Literal["VQGANDiscriminator"]
    nc: Positive | None = None
    ndf: Positive | None = None
    n_layers: Positive | None = None


class Discriminator3D(Section):
    """`archs.discriminator3d_arch.Discriminator3D`."""

    type: Literal["Discriminator3D"]
    in_channels: Positive | None = None
    nf: Positive | None = None
    use_spectral_norm: bool | None = None


Side = Annotated[str, Field(pattern=r"^[1-9][0-9]*$")] | Positive
KEEPPart = Literal[
    "flownet",
    "kalman_filter",
    "hq_encoder",
    "encoder",
    "quantize",
    "generator",
    "position_emb",
    "feat_emb",
    "ft_layers",
    "idx_pred_layer",
    "cft",
    "cfa",
]


class KEEP(Section):
    """`archs.keep_arch.KEEP`. The names of both published releases are accepted; one of each pair at a time."""

    type: Literal["KEEP"]
    img_size: Positive | None = None
    nf: Annotated[int, Field(ge=32, multiple_of=32)] | None = None
    ch_mult: Annotated[list[Positive], Field(min_length=1)] | None = None
    res_blocks: Positive | None = None
    attn_resolutions: list[Positive] | None = None
    codebook_size: Annotated[int, Field(ge=2)] | None = None
    emb_dim: Annotated[int, Field(ge=32, multiple_of=32)] | None = None
    dim_embd: Positive | None = None
    n_head: Positive | None = None
    n_layers: Count | None = None
    latent_size: Positive | None = None
    cft_list: list[Side] | None = None
    cfa_list: list[Side] | None = None
    cfa_nhead: Positive | None = None
    cfa_dim: Positive | None = None
    cfa_nlayers: Positive | None = None
    cond: Fraction | None = None
    kalman_attn_head_dim: Positive | None = None
    num_uncertainty_layers: Count | None = None
    flow_type: Literal["gmflow", "raft_small", "raft_large", "none"] | None = None
    detach_16: bool | None = None
    fix_modules: list[KEEPPart] | None = None
    connect_list: list[Side] | None = None
    cross_fuse_list: list[Side] | None = None
    cross_fuse_nhead: Positive | None = None
    cross_fuse_dim: Positive | None = None
    cross_fuse_nlayers: Positive | None = None

    @model_validator(mode="after")
    def _one_name(self) -> KEEP:
        for new in ("cft_list", "cfa_list", "cfa_nhead", "cfa_dim", "cfa_nlayers"):
            old = "connect_list" if new == "cft_list" else new.replace("cfa", "cross_fuse")
            if getattr(self, new) is not None and getattr(self, old) is not None:
                refuse(old, f"expected {new} or its older name, not both")
        return self


class SRNet(Section):
    """`archs.srnet_arch.SRNet`."""

    type: Literal["SRNet"]
    variant: Literal["video", "photo"] | None = None
    window: Literal[0] | Annotated[int, Field(ge=2)] | None = None
    dropout: Fraction | None = None


Generator = Annotated[DMSASFFNetLite | DMSASFFNet, Field(discriminator="type")]
Discriminator = Annotated[ContrastDiscriminator | MultiScaleDiscriminator | VGGStyleDiscriminator256, Field(discriminator="type")]
ClipDiscriminator = Annotated[VQGANDiscriminator | Discriminator3D, Field(discriminator="type")]

# type -> section.
NETWORKS: dict[str, type[Section]] = {
    section.__name__: section
    for section in (
        ContrastDiscriminator,
        DMSASFFNet,
        DMSASFFNetLite,
        Discriminator3D,
        KEEP,
        KeyframeFlowNet,
        MultiScaleDiscriminator,
        SRNet,
        VGGStyleDiscriminator256,
        VividKeyframeFlowNet,
        VQAutoEncoder,
        VQGANDiscriminator,
        VQHQEncoder,
    )
}
