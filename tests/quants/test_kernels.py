"""What every compiled function keeps to, read from the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import quantize_cli.quants

SOURCES = {
    path.stem: ast.parse(path.read_text()) for path in Path(quantize_cli.quants.__file__).parent.rglob("[!_]*.py")
}
COMPILED = {"kernel", "inlined", "merged"}


def _defined(module: str) -> dict[str, str]:
    """Compiled functions a module defines, and how each is compiled."""
    named = {node.name: _how(node) for node in SOURCES[module].body if isinstance(node, ast.FunctionDef)}
    return {name: how for name, how in named.items() if how in COMPILED}


def _how(function: ast.FunctionDef) -> str:
    """The decorator of a function."""
    return next((decorator.id for decorator in function.decorator_list if isinstance(decorator, ast.Name)), "")


def _known(module: str) -> dict[str, str]:
    """The same, with those it imports."""
    known = _defined(module)
    for node in SOURCES[module].body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("quantize_cli.quants."):
            stem = node.module.rpartition(".")[2]
            theirs = _defined(stem) if stem in SOURCES else {}
            known |= {alias.asname or alias.name: theirs[alias.name] for alias in node.names if alias.name in theirs}
    return known


def _handed_over(module: str) -> Iterator[tuple[str, str]]:
    """(function called, function it is handed) wherever compiled code of a module does so."""
    known = _known(module)
    for function in ast.walk(SOURCES[module]):
        if isinstance(function, ast.FunctionDef) and _how(function) in COMPILED:
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                names = [argument.id for argument in call.args if isinstance(argument, ast.Name)]
                yield from ((ast.unparse(call.func), name) for name in names if name in known)


def _is_merged(module: str, called: str) -> bool:
    """Whether a function, by its name or as another module's, is merged into its callers."""
    theirs, _, name = called.rpartition(".")
    return (_defined(theirs) if theirs else _known(module)).get(name) == "merged"


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_functions_are_handed_to_merged_ones_alone_as_numba_keeps_no_other(module: str) -> None:
    assert [(to, what) for to, what in _handed_over(module) if not _is_merged(module, to)] == []


def test_functions_handed_over_are_seen() -> None:
    assert ("decide", "put_codes") in list(_handed_over("symmetric"))
