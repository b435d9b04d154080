"""verify.py: what describes a run, its machines and its models, changed by a forger with new checksums."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archive_inputs import NAME, finish, git, in_json, in_text, pack, problems, read, recorded_job, tampered
from report_inputs import Run, edit_json

from archiving.verification.facts import version_of
from common.errors import InputError
from common.files import sha256

JOBS, MODELS, RUN = "data/host/jobs.json", "data/models.json", "data/run.json"
PAGE = "data/results/leverage-2/tearsheet.html"
CONFIG = "data/results/model/trained/config.json"
BASE = "data/results/infer/base/summary.json"


def entry(value: Any, *path: str) -> Callable[[Any], None]:
    """A change of one field."""

    def change(record: Any) -> None:
        *above, key = path
        for part in above:
            record = record[part]
        assert record[key] != value
        record[key] = value

    return change


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [
        (RUN, entry("Better", "title"), f"{RUN}: its title is 'Better', the settings make it"),
        (RUN, entry(["3"], "leverages"), f"{RUN} lists the leverages 3, the settings 2; there are results of 2"),
        (JOBS, entry(0.5, "totals", "hours"), f"{JOBS}: hours is 0.5, the jobs and Snakemake's times give 0.0"),
        (JOBS, entry(9, "steps_timed"), f"{JOBS}: steps_timed is 9, the jobs and Snakemake's times give 0"),
        (MODELS, entry("0" * 64, "trained", "folder_sha256"), f"{MODELS}: the files of trained do not make its"),
        (MODELS, entry("0" * 64, "checkpoint", "weights_sha256"), f"{MODELS}: lists another checkpoint than"),
        (MODELS, entry("0" * 64, "base", "files", "config.json", "sha256"), "data/results/model/base/config.json: is"),
        (CONFIG, entry(2, "layers"), f"{CONFIG}: is not the file that {MODELS} lists"),
        ("codemeta.json", entry("2.0", "version"), "codemeta.json: says version 2.0, data/run.json has commit"),
        (".zenodo.json", entry("2.0", "version"), ".zenodo.json: says version 2.0, data/run.json has commit"),
        (BASE, entry(1, "buy"), f"{BASE}: buy is 1, the answers give"),
        (BASE, entry(7.5, "mean_tokens"), f"{BASE}: mean_tokens is 7.5, the answers give 3.0"),
        ("data/results/market/summary.json", entry(7, "bars"), "data/results/market/summary.json: bars is 7, the bars"),
        (
            "data/results/leverage-2/metrics.json",
            entry(0.01, "terms", "maintenance_margin"),
            "data/results/leverage-2/metrics.json: terms.maintenance_margin is 0.01, it was computed with 0.0",
        ),
    ],
)
def test_a_changed_fact_is_named(packed: Path, tmp_path: Path, name: str, change: Any, found: str) -> None:
    if name == CONFIG:
        change = lambda record: record.update(layers=2)  # noqa: E731
    said = problems(tampered(packed, tmp_path / "other.zip", in_json(name, change)))
    assert any(line.startswith(found) for line in said), said


def test_what_a_run_took_is_that_of_its_jobs(project: Path, tmp_path: Path) -> None:
    recorded_job(project, None, "leverage-2/equity.csv")
    packed = pack(project)
    assert problems(packed) == []
    change = in_text("README.md", "all 1 jobs on record", "all 9 jobs on record")
    (found,) = problems(tampered(packed, tmp_path / "other.zip", change))
    assert found.startswith("README.md: says ")
    assert "all 9 jobs on record" in found


def test_trials_that_are_gone_are_missed(packed: Path, tmp_path: Path) -> None:
    def fewer(files: dict[str, bytes]) -> None:
        gone = next(name for name in files if name.startswith("data/trials/") and not name.endswith("hours.json"))
        del files[gone]
        crate = json.loads(files["ro-crate-metadata.json"])
        crate["@graph"] = [row for row in crate["@graph"] if row["@id"] != gone]
        root = next(row for row in crate["@graph"] if row["@id"] == "./")
        root["hasPart"] = [part for part in root["hasPart"] if part["@id"] != gone]
        files["ro-crate-metadata.json"] = json.dumps(crate).encode()

    found = problems(tampered(packed, tmp_path / "other.zip", fewer))
    assert found == ["data/results/leverage-2/evidence.json: counts 1 trials, data/trials holds 0"]


def test_a_leverage_that_was_taken_out_of_a_sweep_is_missed(project: Path, tmp_path: Path) -> None:
    from archive_inputs import CONFIGURATION

    finish(Run(project / f"results/{NAME}"), "3")
    both = CONFIGURATION | {"simulate": CONFIGURATION["simulate"] | {"leverage": [2, 3]}}
    packed = pack(project, "--leverages", "2", "3", configuration=both)
    assert problems(packed) == []
    change = in_json(RUN, lambda run: run.update(leverages=["2"]))
    found = problems(tampered(packed, tmp_path / "other.zip", change))
    assert f"{RUN} lists the leverages 2, the settings 2, 3; there are results of 2, 3" in found


def test_a_page_of_another_run_is_named(packed: Path, tmp_path: Path) -> None:
    sha = sha256(packed.parents[1] / "leverage-2/trades.csv")
    found = problems(tampered(packed, tmp_path / "other.zip", in_text(PAGE, sha, "0" * 64)))
    assert found == [f"{PAGE}: was made of another leverage-2/trades.csv"]

    def empty(files: dict[str, bytes]) -> None:
        files[PAGE] = b"<!DOCTYPE html><title>Made up</title>\n"

    found = problems(tampered(packed, tmp_path / "other.zip", empty))
    assert f"{PAGE}: does not say that it was made of leverage-2/metrics.json" in found
    assert len(found) == 8


def test_answers_of_a_model_that_is_not_listed_are_named(project: Path, tmp_path: Path) -> None:
    listed = json.loads(read(pack(project))[MODELS])
    summary = project / f"results/{NAME}/infer/base/summary.json"
    edit_json(summary, inputs={"model": listed["base"]["folder_sha256"]})
    packed = pack(project)
    assert problems(packed) == []
    change = in_json(BASE, entry(listed["trained"]["folder_sha256"], "inputs", "model"))
    found = problems(tampered(packed, tmp_path / "other.zip", change))
    assert f"{BASE}: was computed with another model than {MODELS} lists" in found


def test_the_version_is_the_commit_s_and_says_what_is_not_of_it(project: Path) -> None:
    commit = git(project, "rev-parse", "HEAD").strip()
    files = read(pack(project))
    assert json.loads(files["codemeta.json"])["version"] == commit[:12]
    assert files["CITATION.cff"].decode().endswith(f'version: "{commit[:12]}"\ncommit: "{commit}"\n')
    root = next(row for row in json.loads(files["ro-crate-metadata.json"])["@graph"] if row["@id"] == "./")
    assert root["version"] == commit[:12] == version_of({"commit": commit, "dirty": False})
    (project / "new.py").write_text("NEW = 1\n")
    packed = pack(project, "--allow-dirty")
    assert problems(packed) == []
    files = read(packed)
    for name in (".zenodo.json", "codemeta.json"):
        assert json.loads(files[name])["version"] == f"{commit[:12]}-dirty"
    assert f'version: "{commit[:12]}-dirty"\n' in files["CITATION.cff"].decode()


def test_a_version_that_was_released_stays_and_a_commit_of_its_own_is_refused(project: Path) -> None:
    cff = project / "CITATION.cff"
    cff.write_text(cff.read_text() + "version: 1.2.0\n")
    packed = pack(project, "--allow-dirty")
    assert problems(packed) == []
    assert read(packed)["CITATION.cff"].decode().count("version: ") == 2  # cff-version: and its own
    cff.write_text(cff.read_text() + "commit: abc\n")
    with pytest.raises(InputError, match=r"CITATION\.cff: names a commit"):
        pack(project, "--allow-dirty")
