"""Runs of the workflow in copies of the project: the checkout's own results/ are never touched."""

from __future__ import annotations

import copy
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[2]
PARTS = ("Snakefile", "config", "containers", "envs", "rules", "scripts")
# Which Apptainer says that it is in, wherever the shared run's results may be made again.
IMAGE = "image-0123456789ab.sif"
MINIMAL = yaml.safe_load((PROJECT / "config" / "minimal.yaml").read_text())
DEMO = yaml.safe_load((PROJECT / "config" / "config.yaml").read_text())


@dataclass(frozen=True)
class Workflow:
    """A copy of the project in which Snakemake may run."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start Snakemake as a user does who has not activated any environment, in a process group of its own."""
        environment = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
        return subprocess.Popen(
            [Path(sys.executable).parent / "snakemake", "--cores", "2", *arguments],
            cwd=self.folder,
            env=environment | {"PATH": "/usr/local/bin:/usr/bin:/bin"} | dict(self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def snakemake(self, *arguments: str | Path, timeout: float = 280) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end."""
        with self.start(*arguments) as process:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def run(self, *arguments: str | Path) -> str:
        """Run Snakemake; it has to succeed. Returns what it printed."""
        done = self.snakemake(*arguments)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done.stdout + done.stderr

    def configuration(self, name: str, settings: dict[str, Any]) -> Path:
        """Write a configuration file."""
        path = self.folder / "config" / f"{name}.yaml"
        path.write_text(yaml.safe_dump(settings, sort_keys=False))
        return path

    def results(self, run: str) -> Path:
        return self.folder / "results" / run

    def planned(self, configuration: Path) -> set[str]:
        """Output files, below results/<run>/, that Snakemake would make now."""
        done = self.snakemake("--summary", "--configfile", configuration)
        assert done.returncode == 0, done.stderr[-3000:]
        header, *rows = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]
        file, plan = header.index("output_file"), header.index("plan")
        return {row[file].split("/", 2)[2] for row in rows if row[plan] == "update pending"}


def changed(settings: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of a configuration with one key set."""
    settings = copy.deepcopy(settings)
    *sections, key = path.split(".")
    place = settings
    for section in sections:
        place = place.setdefault(section, {})
    place[key] = value
    return settings


# SGLang has no kernels there for the demo's heads of 16.
DEMO_ON_A_GPU = changed(changed(DEMO, "device", "cuda"), "base_model.tiny.head_dim", 64)


def copy_project(folder: Path) -> Workflow:
    """Copy what a run needs."""
    ignore = shutil.ignore_patterns("__pycache__", "*.partial", "*.sif", "*.log", "SHA256SUMS", ".pip")
    for part in PARTS:
        source, target = PROJECT / part, folder / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignore)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return Workflow(folder)


def files(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Paths by name, all of which have to be there and hold something."""
    paths = {name: folder / name for name in names}
    assert [name for name, path in paths.items() if not path.is_file() or not path.stat().st_size] == []
    return paths
