"""The file name is the registry: adding a type, a family or a command is adding one file."""

from functools import cache
from importlib import import_module, resources
from types import ModuleType

from quantize_cli.errors import InputError


@cache
def names(package: str) -> tuple[str, ...]:
    """The options `quantize_cli.<package>` offers, sorted: its files whose names do not start with an underscore."""
    files = resources.files(f"quantize_cli.{package}").iterdir()
    return tuple(sorted(f.name[:-3] for f in files if f.name.endswith(".py") and not f.name.startswith("_")))


def load(package: str, name: str) -> ModuleType:
    """The module behind one option; InputError when there is no such file. Only listed names are ever imported."""
    if name not in names(package):
        raise InputError(f"unknown {package.rstrip('s')} '{name}'", hint="known: " + ", ".join(names(package)))
    return import_module(f"quantize_cli.{package}.{name}")
