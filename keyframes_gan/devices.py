"""Where networks run and in which precision: the values of `--device` and `--precision`."""

from __future__ import annotations

import torch

from keyframes_gan.errors import UserError

DEVICE_TYPES = ("cpu", "cuda", "mps")
PRECISIONS = {"auto": torch.float32, "fp32": torch.float32, "bf16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    """Turn "auto", "cpu", "cuda", "cuda:1" or "mps" into a device that is there.

    Raises:
        UserError: the device asked for is not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.partition(":")[0] not in DEVICE_TYPES:
        msg = f"--device: expected auto, {', '.join(DEVICE_TYPES)}, or cuda:1 and so on, got {name!r}; use --device auto"
        raise UserError(msg)
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        first_line = str(error).splitlines()[0]
        msg = f"--device: expected a device of this machine, got {name!r} ({first_line}); use --device auto"
        raise UserError(msg) from error
    return torch.device(name)


def choose_precision(name: str) -> torch.dtype:
    """Turn "fp32" or "bf16" into a dtype; "auto" is fp32. Anything else is a `UserError`."""
    if name not in PRECISIONS:
        msg = f"--precision: expected one of {', '.join(PRECISIONS)}, got {name!r}"
        raise UserError(msg)
    return PRECISIONS[name]


def quick_precision(name: str, device: torch.device) -> torch.dtype:
    """Do as `choose_precision`, but let "auto" be bf16 where `device` computes it faster: for networks that lose nothing by it."""
    if name != "auto":
        return choose_precision(name)
    if device.type == "cuda":
        quick = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        known = torch.cpu.get_capabilities()
        quick = device.type == "cpu" and bool(known.get("avx512_bf16") or known.get("amx_bf16"))
    return torch.bfloat16 if quick else torch.float32
