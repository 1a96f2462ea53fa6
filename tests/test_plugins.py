"""The file name is the registry, and only files of ours are ever imported."""

import sys
from pathlib import Path

import pytest

from quantize_cli import plugins
from quantize_cli.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("quants", "families", "tokenizers", "calibration", "cli")


@pytest.mark.parametrize("package", PACKAGES)
def test_names_are_the_files_without_an_underscore(package: str) -> None:
    found = plugins.names(package)
    assert list(found) == sorted(found)
    assert found
    assert not [name for name in found if name.startswith("_")]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_loads_and_has_what_its_package_promises(package: str) -> None:
    promised = {
        "quants": {"QUANT"}, "families": {"ARCHITECTURE"}, "cli": {"command"},
        "tokenizers": {"from_checkpoint", "from_gguf"}, "calibration": {"importance", "fold", "round_rows", "encode"},
    }  # fmt: skip
    for name in plugins.names(package):
        assert promised[package] & set(vars(plugins.load(package, name)))


@pytest.mark.parametrize("name", ["__init__", "os", "..errors", "", "q4_0.py", "antigravity"])
def test_nothing_else_is_imported(name: str) -> None:
    with pytest.raises(InputError, match="unknown quant ") as caught:
        plugins.load("quants", name)
    assert caught.value.hint is not None
    assert "q4_0" in caught.value.hint
    assert "antigravity" not in sys.modules


def test_every_folder_of_modules_is_installed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folder_of = {"quantize_cli": "quantize_cli", **settings["package-dir"]}
    packages = {
        ".".join((name, *path.parent.relative_to(ROOT / folder).parts))
        for name, folder in folder_of.items()
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert sorted(packages) == settings["packages"]
