"""Digest of a script and the project modules it imports; an edited comment does not change it."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

# What a program may build into its output, from the folder of a package that it imports.
_DATA = (".css", ".js")
# Every program imports these, to write down its machine and its time, on which no result depends (common/errors.py).
# gpus.py, whose check needs the second, has no digest: it makes nothing.
LEFT_OUT = frozenset({"common/host.py", "common/nvidia.py", "common/processor.py"})
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_digest(script: Path) -> str:
    """Digest of a script's meaning.

    It covers the script and every module below the script's folder that it imports, directly or not, inside
    functions too, with the style sheets and page scripts beside a package's modules, but for those LEFT_OUT.
    Comments, formatting and docstrings of Python do not count.

    Parameters
    ----------
    script
        A program; its folder is where it finds the project's modules.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for file in sorted(imported_files(script)):
        digest.update(f"{file.relative_to(script.parent).as_posix()} {_file_digest(file)}\n".encode())
    return digest.hexdigest()[:16]


def imported_files(script: Path) -> set[Path]:
    """The script and the files below its folder that it imports, directly or not, without those LEFT_OUT."""
    found: set[Path] = set()
    waiting = [script]
    left_out = {script.parent / name for name in LEFT_OUT}
    while waiting:
        file = waiting.pop()
        if file not in found | left_out:
            found.add(file)
            if file.suffix == ".py":
                waiting.extend(_direct_imports(file, script.parent))
    return found


def constant(script: Path, name: str) -> int | str:
    """Value of a constant that a script assigns at its top level, without running it.

    Raises
    ------
    LookupError
        If the script has no such constant.
    """
    for node in _tree(script).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return ast.literal_eval(node.value)
    raise LookupError(f"{script}: no constant {name}")


@functools.cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_bytes(), filename=str(file))


@functools.cache
def _file_digest(file: Path) -> str:
    if file.suffix != ".py":
        return hashlib.sha256(file.read_bytes()).hexdigest()
    try:
        tree = _tree(file)
    except SyntaxError:
        # The program itself will say what is wrong; here only a change has to show.
        return hashlib.sha256(file.read_bytes()).hexdigest()
    meaning = ast.dump(_without_docstrings(tree), annotate_fields=False)
    return hashlib.sha256(meaning.encode()).hexdigest()


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return tree


@functools.cache
def _direct_imports(file: Path, root: Path) -> frozenset[Path]:
    try:
        tree = _tree(file)
    except SyntaxError:
        return frozenset()
    return frozenset(
        path for node in ast.walk(tree) for name in _names(node, file, root) for path in _files(name, root)
    )


def _names(node: ast.AST, file: Path, root: Path) -> Iterator[tuple[str, ...]]:
    """Dotted names that an import statement may load."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield tuple(alias.name.split("."))
    elif isinstance(node, ast.ImportFrom):
        package = file.parent.relative_to(root).parts
        above = package[: len(package) - (node.level - 1)] if node.level else ()
        module = (*above, *node.module.split(".")) if node.module else above
        yield module
        for alias in node.names:  # "from trading import bars" loads a module too
            yield (*module, alias.name)


def _files(name: tuple[str, ...], root: Path) -> Iterator[Path]:
    """Files that importing a dotted name runs, the packages on the way and the module, and what the packages hold."""
    for depth in range(1, len(name) + 1):
        path = root.joinpath(*name[:depth])
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                yield file
                if file.name == "__init__.py":
                    yield from (data for data in path.iterdir() if data.suffix in _DATA)
