"""A chunk is no longer than what the model was trained on, unless someone asks for more and is told."""

from dataclasses import replace

import pytest

from quantize_cli.evaluation.context import chunk_tokens, long_context_warnings
from quantize_cli.formats.gguf.layout import Value, ValueType, text, u32
from quantize_cli.model.source import Model, open_model
from quantize_cli.runtime.hyperparameters import longest_context
from tests.cli.console import MODEL


def trained_on(context: int, **scaling: Value) -> Model:
    """The example as if it was trained on other lengths."""
    model = open_model(MODEL)
    stated = {f"llama.rope.scaling.{key}": value for key, value in scaling.items()}
    return replace(model, metadata={**model.metadata, "llama.context_length": u32(context), **stated})


@pytest.mark.parametrize(
    ("trained", "asked", "expected"),
    [(256, None, 256), (4096, None, 512), (256, 0, 256), (4096, 0, 4096), (256, 1024, 1024), (4096, 64, 64)],
)
def test_the_usual_length_is_kept_within_what_was_trained(trained: int, asked: int | None, expected: int) -> None:
    assert chunk_tokens(asked, [trained_on(trained)]) == expected


def test_of_several_models_the_shortest_decides() -> None:
    models = [trained_on(300), trained_on(100), trained_on(4096)]
    assert (chunk_tokens(None, models), chunk_tokens(0, models)) == (100, 100)
    said = long_context_warnings(300, models)
    assert len(said) == 1
    assert said[0].startswith(f"{MODEL}: a context of 300 tokens, where the model was trained on 100")


FOUR = Value(ValueType.FLOAT32, 4.0)


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ({}, 256),
        ({"type": text("yarn"), "factor": FOUR, "original_context_length": u32(256)}, 1024),
        ({"type": text("yarn"), "factor": FOUR, "original_context_length": u32(64)}, 256),
        ({"type": text("yarn"), "factor": FOUR}, 256),
        ({"type": text("linear"), "factor": FOUR, "original_context_length": u32(256)}, 256),
    ],
)
def test_yarn_reaches_what_it_stretches(scaling: dict[str, Value], expected: int) -> None:
    assert longest_context(trained_on(256, **scaling)) == expected
