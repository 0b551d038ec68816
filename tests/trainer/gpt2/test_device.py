"""A device is one that is here, and bf16 is used only where hardware has it."""

from typing import Any

import pytest
import torch

from filterd.errors import ConfigError
from filterd_trainer.gpt2 import device


def test_a_device_that_is_not_here_is_one_line() -> None:
    with pytest.raises(ConfigError, match="--device tpu"):
        device.choose("tpu")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        pytest.param({"avx2": True}, "fp32", id="AVX2"),
        pytest.param({"avx512_f": True, "avx512_bf16": False}, "fp32", id="AVX-512 without bf16"),
        pytest.param({"avx512_bf16": True}, "bf16", id="AVX512-BF16"),
        pytest.param({"amx_bf16": True}, "bf16", id="AMX"),
        pytest.param({}, "fp32", id="unknown"),
    ],
)
def test_precision_of_a_cpu(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, Any], expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    cpu = device.choose("cpu")
    assert device.precision(cpu) == expected
    assert [device.precision(cpu, wanted) for wanted in ("fp32", "bf16")] == ["fp32", "bf16"]
    with device.autocast(cpu, "fp32"):
        assert not torch.is_autocast_enabled("cpu")
    with device.autocast(cpu):
        assert torch.is_autocast_enabled("cpu") == (expected == "bf16")
