"""Only what numba compiles, and infers the types of itself, goes without annotations."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(path for package in ("formats", "quantize_cli") for path in (ROOT / package).rglob("*.py"))
COMPILED = {"kernel", "inlined", "merged", "intrinsic", "operation", "row_unpacker"}


def annotated(function: ast.FunctionDef) -> bool:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return function.returns is not None and all(
        argument.annotation is not None for argument in arguments if argument.arg not in ("self", "cls")
    )


def compiled(function: ast.FunctionDef) -> bool:
    called = [d.func if isinstance(d, ast.Call) else d for d in function.decorator_list]
    return any(isinstance(decorator, ast.Name) and decorator.id in COMPILED for decorator in called)


def functions(node: ast.AST) -> Iterator[ast.FunctionDef]:
    """Every function inside, but not what compiled ones hold."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            if compiled(child):
                continue
            yield child
        yield from functions(child)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_function_but_kernels_is_annotated(path: Path) -> None:
    missing = [f"line {f.lineno}: {f.name}" for f in functions(ast.parse(path.read_text())) if not annotated(f)]
    assert missing == []
