import jax
import pytest

from radit_jax.training import peaks


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("TPU v5 lite", 197e12),
        ("TPU v5", 459e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L400", None),
        ("cpu", None),
    ],
)
def test_what_is_not_in_the_table_is_not_guessed(kind, peak):
    assert peaks.flops_per_second(kind) == peak


def test_of_a_job(monkeypatch):
    assert peaks.of_all_devices() is None

    class Device:
        device_kind = "TPU v4"

    monkeypatch.setattr(jax, "devices", lambda: [Device()] * 8)
    assert peaks.of_all_devices() == 8 * 275e12
