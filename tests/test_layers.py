"""Who may import whom. Read from the sources, so that an import inside a function counts as well."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantize_cli import plugins

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path.relative_to(ROOT) for top in ("formats", "quantize_cli") for path in (ROOT / top).rglob("*.py"))

WORDS = {"formats", "quantize_cli", "errors"}
"""What anyone above `formats` may import: what files say, our version, and the words for what goes wrong."""

MAY_IMPORT = {
    "formats": set(),
    "errors": set(),
    "plugins": WORDS,
    "tensor": WORDS,
    "kept": set(),
    "kernel": WORDS | {"kept"},
    "machine": set(),
    "half": WORDS,
    "limits": set(),
    "simd": WORDS | {"half", "kernel"},
    "elementary": WORDS | {"kernel"},
    "matrices": WORDS | {"kernel", "simd"},
    "quants": WORDS | {"plugins", "half", "kernel", "simd"},
    "models": WORDS | {"tensor"},
    "tokenizers": WORDS | {"plugins", "limits"},
    "certificate": WORDS,
    "digest": WORDS | {"tensor"},
    "source": WORDS | {"plugins", "tensor", "models", "tokenizers", "certificate"},
    "settings": WORDS | {"certificate"},
    "template": WORDS | {"limits"},
    "roles": WORDS | {"tensor"},
    "places": WORDS | {"tensor", "roles"},
    "recipe": WORDS | {"tensor", "roles", "places"},
    "spelling": WORDS | {"recipe"},
    "globs": WORDS,
    "plan": WORDS | {"globs", "plugins", "tensor", "roles", "recipe", "source"},
    "calibrate": WORDS | {
        "kernel", "plan", "plugins", "quants", "roles", "runtime", "simd", "source", "tensor", "evaluate", "tokenizers",
        "machine", "elementary", "matrices",
    },
    "pipeline": WORDS | {"kept", "plan", "quants", "tensor"},
    "operation": WORDS | {"kernel"},
    "dots": WORDS | {"plugins", "half", "kernel", "simd", "operation", "quants"},
    "runtime": WORDS | {
        "machine", "tensor", "quants", "kept", "kernel", "simd", "models", "operation", "dots", "elementary",
    },
    "evaluate": WORDS | {"runtime", "tensor", "quants", "source", "tokenizers", "elementary"},
    "certify": WORDS | {
        "certificate", "digest", "plan", "recipe", "spelling", "source", "tensor", "runtime", "evaluate", "tokenizers",
    },
    "remake": WORDS | {"plan", "quants"},
    "verify": WORDS | {
        "certificate", "certify", "digest", "plan", "remake", "roles", "spelling", "source", "tensor",
    },
    "budget": WORDS | {
        "plan", "recipe", "roles", "source", "tensor", "quants", "runtime", "evaluate", "machine", "matrices",
    },
    "bench": WORDS | {"quants", "source", "runtime", "evaluate"},
    "cli": WORDS | {
        "kept", "machine", "plugins", "plan", "recipe", "source", "calibrate", "pipeline", "runtime", "evaluate",
        "tokenizers", "quants", "bench", "settings", "template", "certificate", "certify", "verify", "budget",
    },
    "quantize_cli": set(),
    "__main__": {"cli"},
}  # fmt: skip
"""Besides its own files. One line for each module and package of quantize_cli, and one for `formats` as a whole."""

PLUGINS = ("quants", "dots", "models", "tokenizers", "calibrate", "cli")
"""Packages of which a file is an option the user can type: such files know nothing of each other."""

DOOR_ONLY = {"typer", "click", "rich", "tqdm"}


def part_of(path: Path) -> str:
    """The line of MAY_IMPORT that a file goes by."""
    inside = path.with_suffix("").parts
    if inside[0] == "formats":
        return "formats"
    return "quantize_cli" if inside[1] == "__init__" else inside[1]


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all modules a file imports."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if is_module(whole) else node.module or ""


def is_module(name: str) -> bool:
    place = ROOT.joinpath(*name.split("."))
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def ours(path: Path) -> Iterator[tuple[str, str]]:
    """(line of MAY_IMPORT, module) for each import of our own."""
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "formats":
            yield "formats", name
        elif parts[0] in ("quantize_cli", "configs"):
            yield (parts[1] if len(parts) > 1 else parts[0]), name


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_point_down(path: Path) -> None:
    part = part_of(path)
    allowed = MAY_IMPORT[part] | {part}
    assert [name for target, name in ours(path) if target not in allowed] == []


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[1] in PLUGINS], ids=str)
def test_no_option_imports_another(path: Path) -> None:
    package = path.parts[1]
    options = {f"quantize_cli.{package}.{name}" for name in plugins.names(package)}
    own = f"quantize_cli.{package}.{path.stem}"
    assert [name for _, name in ours(path) if name in options and name != own] == []


@pytest.mark.parametrize("path", [path for path in SOURCES if part_of(path) != "cli"], ids=str)
def test_only_the_door_prints_exits_or_draws(path: Path) -> None:
    assert DOOR_ONLY.isdisjoint(name.split(".")[0] for name in imports(path))
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert called.isdisjoint({"print", "exit", "quit", "sys.exit", "os._exit", "sys.stdout.write", "sys.stderr.write"})


def test_formats_can_be_used_alone() -> None:
    found = {name.split(".")[0] for path in SOURCES if part_of(path) == "formats" for name in imports(path)}
    assert found.isdisjoint({"quantize_cli", "numba", "tokenizers", "sentencepiece"})
