"""DMSASFFNet, the generator of Keyframes-GAN (Agnolucci et al., IEEE TMM 2023), compatible with the published checkpoint.

VGG19 features of the compressed face, of the key frame warped onto its pose, and of the landmarks, at four scales; the
key frame's features take the compressed ones' statistics (AdaIN), a mask learned from all three blends the two at every
scale (adaptive spatial feature fusion), and spatial feature transforms guide the way from 1/16 of the resolution up.
The network adds a residual to the compressed picture.

Convention: pictures are float RGB in [0, 1], (N, 3, H, W); H and W are multiples of 16.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs.spectral import CircularConv2d, SpectralConv2d, fold_batch_norm, fold_spectral_in
from archs.vgg_arch import VGG19Features

VGG_LAYERS = ("relu2_2", "relu3_4", "relu4_4", "conv5_4")
WIDTHS = (128, 256, 512, 512)
DILATIONS = (4, 3, 2, 1)
MULTIPLE = 16
SLOPE = 0.2
SFT_SLOPE = 0.04
ADAIN_EPS = 1e-5


def adain(content: Tensor, style: Tensor) -> Tensor:
    """Give `content` the per-channel statistics of `style`, both (N, C, H, W), computed in float32.

    The standard deviation is the unbiased one, and the epsilon is added to it, not to the variance: published weights
    were trained so.
    """
    content_std, content_mean = torch.std_mean(content.float(), dim=(2, 3), keepdim=True)
    style_std, style_mean = torch.std_mean(style.float(), dim=(2, 3), keepdim=True)
    scale = (style_std + ADAIN_EPS) / (content_std + ADAIN_EPS)
    shift = style_mean - content_mean * scale
    return content * scale.to(content.dtype) + shift.to(content.dtype)


def _circular(inputs: int, outputs: int, *, bias: bool = True) -> nn.Conv2d:
    return CircularConv2d(inputs, outputs, 3, padding=1, bias=bias)


def _spectral(inputs: int, outputs: int) -> SpectralConv2d:
    return SpectralConv2d(inputs, outputs, 3, padding=1, padding_mode="circular")


class FusionBlock(nn.Module):
    """compressed + mask * (reference - compressed), where both went through a small branch of their own.

    The mask is learned from the raw features of compressed, reference and landmarks, in this order; it ends in a leaky
    ReLU, so it is not limited to [0, 1].
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_compressed_conv = nn.Conv2d(width, width // 2, 1)
        self.attention_reference_conv = nn.Conv2d(width, width // 2, 1)
        self.attention_landmark_conv = nn.Conv2d(width, width // 2, 1)
        self.attention_concatenated_conv1 = _circular(3 * (width // 2), width, bias=False)
        self.attention_concatenated_bn1: nn.Module = nn.BatchNorm2d(width)
        self.attention_concatenated_conv2 = _circular(width, width, bias=False)
        self.attention_concatenated_bn2: nn.Module = nn.BatchNorm2d(width)
        self.compressed_conv1 = _circular(width, width)
        self.compressed_bn: nn.Module = nn.BatchNorm2d(width)
        self.compressed_conv2 = nn.Conv2d(width, width, 1)
        self.reference_conv1 = _circular(width, width)
        self.reference_bn: nn.Module = nn.BatchNorm2d(width)
        self.reference_conv2 = nn.Conv2d(width, width, 1)

    def forward(self, compressed: Tensor, reference: Tensor, landmark: Tensor) -> Tensor:
        """Blend (N, width, H, W) features; `reference` has had its statistics adapted."""
        seen = torch.cat(
            (
                self.attention_compressed_conv(compressed),
                self.attention_reference_conv(reference),
                self.attention_landmark_conv(landmark),
            ),
            dim=1,
        )
        mask = F.leaky_relu(self.attention_concatenated_bn1(self.attention_concatenated_conv1(seen)), SLOPE)
        mask = F.leaky_relu(self.attention_concatenated_bn2(self.attention_concatenated_conv2(mask)), SLOPE)
        ours = self.compressed_conv2(F.leaky_relu(self.compressed_bn(self.compressed_conv1(compressed)), SLOPE))
        theirs = self.reference_conv2(F.leaky_relu(self.reference_bn(self.reference_conv1(reference)), SLOPE))
        blended: Tensor = ours + mask * (theirs - ours)
        return blended

    def fold(self) -> None:
        """Fold the four BatchNorms into the convolutions before them, in place."""
        for conv, norm in (
            ("attention_concatenated_conv1", "attention_concatenated_bn1"),
            ("attention_concatenated_conv2", "attention_concatenated_bn2"),
            ("compressed_conv1", "compressed_bn"),
            ("reference_conv1", "reference_bn"),
        ):
            batch_norm = getattr(self, norm)
            if isinstance(batch_norm, nn.BatchNorm2d):
                setattr(self, conv, fold_batch_norm(getattr(self, conv), batch_norm))
                setattr(self, norm, nn.Identity())


class MultiScaleDilation(nn.Module):
    """Four parallel pairs of dilated convolutions, fused and added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_blocks = nn.ModuleList(
            nn.Sequential(
                SpectralConv2d(width, width, 3, padding=dilation, dilation=dilation),
                nn.LeakyReLU(SLOPE, inplace=True),
                SpectralConv2d(width, width, 3, padding=dilation, dilation=dilation),
            )
            for dilation in DILATIONS
        )
        self.conv_fusion = _spectral(len(DILATIONS) * width, width)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        wide: Tensor = features + self.conv_fusion(torch.cat([block(features) for block in self.conv_blocks], dim=1))
        return wide


class Blur(nn.Module):
    """Every channel smoothed by the binomial kernel 1-2-1 in both directions, zero padded."""

    kernel: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        taps = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("kernel", torch.outer(taps, taps).expand(width, 1, 3, 3).contiguous(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        return F.conv2d(features, self.kernel, padding=1, groups=len(self.kernel))


class SFTUpBlock(nn.Module):
    """Modulate by scale and shift learned from the guide, then double the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(Blur(inputs), _spectral(inputs, outputs), nn.LeakyReLU(SFT_SLOPE, inplace=True))
        self.convup = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            _spectral(outputs, outputs),
            nn.LeakyReLU(SLOPE, inplace=True),
        )
        self.scale_block = nn.Sequential(_spectral(inputs, outputs), nn.LeakyReLU(SLOPE, inplace=True), _spectral(outputs, outputs))
        self.shift_block = nn.Sequential(
            _spectral(inputs, outputs), nn.LeakyReLU(SLOPE, inplace=True), _spectral(outputs, outputs), nn.Sigmoid()
        )

    def forward(self, features: Tensor, guide: Tensor) -> Tensor:
        """Map features and guide, both (N, inputs, H, W), to (N, outputs, 2H, 2W)."""
        modulated = self.conv1(features) * self.scale_block(guide) + self.shift_block(guide)
        raised: Tensor = self.convup(modulated)
        return raised


class ResidualBlock(nn.Module):
    """x + conv(leaky(conv(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_circular(width, width), nn.LeakyReLU(SLOPE, inplace=True), _circular(width, width))

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        refined: Tensor = features + self.body(features)
        return refined


class DMSASFFNet(nn.Module):
    """Restore a compressed face by a key frame of the same person: 96 M parameters, VGG19 included and frozen.

    Args:
        joint_vgg: run VGG19 once on the three pictures as one batch; otherwise once for each. The output is the same.
    """

    def __init__(self, *, joint_vgg: bool = True) -> None:
        super().__init__()
        self.joint_vgg = joint_vgg
        self.vgg_extractor = VGG19Features(VGG_LAYERS, use_input_norm=True, range_norm=True)
        self.MASFF_blocks = nn.ModuleList(FusionBlock(width) for width in WIDTHS)
        self.multi_scale_dilation = MultiScaleDilation(WIDTHS[3])
        self.upsample0 = SFTUpBlock(512, 512)
        self.upsample1 = SFTUpBlock(512, 256)
        self.upsample2 = SFTUpBlock(256, 128)
        self.upsample3 = SFTUpBlock(128, 64)
        self.upsample4 = nn.Sequential(
            _spectral(64, 64), nn.LeakyReLU(SLOPE, inplace=True), ResidualBlock(64), ResidualBlock(64), _circular(64, 3)
        )

    def forward(self, compressed: Tensor, reference: Tensor, landmark: Tensor) -> Tensor:
        """Restore `compressed`.

        Args:
            compressed: (N, 3, H, W) in [0, 1], RGB; H and W multiples of 16.
            reference: the same shape, warped onto the pose of `compressed`.
            landmark: (N, 3, H, W) or (N, 1, H, W) in [0, 1]: white dots on black.

        Returns:
            (N, 3, H, W), of the type of `compressed`, not clamped.

        Raises:
            ValueError: shapes that do not belong together, or a size that is no multiple of 16.
        """
        _check(compressed, reference, landmark)
        work = next(self.upsample4.parameters()).dtype
        pictures = [picture.to(work) for picture in (compressed, reference, landmark.expand_as(compressed))]
        ours, theirs, marks = self._features(pictures)
        fused = [
            block(ours[layer], adain(theirs[layer], ours[layer]), marks[layer])
            for block, layer in zip(self.MASFF_blocks, VGG_LAYERS, strict=True)
        ]
        features = self.multi_scale_dilation(ours[VGG_LAYERS[-1]])
        for block, guide in zip((self.upsample0, self.upsample1, self.upsample2, self.upsample3), reversed(fused), strict=True):
            features = block(features, guide)
        return compressed + self.upsample4(features).to(compressed.dtype)

    def _features(self, pictures: list[Tensor]) -> list[dict[str, Tensor]]:
        """Return {layer: features} for every picture."""
        if not self.joint_vgg:
            return [self.vgg_extractor(picture) for picture in pictures]
        joint = {layer: found.chunk(len(pictures)) for layer, found in self.vgg_extractor(torch.cat(pictures)).items()}
        return [{layer: found[index] for layer, found in joint.items()} for index in range(len(pictures))]

    def fold(self) -> DMSASFFNet:
        """Fold spectral norms and BatchNorms into plain convolutions, in place and for good; the output stays equal.

        For inference only: the network is set to eval mode, and its key names are no longer the checkpoint's.

        Returns:
            The network itself.
        """
        self.eval()
        fold_spectral_in(self)
        for block in list(self.modules()):
            if isinstance(block, FusionBlock):
                block.fold()
        return self


def _check(compressed: Tensor, reference: Tensor, landmark: Tensor) -> None:
    count, channels, height, width = compressed.shape
    if channels != 3 or height % MULTIPLE or width % MULTIPLE:  # noqa: PLR2004
        msg = f"compressed: expected (N, 3, H, W) with H and W multiples of {MULTIPLE}, got {tuple(compressed.shape)}"
        raise ValueError(msg)
    if reference.shape != compressed.shape:
        msg = f"reference: expected the shape of compressed {tuple(compressed.shape)}, got {tuple(reference.shape)}"
        raise ValueError(msg)
    if tuple(landmark.shape) not in {(count, planes, height, width) for planes in (1, 3)}:
        msg = f"landmark: expected ({count}, 1 or 3, {height}, {width}), got {tuple(landmark.shape)}"
        raise ValueError(msg)
