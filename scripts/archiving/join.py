"""One program file of several modules, for those who have nothing but that file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SCRIPTS = Path(__file__).parents[1]
OWN = ("archiving", "common")
NEEDED = (3, 10)
# Before all else, so that an older Python says what is wrong; what follows must be written so that 3.6 can read it.
GUARD = f"""\
import sys

if sys.version_info < {NEEDED}:
    sys.exit(f"{{sys.argv[0]}}: needs Python {NEEDED[0]}.{NEEDED[1]} or later, this is {{sys.version.split()[0]}}.")"""


def joined(program: str) -> str:
    """The source of a module with every module of the project that it imports, as one file.

    Modules follow one another so that each comes behind those it imports. Imports between them are left out, those
    of the standard library stand once at the top.

    Parameters
    ----------
    program
        Dotted name of the module that is run, such as "archiving.verification.program".

    Raises
    ------
    ValueError
        If two modules define the same name.
    """
    order: list[str] = []
    _visit(program, order)
    imports: set[str] = set()
    owners: dict[str, str] = {}
    parts = []
    for name in order:
        source = _path(name).read_text(encoding="utf-8")
        tree = ast.parse(source)
        for defined in _defined(tree):
            if owners.setdefault(defined, name) != name:
                raise ValueError(f"{defined} is defined in {owners[defined]} and in {name}")
        lines = source.splitlines()
        dropped: set[int] = set()
        for number, node in enumerate(tree.body):
            documents = number == 0 and isinstance(node, ast.Expr)
            guard = isinstance(node, ast.If) and name != program
            if isinstance(node, ast.Import | ast.ImportFrom) or documents or guard:
                dropped.update(range(node.lineno, node.end_lineno + 1))
            if isinstance(node, ast.Import | ast.ImportFrom) and not _own(node):
                imports.add(ast.unparse(node))
        body = "\n".join(line for i, line in enumerate(lines, start=1) if i not in dropped).strip("\n")
        title = (ast.get_docstring(tree) or "").partition("\n")[0]
        parts.append(f"# {title}\n\n{body}" if name != program else body)
    document = ast.get_docstring(ast.parse(_path(program).read_text(encoding="utf-8")), clean=False)
    # The guard has the one; Python 3.6 does not know the other, and would not get as far as the guard.
    unwanted = {"import sys", "from __future__ import annotations"}
    rest = sorted(imports - unwanted, key=lambda line: (line.startswith("from"), line))
    return "\n\n".join([f'"""{document}"""', GUARD, "\n".join(rest), "\n\n\n".join(parts)]) + "\n"


def _path(name: str) -> Path:
    return SCRIPTS.joinpath(*name.split(".")).with_suffix(".py")


def _visit(name: str, order: list[str]) -> None:
    for needed in _needs(name):
        if needed not in order:
            _visit(needed, order)
    order.append(name)


def _needs(name: str) -> Iterator[str]:
    for node in ast.parse(_path(name).read_text(encoding="utf-8")).body:
        if _own(node):
            yield node.module


def _own(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in OWN


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            named = (part for target in node.targets for part in ast.walk(target))  # A, B = 1, 2 too
            yield from (part.id for part in named if isinstance(part, ast.Name))
