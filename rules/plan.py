"""What the next run would do: jobs of each rule and why, hours, GPU-hours, disk. `make plan`."""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from common.datasheet import GPUS
from common.errors import InputError, run
from configuration import ConfigurationError, read_schema, resolve
from grpo.shape import Qwen3Shape
from planning.model import weights
from settings_file import SettingsFileError, read_settings, shown_files
from training_plan import TrainingPlan, described, duration, gpus_of, plan_of, problems, shape_of, unknown

PROJECT = Path(__file__).parents[1]
GPU_RULES = ("train", "infer", "probe", "variants")
# Bytes a weight, measured on the demo: a checkpoint has the weights and Adam's two moments in 32 bits; with CUDA
# the weights are there in 16 bits, too.
CHECKPOINT_BYTES = {"cpu": 13.0, "cuda": 14.0}
FOLDER_BYTES = {"cpu": 4.2, "cuda": 2.1}
TINY_VOCABULARY = 448  # of base_model.source tiny; to count it takes transformers (tests/unit/test_plan.py)


@dataclass(frozen=True)
class Row:
    """The jobs of one rule.

    Attributes
    ----------
    seconds
        Of all its jobs, one after another; None if nothing is known.
    known_from
        Where the seconds come from.
    gpus
        GPUs of each job.
    """

    rule: str
    jobs: int
    why: tuple[str, ...]
    seconds: float | None
    known_from: str
    gpus: int

    @property
    def gpu_hours(self) -> float | None:
        """GPU-hours of all jobs; None if the seconds are not known."""
        if not self.gpus:
            return 0.0
        return None if self.seconds is None else self.seconds / 3600 * self.gpus


def planned(text: str) -> tuple[dict[str, int], dict[str, tuple[str, ...]]]:
    """Jobs of each rule, and why, from what ``snakemake --dry-run`` prints.

    Targets without a program, such as all, are left out.
    """
    jobs: dict[str, int] = {}
    table = text.rpartition("Job stats:")[2].partition("\ntotal")[0]
    for line in table.splitlines():
        if row := re.fullmatch(r"(\w+)\s+(\d+)", line.strip()):
            jobs[row[1]] = int(row[2])
    why: dict[str, list[str]] = {}
    for reason, rules in re.findall(r"^    (\S[^\n]*):\n        (\S.*)$", text.rpartition("\nReasons:")[2], re.M):
        for rule in rules.split(", "):
            why.setdefault(rule, []).append(reason)
    jobs.pop("all", None)
    return jobs, {rule: tuple(reasons) for rule, reasons in why.items()}


def benchmark_seconds(rows: Mapping[str, str], rule: str) -> list[float]:
    """Seconds of a rule's jobs from the texts of its benchmark files, whose names begin with the rule's.

    >>> benchmark_seconds({"infer-base": "s\\tmax_rss\\n4.5\\t10\\n", "infer_2": "s\\n9\\n"}, "infer")
    [4.5]
    """
    found = []
    for name, text in sorted(rows.items()):
        if name == rule or name.startswith(f"{rule}-"):
            found += [float(row["s"]) for row in csv.DictReader(text.splitlines(), delimiter="\t")]
    return found


def train_seconds(iterations: int, rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds of a training from its start, at the mean pace of the last 50 iterations of an earlier one."""
    recent = [row["seconds"] for row in rows[-50:] if row.get("seconds") is not None]  # null: slime did not say
    return iterations * sum(recent) / len(recent) if recent else None


def estimate(
    jobs: Mapping[str, int],
    why: Mapping[str, tuple[str, ...]],
    settings: Mapping[str, Any],
    benchmarks: Mapping[str, str],
    training: Sequence[Mapping[str, Any]],
    ahead: TrainingPlan | None = None,
) -> list[Row]:
    """One row a rule.

    Parameters
    ----------
    jobs, why
        From `planned`.
    settings
        The complete configuration.
    benchmarks
        Names of Snakemake's benchmark files without ending, and their texts.
    training
        Metrics of the newest training of this run, whether it ended or not.
    ahead
        What a training on GPUs takes by the size of its model, for what never ran.
    """
    rows = []
    by_size = ahead.seconds if ahead else {}
    for rule, count in jobs.items():
        seconds, known_from = None, "no earlier run"
        if rule in by_size:
            seconds, known_from = count * by_size[rule], "by the model's size, at most"
        if earlier := benchmark_seconds(benchmarks, rule):
            seconds, known_from = count * sum(earlier) / len(earlier), "as last time"
        if rule == "train" and (paced := train_seconds(settings["train"]["iterations"], training)):
            seconds, known_from = paced, f"{settings['train']['iterations']} iterations at the last pace"
        gpus = 0
        if settings["device"] == "cuda" and rule in GPU_RULES:
            gpus = gpus_of(settings["train" if rule == "train" else "infer"])
        rows.append(Row(rule, count, why.get(rule, ()), seconds, known_from, gpus))
    return rows


def disk_bytes(settings: Mapping[str, Any], weights: int | None, rules: Iterable[str]) -> float | None:
    """Bytes that models and checkpoints take which the next run writes; None if the model's size is not known.

    Two checkpoints more than `keep`: a new one is whole before the oldest goes, and a stop, or slime's watch, may keep
    another one.
    """
    if weights is None:
        return None
    device, total = settings["device"], 0.0
    for rule in rules:
        if rule in ("base_model", "export_weights", "export_checkpoint", "import_weights"):
            total += weights * FOLDER_BYTES[device]
        elif rule == "train":
            total += weights * CHECKPOINT_BYTES[device] * (settings["train"]["keep"] + 2)
    return total


def table(rows: Sequence[Row], disk: float | None) -> str:
    """The plan as text."""
    if not rows:
        return "Nothing to be done."
    lines = [f"{'rule':<17} {'jobs':>4}  {'time':>9}  {'GPU-hours':>9}  why, and where the time is from"]
    for row in rows:
        hours = "-" if not row.gpus else "?" if row.gpu_hours is None else f"{row.gpu_hours:.2f}"
        why = ", ".join(row.why) or "not said"
        lines.append(f"{row.rule:<17} {row.jobs:>4}  {duration(row.seconds):>9}  {hours:>9}  {why}; {row.known_from}")
    never = [row.rule for row in rows if row.seconds is None]
    seconds = sum(row.seconds or 0 for row in rows)
    gpu_hours = sum(row.gpu_hours or 0 for row in rows)
    least = " at least" if never else ""
    lines.append("")
    if len(never) < len(rows):
        lines.append(f"Together{least} {duration(seconds)} one after another, and{least} {gpu_hours:.2f} GPU-hours.")
    if never:
        lines.append(f"Not known before they ran once: {', '.join(never)}.")
    size = "not known before the base model is there" if disk is None else f"about {megabytes(disk)}"
    lines.append(f"Models and checkpoints to be written: {size}.")
    return "\n".join(lines)


def megabytes(count: float) -> str:
    """Bytes for reading, in decimal units."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def weights_of(results: Path, settings: Mapping[str, Any]) -> int | None:
    """Number of weights of the base model, if anything is known of it."""
    if known := shape_of(settings, results):
        return weights(known[0])
    model = settings["base_model"]
    if model["source"] != "tiny":
        return None
    size = {key: model["tiny"][key] for key in ("layers", "hidden", "heads", "query_groups", "head_dim", "ffn")}
    return weights(
        Qwen3Shape(
            **size,
            vocabulary=TINY_VOCABULARY,
            tied_embeddings=True,
            **dict.fromkeys(("rope_base", "norm_epsilon", "max_positions"), 0),  # no weights
        )
    )


def profile_configuration(profile: str | None) -> Path | None:
    """The configuration that a profile in this folder names; there it stands relative to the profile."""
    file = Path(profile or "") / "config.yaml"
    if profile is None or not file.is_file():
        return None
    named = read_settings(file).get("configfile")
    if named is not None and not isinstance(named, str):
        raise SettingsFileError(f"{file}: configfile: given {named!r}. Write the path of one file.")
    return Path(os.path.relpath(file.parent / named)) if named else None


def newest_training(results: Path) -> list[dict[str, Any]]:
    """Metrics of the training that was written to last; empty if there was none."""
    journals = sorted(results.glob("train/checkpoints/*/metrics.jsonl"), key=lambda path: path.stat().st_mtime)
    if not journals:
        return []
    rows = []
    for line in journals[-1].read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:  # the last line of a killed training
            break
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", type=Path, help="without it, the profile's, or config/config.yaml")
    parser.add_argument("--gpu", choices=sorted(GPUS), default="h100", help="GPUs that the run is planned for")
    parser.add_argument("--profile", help="profile of the run that is planned: with containers, their changes count")
    options = parser.parse_args()
    try:
        options.configfile = options.configfile or profile_configuration(options.profile) or Path("config/config.yaml")
        given = read_settings(options.configfile)
        settings = resolve(given, read_schema(PROJECT / "config" / "schema.yaml"))
    except SettingsFileError as error:
        sys.exit(str(error))
    except ConfigurationError as error:
        where = shown_files([options.configfile])
        sys.exit("\n".join(f"configuration error: {where}: {problem}" for problem in error.problems))
    results = Path("results") / settings["run"]
    try:
        ahead = plan_of(settings, results, GPUS[options.gpu])
    except InputError as error:
        sys.exit(f"plan: error: {error}")
    if ahead:
        print(described(ahead), end="\n\n")
        if impossible := problems(ahead):
            sys.exit("\n".join(f"plan: error: {line}" for line in impossible))
    elif settings["device"] == "cuda" and settings["base_model"]["source"] != "tiny":
        print(unknown(settings, options.configfile), end="\n\n")
    command = [Path(sys.executable).parent / "snakemake", "--dry-run", "--nolock", "--configfile", options.configfile]
    run_on = ["--profile", options.profile] if options.profile else ["--cores", "1"]
    done = subprocess.run([*command, *run_on], capture_output=True, text=True)
    if done.returncode:
        sys.exit((done.stdout + done.stderr).strip())
    jobs, why = planned(done.stdout + done.stderr)
    benchmarks = {path.stem: path.read_text(encoding="utf-8") for path in (results / "benchmarks").glob("*.tsv")}
    rows = estimate(jobs, why, settings, benchmarks, newest_training(results), ahead)
    print(table(rows, disk_bytes(settings, weights_of(results, settings), jobs)))


if __name__ == "__main__":
    run(main, recorded=False)
