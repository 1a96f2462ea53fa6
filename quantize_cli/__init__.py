"""quantize: a Hugging Face checkpoint becomes a GGUF file that llama.cpp runs.

The functions here are the Python API; `quantize_cli.api` documents them. Nothing is imported before one is used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quantize_cli.api import analyze as analyze
    from quantize_cli.api import calibrate as calibrate
    from quantize_cli.api import compare as compare
    from quantize_cli.api import convert as convert
    from quantize_cli.api import evaluate as evaluate
    from quantize_cli.api import inspect as inspect
    from quantize_cli.api import load as load
    from quantize_cli.api import plan as plan
    from quantize_cli.api import train as train
    from quantize_cli.loaded_model import LoadedModel as LoadedModel

__version__ = "0.1.0"
_API = ("analyze", "calibrate", "compare", "convert", "evaluate", "inspect", "load", "plan", "train")


def __getattr__(name: str) -> object:
    if name not in _API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from quantize_cli import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return [*globals(), *_API]
