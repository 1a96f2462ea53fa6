"""The file name is the registry: adding a type, a family or a command is adding one file."""

from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from quantize_cli.errors import InputError


@cache
def names(package: str) -> tuple[str, ...]:
    """The options `quantize_cli.<package>` offers, sorted: its files whose names do not start with an underscore."""
    files = (file for folder in import_module(f"quantize_cli.{package}").__path__ for file in Path(folder).iterdir())
    return tuple(sorted(f.stem for f in files if f.suffix == ".py" and not f.name.startswith("_")))


def load(package: str, name: str) -> ModuleType:
    """The module behind one option; InputError when there is no such file. Only listed names are ever imported."""
    if name not in names(package):
        raise InputError(f"unknown {package.rstrip('s')} '{name}'", hint="known: " + ", ".join(names(package)))
    return import_module(f"quantize_cli.{package}.{name}")
