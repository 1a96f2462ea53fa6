"""How many tokens are read at once: as many as were asked for, or as are usual if the model was trained on so many."""

from collections.abc import Iterable

from quantize_cli.runtime.hyperparameters import Described, reach

USUAL = 512


def chosen(asked: int | None, models: Iterable[Described]) -> int:
    """Tokens of a chunk for all of `models`.

    None asks for 512, or what they were trained on if that is less, and 0 for what they were trained on, as it does
    in llama.cpp.
    """
    trained = min(map(reach, models))
    return min(USUAL, trained) if asked is None else asked or trained


def beyond(context: int, models: Iterable[Described]) -> tuple[str, ...]:
    """Of each model that was trained on less than `context` tokens, what a person should know."""
    return tuple(
        f"{model.path}: a context of {context} tokens, where the model was trained on {trained}; "
        "what it predicts beyond is not to be trusted"
        for model, trained in ((model, reach(model)) for model in models)
        if context > trained
    )
