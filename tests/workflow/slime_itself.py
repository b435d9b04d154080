"""slime v0.2.1 on a machine without a GPU: its sources, an environment, and this project's train.py with both.

SLIME_SOURCES names a folder with slime (``train.py``, ``slime/``, ``docker/``) and, beside them, the ``megatron/`` of
Megatron-LM core_v0.14.0. They are copied with this environment's SGLang, and slime's own patches of both applied, as
its image has them. Ray and SGLang's router come from pip. What stands in for a GPU is in ``gpu_stand_ins/``.
"""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train_files import file_flags

from slime_engine.cluster import package_folder

SOURCES = Path(os.environ.get("SLIME_SOURCES", "/nowhere"))
STAND_INS = Path(__file__).parent / "gpu_stand_ins"
SCRIPTS = Path(__file__).parents[2] / "scripts"
PATCHES = "docker/patch/v0.5.6"
# The image has SGLang of another day: these files of mixtures of experts differ, the rest by a line beside a change.
SGLANG = ("-C1", "--exclude=*/moe/utils.py", "--exclude=*/qwen3_moe.py")
MOST_S = 280
FLAGS = [
    *("--engine=slime", "--device=cuda", "--prompts-per-iteration=16", "--group-size=4", "--updates-per-iteration=2"),
    *("--max-new-tokens=16", "--learning-rate=0.001", "--warm-up-iterations=4", "--decay-iterations=0"),
    *("--precision=bf16", "--optimizer=distributed", "--spike-action=log", "--save-every=2", "--validate-every=2"),
    *("--show-rollouts-every=2", "--keep=3"),
]


@dataclass(frozen=True)
class Slime:
    """slime's sources, and a Python that has what they import."""

    sources: Path
    python: Path
    programs: Path
    packages: Path  # stand-ins

    def variables(self, gpus: int) -> dict[str, str]:
        """What makes a process take all of it, with so many GPUs."""
        stand_ins = [self.packages, STAND_INS / "cuda", SCRIPTS / "inference" / "cpu_stubs"]
        path = [*stand_ins, self.sources, self.sources / "python"]
        return os.environ | {
            "PATH": f"{self.programs}:{self.python.parent}:/usr/bin:/bin",
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "CUDA_VISIBLE_DEVICES": ",".join(map(str, range(gpus))),
            "SGLANG_USE_CPU_ENGINE": "1",
            "TORCHDYNAMO_DISABLE": "1",
            "OMP_NUM_THREADS": "1",
        }


def made(folder: Path) -> Slime:
    """Copy and patch the sources, make the environment, put the stand-ins in place."""
    sources, programs, packages = (folder / name for name in ("slime", "programs", "packages"))
    for name in ("slime", "slime_plugins", "megatron", "docker"):
        shutil.copytree(SOURCES / name, sources / name)
    shutil.copy(SOURCES / "train.py", sources)
    shutil.copytree(package_folder("sglang"), sources / "python" / "sglang")
    apply = ["git", "apply"]
    if subprocess.run([*apply, f"{PATCHES}/megatron.patch"], cwd=sources, capture_output=True).returncode:
        # Sources that are patched already take it back.
        subprocess.run([*apply, "--reverse", "--check", f"{PATCHES}/megatron.patch"], cwd=sources, check=True)
    subprocess.run([*apply, *SGLANG, f"{PATCHES}/sglang.patch"], cwd=sources, check=True, capture_output=True)
    about = sources / "slime-0.2.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: slime\nVersion: 0.2.1\n")
    shutil.copytree(STAND_INS / "packages", packages)
    (packages / "torch_memory_saver_hook_mode_preload.abi3.so").touch()  # slime asks whether it is there
    programs.mkdir()
    rows = "".join(f"{index}, GPU-{index}, NVIDIA H100 80GB HBM3, 81559, 550.54.15\n" for index in range(2))
    (programs / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'END'\n{rows}END\n")
    (programs / "nvidia-smi").chmod(0o755)
    return Slime(sources, environment(folder / "environment"), programs, packages)


def environment(folder: Path) -> Path:
    """This Python's packages, and those of slime beside them; the program."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    here = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "lib" / here / "site-packages" / "project.pth").write_text("\n".join(site.getsitepackages()))
    pip = [python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", STAND_INS / "requirements.txt"], check=True, capture_output=True)
    subprocess.run([*pip, "--no-deps", "-r", STAND_INS / "requirements-nodeps.txt"], check=True, capture_output=True)
    return python


@dataclass(frozen=True)
class Training:
    """A training with slime on a run's model and samples."""

    slime: Slime
    inputs: Path  # results/<run>
    out: Path
    flags: tuple[str, ...] = ()
    gpus: int = 1

    def command(self, iterations: int) -> list[str | Path]:
        model = self.inputs / "model"
        files = file_flags(model / "megatron", model / "base", self.inputs / "samples", self.out)
        return [self.slime.python, SCRIPTS / "train.py", *FLAGS, *self.flags, f"--iterations={iterations}", *files]

    def run(self, iterations: int, **variables: str) -> str:
        """Train up to an iteration; what it printed."""
        given = self.slime.variables(self.gpus) | variables
        if "--slime-engine-gpus=2" in self.flags:
            given["SGLANG_CPU_OMP_THREADS_BIND"] = "0|0"  # two processes on core 0: it asks for a core of each
        done = subprocess.run(self.command(iterations), env=given, capture_output=True, text=True, timeout=MOST_S)
        assert done.returncode == 0, done.stderr[-2000:] + self.log()[-6000:]
        return done.stdout

    @property
    def own(self) -> Path:
        """The training's folder below its checkpoints."""
        (folder,) = (self.out / "checkpoints").iterdir()
        return folder

    def log(self) -> str:
        """What slime said."""
        return "".join(path.read_text() for path in self.out.glob("checkpoints/*/slime.log"))

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / "metrics.jsonl").read_text().splitlines()]

    def manifest(self) -> dict[str, Any]:
        return json.loads((self.out / "checkpoint.json").read_text())

    def export(self) -> dict[str, Any]:
        """As a Hugging Face folder, through the pipeline's checks; what they say."""
        given = ["--manifest", self.out / "checkpoint.json", "--base", self.inputs / "model/base"]
        made = ["--output", self.out / "trained", "--output-parity", self.out / "parity.json"]
        subprocess.run([sys.executable, SCRIPTS / "export_weights.py", *given, *made], check=True, capture_output=True)
        return json.loads((self.out / "parity.json").read_text())
