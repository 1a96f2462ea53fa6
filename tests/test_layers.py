"""Who may import whom. Read from the sources, so that an import inside a function counts as well."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from quantize_cli import plugins

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path.relative_to(ROOT) for top in ("formats", "quantize_cli") for path in (ROOT / top).rglob("*.py"))

WORDS = {"formats", "quantize_cli", "errors"}
"""What anyone above `formats` may import: what files say, our version, and the words for what goes wrong."""

STAGES = {
    "progress",
    "pipeline.budget",
    "pipeline.calibrate",
    "pipeline.certify",
    "pipeline.decided",
    "pipeline.executor",
    "pipeline.job",
    "pipeline.load",
    "pipeline.outputs",
    "pipeline.plan",
    "pipeline.quantize",
    "pipeline.recipe",
    "pipeline.write",
}
TEXTS = {"pipeline.fallbacks", "pipeline.roles", "pipeline.recipe", "pipeline.recipe_text"}
MODEL = {"model.source", "model.tensor"}
CERTIFICATE = {"certificate.certify", "certificate.digest", "certificate.rebuild", "certificate.statement"}

MAY_IMPORT = {
    "formats": set(),
    "errors": set(),
    "plugins": WORDS,
    "machine": set(),
    "jit": WORDS,
    "model": set(),
    "model.sources": WORDS,
    "model.rows": WORDS | {"model.sources"},
    "model.changed_rows": WORDS | {"jit", "model.sources"},
    "model.tensor": WORDS | {"model.changed_rows", "model.rows", "model.sources"},
    "model.stacks": WORDS | {"model.sources", "model.tensor"},
    "model.card": WORDS,
    "model.model_name": WORDS,
    "model.loadable_tensors": WORDS,
    "model.adapter_tensors": WORDS,
    "model.pooling": WORDS,
    "model.sampling": WORDS,
    "model.wrapper_names": WORDS | {"model.tensor"},
    "model.general": WORDS | {"model.model_name", "model.sampling"},
    "model.nearest": WORDS | {"plugins", "families"},
    "model.settings": WORDS | {"certificate.statement"},
    "model.chat_templates": WORDS | {"limits"},
    "model.description": WORDS | {"certificate.statement"},
    "model.source": WORDS | {
        "plugins", "model.tensor", "model.card", "model.loadable_tensors", "model.adapter_tensors", "model.general",
        "model.nearest", "model.pooling", "model.sampling", "model.wrapper_names", "schemes", "families", "tokenizers",
        "certificate.statement",
    },
    "families": WORDS | {"model.stacks", "model.tensor"},
    "schemes": WORDS | {"model.sources", "model.tensor", "plugins", "quants"},
    "adapters": WORDS | MODEL | {"plugins", "families", "model.rows", "model.sources"},
    "limits": {"errors"},
    "progress": set(),
    "units": WORDS,
    "tokenizers": WORDS | {"plugins", "limits"},
    "quants": WORDS | {"plugins", "jit"},
    "pipeline": WORDS | STAGES | {"budget", "calibration", "certificate.statement", "machine", "model.source", "units"},
    "pipeline.roles": WORDS | {"model.tensor"},
    "pipeline.globs": WORDS,
    "pipeline.fallbacks": WORDS,
    "pipeline.occurrences": WORDS | {"model.tensor", "pipeline.roles"},
    "pipeline.recipe": WORDS | {"model.tensor", "pipeline.occurrences", "pipeline.roles"},
    "pipeline.recipe_text": WORDS | {"pipeline.recipe"},
    "pipeline.check": WORDS | MODEL | STAGES | TEXTS | {
        "budget", "families", "machine", "model.adapter_tensors", "model.wrapper_names", "quants",
        "schemes",
    },
    "pipeline.plan": WORDS | MODEL | {
        "plugins", "pipeline.fallbacks", "pipeline.globs", "pipeline.roles", "pipeline.recipe",
    },
    "pipeline.executor": WORDS,
    "pipeline.plan_json": WORDS | {
        "model.changed_rows", "model.rows", "model.sources", "model.stacks", "model.tensor", "pipeline.plan",
        "pipeline.recipe", "schemes",
    },
    "pipeline.pack": WORDS | {"model.tensor", "pipeline.plan", "quants"},
    "pipeline.quantize": WORDS | {"model.tensor", "pipeline.pack", "pipeline.plan", "quants"},
    "pipeline.write": WORDS | {
        "jit", "pipeline.executor", "pipeline.pack", "pipeline.plan", "pipeline.quantize", "progress",
    },
    "pipeline.outputs": WORDS,
    "pipeline.job": WORDS | {"pipeline.recipe"},
    "pipeline.load": WORDS | {
        "adapters", "calibration", "model.source", "model.settings", "pipeline.job", "pipeline.plan", "progress",
    },
    "pipeline.decided": WORDS | {
        "certificate.statement", "certificate.certify", "model.source", "pipeline.plan", "pipeline.quantize",
    },
    "pipeline.budget": WORDS | MODEL | TEXTS | {
        "budget", "certificate.statement", "quants", "pipeline.job", "progress", "units",
    },
    "pipeline.calibrate": WORDS | MODEL | STAGES | {
        "budget", "calibration", "certificate.statement", "certificate.certify", "evaluation", "machine", "runtime",
        "tokenizers",
    },
    "pipeline.certify": WORDS | {
        "certificate.statement", "certificate.certify", "evaluation", "pipeline.decided", "progress",
    },
    "dots": WORDS | {"plugins", "jit", "quants"},
    "runtime": WORDS | {"machine", "model.tensor", "quants", "jit", "dots"},
    "evaluation": WORDS | {"jit", "runtime", "model.source", "tokenizers", "progress"},
    "calibration": WORDS | MODEL | {
        "jit", "machine", "pipeline.plan", "pipeline.roles", "plugins", "quants", "runtime", "evaluation", "tokenizers",
    },
    "budget": WORDS | MODEL | TEXTS | {
        "jit", "machine", "pipeline.plan", "quants", "runtime", "evaluation", "calibration",
    },
    "certificate": set(),
    "certificate.statement": WORDS,
    "certificate.digest": WORDS | {"model.tensor"},
    "certificate.rebuild": WORDS | {"pipeline.plan", "quants"},
    "certificate.certify": WORDS | MODEL | TEXTS | CERTIFICATE | {
        "pipeline.plan", "runtime", "evaluation", "tokenizers",
    },
    "certificate.verify": WORDS | MODEL | TEXTS | CERTIFICATE | {"pipeline.plan"},
    "train": WORDS | MODEL | STAGES | {
        "adapters", "budget", "calibration", "certificate.digest", "certificate.statement", "certificate.certify",
        "evaluation", "limits", "machine", "model.chat_templates", "model.settings", "pipeline", "pipeline.globs",
        "pipeline.recipe_text", "pipeline.roles", "plugins", "quants", "runtime", "tokenizers", "units",
    },
    "bench": WORDS | {"quants", "model.source", "progress", "runtime", "evaluation"},
    "report": set(),
    "report.pages": set(),
    "report.chart": {"report.pages"},
    "report.junit": WORDS | {"evaluation"},
    "report.evaluation_page": WORDS | {"evaluation", "report.chart", "report.junit", "report.pages"},
    "report.analysis_page": WORDS | {"budget", "report.chart", "report.pages"},
    "loaded_model": WORDS | {"model.source", "evaluation", "progress", "runtime", "tokenizers"},
    "coverage": WORDS | {"plugins", "runtime"},
    "conversation": WORDS | {"loaded_model", "model.chat_templates", "runtime", "tokenizers"},
    "api": WORDS | {
        "train",
        "budget", "calibration", "evaluation", "loaded_model", "model.description", "model.source", "pipeline",
        "pipeline.budget", "pipeline.job", "pipeline.outputs", "pipeline.plan", "progress", "tokenizers",
    },
    "cli": WORDS | {
        "api", "bench", "budget", "calibration", "certificate.statement", "certificate.verify", "conversation",
        "coverage", "pipeline.check",
        "evaluation", "jit", "machine", "pipeline", "pipeline.decided", "pipeline.fallbacks", "pipeline.job",
        "pipeline.outputs", "pipeline.recipe", "pipeline.write", "plugins", "progress", "quants",
        "report.analysis_page", "report.evaluation_page", "report.junit", "report.pages", "runtime", "train", "units",
    },
    "quantize_cli": {"api", "loaded_model"},
    "__main__": {"cli"},
}  # fmt: skip
"""Besides its own files. One line for each room, and one for each file of a room that others may not import whole."""

ROOMS_OF_FILES = {name.split(".")[0] for name in MAY_IMPORT if "." in name}

PLUGINS = ("quants", "dots", "families", "schemes", "tokenizers", "calibration", "train", "cli")
"""Packages of which a file is an option the user can type: such files know nothing of each other."""

DOOR_ONLY = {"typer", "click", "rich", "tqdm"}


def module_of(path: Path) -> str:
    """The dotted name that a file is imported by."""
    return dotted(("quantize_cli", *path.parts) if path.parts[0] == "formats" else path.parts)


def dotted(parts: Sequence[str]) -> str:
    return ".".join(parts).removesuffix(".py").removesuffix(".__init__")


def part_of(module: str) -> str:
    """The line of MAY_IMPORT that a module, or a name of it, goes by."""
    _, *inside = module.split(".")
    if not inside:
        return "quantize_cli"
    return ".".join(inside[: 2 if inside[0] in ROOMS_OF_FILES else 1])


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
    """(part, dotted name) of every module of the project that a file imports."""
    for name in imports(path):
        if name.split(".")[0] == "quantize_cli":
            yield part_of(name if name != "quantize_cli.__version__" else "quantize_cli"), name


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_point_down(path: Path) -> None:
    part = part_of(module_of(path))
    allowed = MAY_IMPORT[part] | {part}
    assert [name for target, name in ours(path) if target not in allowed] == []


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[1] in PLUGINS], ids=str)
def test_no_option_imports_another(path: Path) -> None:
    package = path.parts[1]
    options = {f"quantize_cli.{package}.{name}" for name in plugins.names(package)}
    own = f"quantize_cli.{package}.{path.stem}"
    assert [name for _, name in ours(path) if name in options and name != own] == []


@pytest.mark.parametrize("path", [path for path in SOURCES if part_of(module_of(path)) != "cli"], ids=str)
def test_only_the_door_prints_exits_or_draws(path: Path) -> None:
    assert DOOR_ONLY.isdisjoint(name.split(".")[0] for name in imports(path))
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert called.isdisjoint({"print", "exit", "quit", "sys.exit", "os._exit", "sys.stdout.write", "sys.stderr.write"})


def test_formats_can_be_used_alone() -> None:
    found = {name for path in SOURCES if path.parts[0] == "formats" for name in imports(path)}
    assert {name.split(".")[0] for name in found}.isdisjoint({"numba", "tokenizers", "sentencepiece"})
    assert [name for name in found if name.startswith("quantize_cli") and part_of(name) != "formats"] == []
