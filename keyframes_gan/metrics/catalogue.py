"""The list of metrics. docs/metrics.md says the same in more words; a test compares both."""

from __future__ import annotations

from dataclasses import replace

from keyframes_gan.metrics.kinds import Metric

ALEX, VGG = ("alexnet", "lpips_alexnet"), ("vgg16", "lpips_vgg16")

_PICTURES = (
    Metric("psnr", "PSNR", "dB", "higher", 2, "scorers:load_psnr", "peak signal-to-noise ratio, RGB, at most 100 dB"),
    Metric("ssim", "SSIM", "", "higher", 4, "scorers:load_ssim", "structural similarity (Wang et al. 2004), RGB"),
    Metric("psnr_y", "PSNR-Y", "dB", "higher", 2, "scorers:load_psnr_y", "as psnr, on BT.601 luma"),
    Metric("ssim_y", "SSIM-Y", "", "higher", 4, "scorers:load_ssim_y", "as ssim, on BT.601 luma"),
    Metric("ms_ssim", "MS-SSIM", "", "higher", 4, "scorers:load_ms_ssim", "similarity over five scales (Wang et al. 2003), RGB"),
)

_LEARNED = (
    Metric("lpips", "LPIPS", "", "lower", 4, "lpips:load", "learned distance (Zhang et al. 2018), AlexNet", weights=ALEX, argument="alex"),
    Metric("lpips_vgg", "LPIPS/VGG", "", "lower", 4, "lpips:load", "the same on VGG16", weights=VGG, argument="vgg"),
    Metric("dists", "DISTS", "", "lower", 4, "dists:load", "structure and texture (Ding et al. 2022)", weights=("vgg16", "dists")),
    Metric("tlpips", "tLPIPS", "", "lower", 5, "lpips:load_tlpips", "difference of LPIPS steps over time", weights=ALEX, of="clip"),
)

_SETS = (
    Metric("fid", "FID", "", "lower", 2, "distribution:load_fid", "distance of Inception features, all frames", weights=("inception_fid",)),
    Metric("fvd", "FVD", "", "lower", 2, "fvd:load_fvd", "distance of I3D features, all runs of 16 frames", weights=("i3d_fvd",)),
)

_BLIND = (
    Metric("brisque", "BRISQUE", "", "lower", 2, "scorers:load_brisque", "blind quality, antialiased halving"),
    Metric("brisque_paper", "BRISQUE/paper", "", "lower", 2, "scorers:load_brisque_paper", "blind quality, nearest halving"),
    Metric("niqe", "NIQE", "", "lower", 3, "niqe:load", "blind quality (Mittal et al. 2013), on luma", argument="matlab"),
    Metric("niqe_paper", "NIQE/paper", "", "lower", 3, "niqe:load", "the same, halved bilinearly", argument="paper"),
)

_VMAF = Metric("vmaf", "VMAF", "", "higher", 2, "vmaf:load_vmaf", "VMAF v0.6.1 by FFmpeg's libvmaf, 0 to 100")

_FLICKER = Metric("flicker", "Flicker", "levels", "lower", 4, "temporal:load_flicker", "change where the original stands still, of 255")

_FLOW = (
    Metric("e_warp", "E_warp", "", "lower", 6, "temporal:load_e_warp", "warping error along the original's flow, pictures in [0, 1]"),
    Metric("tof", "tOF", "px", "lower", 4, "temporal:load_tof", "difference of optical flow"),
    Metric(
        "seam_ratio", "Seam ratio", "", "lower", 4, "temporal:load_seam_ratio", "warping error at clip borders, over inside", total="clips"
    ),
)

_LANDMARKS = (
    Metric("akd", "AKD", "px", "lower", 3, "landmarks:load_akd", "distance of 68 landmarks (dlib)"),
    Metric("sigma_akd", "σ-AKD", "px", "lower", 4, "landmarks:load_sigma_akd", "spread of akd over time", total="clips"),
    Metric("lmd", "LMD", "px", "lower", 3, "landmarks:load_lmd", "as akd, without displacement"),
    Metric("tlme", "TLME", "px", "lower", 4, "landmarks:load_tlme", "error of the landmarks' motion (dlib)"),
)

_IDENTITY = (
    Metric("ids", "IDS", "", "higher", 4, "identity:load_ids", "cosine of face embeddings"),
    Metric("sigma_ids", "σ-IDS", "", "lower", 5, "identity:load_sigma_ids", "spread of ids over time", total="clips"),
    Metric("vidd", "VIDD", "", "lower", 5, "identity:load_vidd", "1 - cosine of neighbouring restored frames"),
)


def _by(embedding: str) -> list[Metric]:
    """Return the identity metrics by dlib's embedding, or by ArcFace's under names of their own."""
    metrics = [replace(metric, summary=f"{metric.summary} ({embedding})", argument=embedding, on_device=True) for metric in _IDENTITY]
    if embedding == "dlib":
        return metrics
    return [
        replace(metric, name=f"{metric.name}_{embedding}", label=f"{metric.label}/{embedding}", weights=("arcface_resnet18",))
        for metric in metrics
    ]


def _by_flow(estimator: str) -> list[Metric]:
    """Return the metrics along optical flow by dense inverse search, or by RAFT under names of their own."""
    shown = {"dis": "DIS", "raft": "RAFT"}[estimator]
    metrics = [replace(metric, summary=f"{metric.summary} ({shown})", argument=estimator, on_device=True) for metric in _FLOW]
    if estimator == "dis":
        return metrics
    return [
        replace(metric, name=f"{metric.name}_{estimator}", label=f"{metric.label}/{shown}", weights=("raft_large",)) for metric in metrics
    ]


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *_PICTURES,
        *(replace(metric, on_device=True) for metric in _LEARNED),
        *(replace(metric, uses_original=False) for metric in _BLIND),
        *(replace(metric, of="clip", total="set", on_device=True) for metric in _SETS),
        *(replace(metric, of="clip") for metric in (_VMAF, _FLICKER, *_by_flow("dis"), *_by_flow("raft"))),
        *(replace(metric, of="clip", uses_faces=True) for metric in (*_LANDMARKS, *_by("dlib"), *_by("arcface"))),
    )
}
