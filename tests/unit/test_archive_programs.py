"""The programs that an archive carries: one file each, the standard library, one line on an old Python."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from archive_inputs import (
    NAME,
    pack,
    read,
)

from archiving.join import NEEDED, joined


@pytest.mark.parametrize("name", ["verification", "replaying", "retraining"])
def test_each_program_is_one_file_of_the_standard_library(name: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(joined(f"archiving.{name}.program"))
    command = [sys.executable, "-I", "-S", program, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={}, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")
    assert "archiving" not in program.read_text()
    assert "from common" not in program.read_text()


OLD = "needs Python 3.10 or later"


def pythons() -> list[str]:
    """Other interpreters of this machine, as they are commonly there."""
    named = {shutil.which(f"python3.{minor}", path="/usr/bin:/usr/local/bin") for minor in range(6, 16)} - {None}
    return sorted({*map(str, Path.home().glob(".pyenv/versions/3.*/bin/python3")), *named})


@pytest.mark.parametrize("name", ["verification", "replaying", "retraining"])
def test_an_older_python_says_so_in_one_line(name: str, tmp_path: Path) -> None:
    """By the grammar of 3.6, which has to get as far as the line that says so; and by what interpreters there are."""
    program = tmp_path / "program.py"
    program.write_text(joined(f"archiving.{name}.program"))
    tree = ast.parse(program.read_text(), feature_version=(3, 6))
    assert not any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    assert [ast.unparse(node)[:20] for node in tree.body[1:3]] == ["import sys", "if sys.version_info "]
    with pytest.raises(SyntaxError, match="greater"):  # the control
        ast.parse("while a := b():\n    pass\n", feature_version=(3, 6))
    for python in pythons():
        asked = [python, "-c", "import sys; print(*sys.version_info[:2])"]
        version = tuple(map(int, subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()))
        done = subprocess.run([python, "-I", "-S", program, "--help"], capture_output=True, text=True, check=False)
        if version >= (3, 10):
            assert (done.returncode, done.stderr) == (0, ""), python
        else:
            assert (done.returncode, done.stdout) == (1, ""), python
            assert re.fullmatch(rf"\S+program\.py: {OLD}, this is 3\.\d+\.\d+\S*\.\n", done.stderr), done.stderr


def test_both_readmes_ask_for_the_same_python(made: Path) -> None:
    inside = read(pack(made))["README.md"].decode()
    shutil.rmtree(made / f"results/{NAME}/archive")
    outside = (Path(__file__).parents[2] / "README.md").read_text()
    words = "Python {}.{} or later and nothing else;".format(*NEEDED)
    assert words in inside
    assert words in " ".join(outside.split())
    assert OLD in joined("archiving.verification.program")
