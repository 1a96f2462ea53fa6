"""The context: the tokens of a chunk, which a model reads at once."""

from collections.abc import Iterable

from quantize_cli.runtime.hyperparameters import HasMetadata, longest_context
from quantize_cli.runtime.only_run import refuse_encoder

DEFAULT_CONTEXT = 512


def chunk_tokens(asked: int | None, models: Iterable[HasMetadata]) -> int:
    """Tokens of a chunk for all of `models`.

    None means 512, or the context of their training if that is shorter; 0 means the latter, as in llama.cpp. InputError
    for an encoder: chunks are for models to predict.
    """
    predicting = list(models)
    for model in predicting:
        refuse_encoder(model)
    trained = min(map(longest_context, predicting))
    return min(DEFAULT_CONTEXT, trained) if asked is None else asked or trained


def long_context_warnings(context: int, models: Iterable[HasMetadata]) -> tuple[str, ...]:
    """A warning for each model that was trained on fewer than `context` tokens."""
    return tuple(
        f"{model.path}: a context of {context} tokens, where the model was trained on {trained}; "
        "what it predicts beyond is not to be trusted"
        for model, trained in ((model, longest_context(model)) for model in models)
        if context > trained
    )
