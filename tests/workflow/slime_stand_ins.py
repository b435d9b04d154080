"""Stand-ins for Ray, slime and nvidia-smi: they record how they were started, print what slime prints and leave what
it leaves. They train nothing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from slime_engine.commit import WRITTEN_AGAINST

SOURCES = Path(__file__).parent / "slime_stand_in"


def build(folder: Path, python: str = sys.executable) -> dict[str, str]:
    """Put the stand-ins into a folder; the variables that put them in place of the real ones."""
    programs, packages = folder / "bin", folder / "packages"
    programs.mkdir(parents=True)
    rollout = packages / "slime" / "rollout"
    rollout.mkdir(parents=True)
    for package in (rollout, rollout.parent):
        (package / "__init__.py").touch()
    shutil.copy(SOURCES / "data_source.py", rollout)
    (packages / ".git").mkdir()
    (packages / ".git" / "HEAD").write_text(f"{WRITTEN_AGAINST}\n")
    shutil.copy(SOURCES / "train.py", packages)
    shutil.copy(SOURCES / "stray.py", folder)
    seen = "print('0, GPU-1, NVIDIA H100 80GB HBM3, 81559, 550.54.15')"
    for name, text in (("ray", (SOURCES / "ray.py").read_text()), ("nvidia-smi", seen)):
        (programs / name).write_text(f"#!{python}\n{text}")
        (programs / name).chmod(0o755)
    for name, version in (("slime", "0.2.1"), ("ray", "2.0")):
        information = packages / f"{name}-{version}.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return {"STAND_IN": str(folder), "PATH": f"{programs}:/usr/bin:/bin", "PYTHONPATH": str(packages)}
