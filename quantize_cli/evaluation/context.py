"""The context: the tokens of a chunk, which a model reads at once."""

from collections.abc import Iterable

from quantize_cli.runtime.hyperparameters import Described, reach

USUAL = 512


def chosen(asked: int | None, models: Iterable[Described]) -> int:
    """Tokens of a chunk for all of `models`.

    None means 512, or the context of their training if that is shorter; 0 means the latter, as in llama.cpp.
    """
    trained = min(map(reach, models))
    return min(USUAL, trained) if asked is None else asked or trained


def beyond(context: int, models: Iterable[Described]) -> tuple[str, ...]:
    """A warning for each model that was trained on fewer than `context` tokens."""
    return tuple(
        f"{model.path}: a context of {context} tokens, where the model was trained on {trained}; "
        "what it predicts beyond is not to be trusted"
        for model, trained in ((model, reach(model)) for model in models)
        if context > trained
    )
