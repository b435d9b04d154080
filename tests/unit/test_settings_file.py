"""A YAML file of settings: whatever is wrong with it is one line that names it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import settings_file
from settings_file import SettingsFileError, read_settings, repeated

PROJECT = Path(__file__).parents[2]
TWICE = "again in line 2; only the last one counts. Put both into one."


def test_a_key_that_stands_twice_is_named_with_its_place() -> None:
    text = "jobs: 1\nset-resources:\n  train: &one\n    gpu: 1\n    gpu: 2\n  infer: *one\njobs: 2\n"
    end = "only the last one counts. Put both into one."
    assert set(repeated(text)) == {
        f"jobs: again in line 7; {end}",
        f"set-resources.train.gpu: again in line 5; {end}",
        f"set-resources.infer.gpu: again in line 5; {end}",
    }


@pytest.mark.parametrize(
    "file", ["slurm/config.yaml", *sorted(f"config/{p.name}" for p in PROJECT.glob("config/*.yaml"))]
)
def test_the_files_of_the_project_are_in_order(file: str) -> None:
    assert read_settings(PROJECT / file)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"run: x\nrun: y\n", f": run: {TWICE}"),
        (b"variants:\n  - {name: a, name: b}\n", f": variants.0.name: {TWICE}"),
        (b"run: x\n  train: [\n", ", line 2: not YAML: mapping values are not allowed here. Mend it."),
        (b"- a\n", ": no mapping. Write keys at the top level, each followed by a colon."),
        (b"run: \xff\n", ": not UTF-8. Save it as UTF-8."),
        (
            b"start: 2025-02-30T00:00:00Z\n",
            ": not YAML: day is out of range for month. Mend it; text that looks like a date takes quotes.",
        ),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, content: bytes, line: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingsFileError) as caught:
        read_settings(path)
    assert caught.value.problems == [f"{path}{line}"]
    done = subprocess.run([sys.executable, settings_file.__file__, path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, f"{path}{line}\n")


def test_a_missing_file_is_one_line_and_an_empty_one_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(SettingsFileError, match=r"none\.yaml: No such file or directory\. Check the path"):
        read_settings(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").touch()
    assert read_settings(tmp_path / "empty.yaml") == {}
