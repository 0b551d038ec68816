"""Where tensors live, and in which precision it pays to multiply them."""

from contextlib import AbstractContextManager, nullcontext

import torch

from filterd.errors import ConfigError


def choose(name: str) -> torch.device:
    """`auto` takes CUDA, then Apple's MPS, then the CPU. Raises ConfigError for one that is not here."""
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(device for device, here in available.items() if here))
    if not available.get(name.split(":", maxsplit=1)[0], False):
        here = ", ".join(device for device, here in available.items() if here)
        raise ConfigError(f"--device {name}: not on this machine; there is {here}, or auto")
    return torch.device(name)


def precision(device: torch.device, wanted: str = "auto") -> str:
    """What is wanted; of `auto`, `bf16` where hardware multiplies it faster than float32, else `fp32`.

    An emulated bf16 is slower than float32, so a CPU has to have the instructions (AMX or AVX512-BF16).
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # torch >= 2.10
        return "bf16" if capabilities.get("amx_bf16") or capabilities.get("avx512_bf16") else "fp32"
    return "fp32"


def stream(device: torch.device, wanted: str = "auto") -> torch.dtype:
    """What a model that trains whole keeps between its blocks: bf16 where a CPU multiplies it, else float32.

    Casts are a tenth of a step on a CPU; a GPU hides them.
    """
    narrow = device.type == "cpu" and precision(device, wanted) == "bf16"
    return torch.bfloat16 if narrow else torch.float32


def autocast(device: torch.device, wanted: str = "auto") -> AbstractContextManager[object]:
    """Matrix products in `precision(device, wanted)`; parameters and losses stay float32."""
    if precision(device, wanted) == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
