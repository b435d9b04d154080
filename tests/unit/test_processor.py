"""The kind of processor by the system's words."""

import platform
from pathlib import Path

import pytest

from common.processor import processor, same_kind

INTEL = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R)  Processor\nflags\t\t: fpu\n"
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd40\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (INTEL, "Intel(R) Xeon(R) Processor"),
        (INTEL + "\n" + INTEL.replace(": 0", ": 1"), "Intel(R) Xeon(R) Processor"),
        (ARM, "aarch64, implementer 0x41, part 0xd40"),
        ("", "unknown (aarch64)"),
        ("processor\t: 0\nmodel name\t: \n", "unknown (aarch64)"),
    ],
)
def test_names(text: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    (tmp_path / "cpuinfo").write_text(text)
    assert processor(tmp_path / "cpuinfo") == name


def test_a_system_that_says_nothing_is_of_no_known_kind(tmp_path: Path) -> None:
    assert processor(tmp_path / "none") == f"unknown ({platform.machine()})"


def test_of_an_unknown_processor_it_is_not_known_whether_another_is_of_its_kind() -> None:
    assert same_kind("Kind A", "Kind A") is True
    assert same_kind("Kind A", "Kind B") is False
    for other in ("unknown (arm64)", "Kind A"):
        assert same_kind("unknown (arm64)", other) is None
        assert same_kind(other, "unknown (arm64)") is None
