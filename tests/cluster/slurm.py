"""Runs of Snakemake on the test cluster, with the project's own profile; what Slurm knows of them."""

from __future__ import annotations

import contextlib
import copy
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil
import yaml
from project_copy import copy_project

PROJECT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
MINIMAL = Path("config/minimal.yaml")
SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What a test cannot wait for; the rest is the profile as it is shipped.
QUICKER = {"slurm-init-seconds-before-status-checks": 2, "latency-wait": 5}
WITHOUT_CONTAINERS = {"software-deployment-method": None, "apptainer-args": None}
# What runs, and the file that holds what it printed: a pipe that nobody reads would stop it.
STARTED: dict[subprocess.Popen[bytes], IO[bytes]] = {}
_SUBMITTED = re.compile(r"SLURM jobid (\d+) \(log: (\S+)\)")


def profile(settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The shipped profile without patience, sections merged with `settings`; None leaves a key out."""
    merged = yaml.safe_load((PROJECT / "slurm" / "config.yaml").read_text(encoding="utf-8")) | QUICKER
    for key, value in (settings or {}).items():
        merged[key] = _merged(merged.get(key), copy.deepcopy(value))
    return {key: value for key, value in merged.items() if value is not None}


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: _merged(old.get(key), value) for key, value in new.items()}
    return new


def _logs(log: str) -> Path:
    """The folder of all logs: where rules have wildcards, a rule's logs lie deeper."""
    return next(folder for folder in Path(log).parents if folder.parts[-2:] == ("logs", "slurm"))


@dataclass(frozen=True)
class Run:
    """A finished call of Snakemake."""

    code: int
    text: str

    @property
    def jobs(self) -> dict[str, str]:
        """Slurm job id to the folder of its log: rule_train, or group_report_deck_plot_simulate."""
        return {number: Path(log).relative_to(_logs(log)).parts[0] for number, log in _SUBMITTED.findall(self.text)}

    @property
    def announced(self) -> dict[str, int]:
        """Jobs by rule, from Snakemake's table; none where there is nothing to be done."""
        table = self.text.partition("Job stats:")[2].partition("\ntotal")[0]
        rows = [line.split() for line in table.splitlines()]
        return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit() and row[0] != "all"}


@dataclass(frozen=True)
class Folder:
    """A folder with a Snakefile in which Snakemake may run."""

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def begin(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start Snakemake as a user does who has not activated any environment."""
        kept = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
        output = tempfile.TemporaryFile()  # noqa: SIM115
        process = subprocess.Popen(
            [BIN / "snakemake", *arguments],
            cwd=self.path,
            env=kept | {"PATH": SYSTEM} | dict(self.environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        STARTED[process] = output
        return process

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Type the command for the cluster."""
        return self.begin("--profile", "slurm", *arguments)

    def end(self, process: subprocess.Popen[bytes], timeout: float = 800) -> Run:
        """Wait for it."""
        try:
            code = process.wait(timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        with STARTED.pop(process) as output:
            output.seek(0)
            return Run(code, output.read().decode())

    def run(self, *arguments: str | Path) -> Run:
        """Run through Slurm to the end; it has to succeed."""
        return _succeeded(self.end(self.start(*arguments)))

    def here(self, *arguments: str | Path) -> Run:
        """Run on this machine alone; it has to succeed."""
        return _succeeded(self.end(self.begin("--cores", "2", *arguments)))

    def planned(self, *arguments: str | Path) -> dict[str, int]:
        """Jobs by rule that a dry run announces."""
        return self.run("--dry-run", *arguments).announced

    def configuration(self, name: str, **sections: Any) -> Path:
        """The minimal configuration of this folder with other values."""
        settings = yaml.safe_load((self.path / MINIMAL).read_text())
        for section, values in sections.items():
            settings[section] = _merged(settings.get(section), values)
        path = self.path / "config" / f"{name}.yaml"
        path.write_text(yaml.safe_dump(settings, sort_keys=False))
        return path

    def copied(self, path: Path, settings: Mapping[str, Any] | None = None) -> Folder:
        """The same with all results, to spoil; images are shared."""
        shutil.copytree(self.path, path, symlinks=True, copy_function=_copy)
        folder = Folder(path, self.environment)
        folder.configure(settings)
        return folder

    def configure(self, settings: Mapping[str, Any] | None = None) -> None:
        """Write the profile."""
        target = self.path / "slurm" / "config.yaml"
        target.parent.mkdir(exist_ok=True)
        target.write_text(yaml.safe_dump(profile(settings), sort_keys=False), encoding="utf-8")


@dataclass(frozen=True)
class Minimal:
    """A finished run of the minimal configuration, and the jobs that a dry run had announced."""

    folder: Folder
    run: Run
    planned: dict[str, int]

    @property
    def results(self) -> Path:
        return self.folder.path / "results" / "minimal"


def project(path: Path, environment: Mapping[str, str], settings: Mapping[str, Any] | None = None) -> Folder:
    """A copy of the project with its profile, and with other values in the minimal configuration."""
    scratch = path / "scratch"
    folder = Folder(copy_project(path / "project").folder, dict(environment) | {"TMPDIR": str(scratch)})
    scratch.mkdir()
    folder.configure()
    folder.configuration(MINIMAL.stem, **settings or {})
    return folder


def _copy(source: str, target: str) -> str:
    if source.endswith(".sif"):
        os.link(source, target)
        return target
    return shutil.copy2(source, target)


def _succeeded(run: Run) -> Run:
    assert run.code == 0, run.text[-6000:]
    return run


def toy(path: Path, snakefile: str, settings: Mapping[str, Any] | None = None) -> Folder:
    """A small Snakefile under the project's profile, whose rules are called as the project's are."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "Snakefile").write_text(snakefile, encoding="utf-8")
    folder = Folder(path)
    # A group of one would hide the rule's name.
    folder.configure(
        WITHOUT_CONTAINERS | {"configfile": None, "groups": None, "group-components": None} | dict(settings or {})
    )
    return folder


def end_all() -> None:
    """End what a failed test left running; Snakemake cancels its jobs."""
    while STARTED:
        process, output = STARTED.popitem()
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.close()


@dataclass(frozen=True)
class Cluster:
    """What Slurm says."""

    folder: Path

    def command(self, *arguments: str) -> str:
        return subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60).stdout

    def job(self, number: str) -> dict[str, str]:
        """How a job ended and what it had asked for."""
        names = ["State", "Partition", "ReqMem", "TimelimitRaw", "ReqTRES"]
        line = self.command("sacct", "-X", "-n", "-P", "-j", number, "-o", ",".join(names)).splitlines()[0]
        return dict(zip(names, line.split("|"), strict=True))

    def power_off(self, node: str) -> None:
        """Take a node away at once, with all that runs on it; Slurm is told, as it would be by a power monitor."""
        daemon = psutil.Process(int((self.folder / "run" / f"slurmd-{node}.pid").read_text()))
        jobs = self.command("squeue", "-h", "-w", node, "-o", "%A").split()
        steps = [f"slurmstepd: [{job}." for job in jobs]
        managers = [one for one in psutil.process_iter() if _title(one).startswith(tuple(steps))]
        for process in [daemon, *managers, *(child for one in managers for child in one.children(recursive=True))]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def power_on(self, node: str) -> None:
        """Start its daemon again, and wait until Slurm has it back; its old job may be "completing" for minutes yet."""
        # gres.conf is looked for beside the slurm.conf that the daemon was told of.
        told = os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf")}
        subprocess.run(["slurmd", "-N", node], env=told, check=True, timeout=60)

        def back() -> bool:
            state = self.command("sinfo", "-h", "-n", node, "-o", "%t")
            if "down" in state:
                subprocess.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"], capture_output=True)
            return bool(state.strip()) and "down" not in state and "*" not in state

        wait_for(back)

    def queue(self) -> list[str]:
        """Ids of the jobs that wait or run."""
        return self.command("squeue", "-h", "-o", "%i").split()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def wait_for(condition: Callable[[], Any], seconds: float = 300) -> Any:
    """Wait until something holds; returns it."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(0.3)
    return value
