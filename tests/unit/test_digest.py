from __future__ import annotations

import ast
from pathlib import Path

import pytest

from digest import LEFT_OUT, code_digest, constant, imported_files

MODULE = '''"""Accounting."""

def grow(equity, move):
    """New equity."""
    return equity * (1 + move)  # compounding
'''


def project(folder: Path) -> Path:
    """A script that imports a module inside a function, and one module nobody imports."""
    files = {
        "simulate.py": '"""Simulate."""\nfrom common.errors import run\n\n\ndef main():\n'
        "    import trading.accounting as book\n    return book.grow(1, 2)\n",
        "common/__init__.py": "",
        "common/errors.py": "def run(main):\n    main()\n",
        "trading/__init__.py": "",
        "trading/accounting.py": MODULE,
        "trading/unused.py": "X = 1\n",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "simulate.py"


def digest_with(tmp_path: Path, name: str, text: str) -> str:
    """Digest of a fresh project in which one file has another text."""
    folder = tmp_path / f"project{len(list(tmp_path.iterdir()))}"
    script = project(folder)
    (folder / name).write_text(text)
    return code_digest(script)


@pytest.fixture
def original(tmp_path: Path) -> str:
    return code_digest(project(tmp_path / "original"))


def test_the_place_of_the_project_does_not_count(tmp_path: Path, original: str) -> None:
    assert digest_with(tmp_path, "trading/accounting.py", MODULE) == original


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# compounding", "# each bar's return compounds"),
        ("  # compounding", ""),
        ('"""New equity."""', '"""Equity after the move."""'),
        ('    """New equity."""\n', ""),
        ('"""Accounting."""\n', ""),
        ("equity * (1 + move)", "(equity\n        * (1+move))"),
        ("\n\ndef", "\n\n\n\ndef"),
    ],
)
def test_comments_docstrings_and_formatting_do_not_count(tmp_path: Path, original: str, old: str, new: str) -> None:
    assert old in MODULE
    assert digest_with(tmp_path, "trading/accounting.py", MODULE.replace(old, new)) == original


@pytest.mark.parametrize(
    ("old", "new"),
    [("1 + move", "1 - move"), ("1 + move", "1.0 + move"), ("grow", "change"), ("equity,", "e,")],
)
def test_a_changed_line_in_an_imported_module_counts(tmp_path: Path, original: str, old: str, new: str) -> None:
    assert digest_with(tmp_path, "trading/accounting.py", MODULE.replace(old, new)) != original


def test_packages_on_the_way_count(tmp_path: Path, original: str) -> None:
    assert digest_with(tmp_path, "trading/__init__.py", "import os\n") != original


def test_style_sheets_and_page_scripts_of_an_imported_package_count(tmp_path: Path) -> None:
    script = project(tmp_path / "with")
    page = tmp_path / "with/trading/page.css"
    page.write_text("p { color: black; }")
    before = code_digest(script)
    assert page in imported_files(script)
    other = project(tmp_path / "other")
    (tmp_path / "other/trading/page.css").write_text("p { color: blue; }")
    assert code_digest(other) != before


def test_style_sheets_of_a_package_that_is_not_imported_do_not_count(tmp_path: Path, original: str) -> None:
    script = project(tmp_path / "project")
    (tmp_path / "project/pages").mkdir()
    (tmp_path / "project/pages/__init__.py").write_text("")
    (tmp_path / "project/pages/page.css").write_text("p { color: black; }")
    assert code_digest(script) == original


def test_modules_that_are_not_imported_do_not_count(tmp_path: Path, original: str) -> None:
    assert digest_with(tmp_path, "trading/unused.py", "X = 2\n") == original


def test_what_writes_down_machine_and_time_does_not_count(tmp_path: Path) -> None:
    def digest(place: str, host: str, errors: str = "") -> str:
        script = project(tmp_path / place)
        folder = script.parent / "common"
        (folder / "errors.py").write_text(f"def run(main):\n    from common.host import recorded\n{errors}")
        (folder / "host.py").write_text("from common import nvidia, processor\n" + host)
        for name in ("nvidia.py", "processor.py"):
            (folder / name).write_text(host)
        return code_digest(script)

    assert digest("before", "X = 1\n") == digest("after", "X = 2\n")
    assert digest("control", "X = 1\n", errors="    main()\n") != digest("before", "X = 1\n")


def test_what_is_left_out_is_there_and_imported_for_host_facts_only() -> None:
    scripts = Path(__file__).parents[2] / "scripts"
    assert all((scripts / name).is_file() for name in LEFT_OUT)
    modules = {name.removesuffix(".py").replace("/", ".") for name in LEFT_OUT}
    users = {
        file.relative_to(scripts).as_posix()
        for file in scripts.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module in modules
    }
    # The two of archiving say which processor it was: nothing of a run's results.
    archiving = {"archiving/provenance.py", "archiving/replaying/promise.py"}
    assert users == {"common/errors.py", "common/host.py", "gpus.py"} | archiving


def test_a_module_that_does_not_parse_counts_by_its_text(tmp_path: Path, original: str) -> None:
    one = digest_with(tmp_path, "trading/accounting.py", "def grow(:\n")
    two = digest_with(tmp_path, "trading/accounting.py", "def grow(::\n")
    assert len({original, one, two}) == 3


@pytest.mark.parametrize(
    "line",
    [
        "import trading.accounting",
        "import os, trading.accounting as book",
        "from trading import accounting",
        "from trading.accounting import grow",
        "if True:\n    from trading import accounting",
    ],
)
def test_every_way_of_importing_is_seen(tmp_path: Path, line: str) -> None:
    script = project(tmp_path)
    script.write_text(line + "\n")
    found = {path.relative_to(tmp_path).as_posix() for path in imported_files(script)}
    assert found == {"simulate.py", "trading/__init__.py", "trading/accounting.py"}


def test_imports_of_imports_and_relative_ones_are_followed(tmp_path: Path) -> None:
    script = project(tmp_path)
    script.write_text("import trading.accounting\n")
    (tmp_path / "trading/accounting.py").write_text("from . import unused\nfrom .unused import X\n")
    (tmp_path / "trading/unused.py").write_text("from trading import accounting\n")  # a circle ends
    found = {path.name for path in imported_files(script)}
    assert found == {"simulate.py", "__init__.py", "accounting.py", "unused.py"}


def test_a_constant_is_read_without_running_the_script(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import no_such_module\nTRAINING_VERSION = 3\n")
    assert constant(script, "TRAINING_VERSION") == 3
    with pytest.raises(LookupError, match="no constant OTHER"):
        constant(script, "OTHER")
