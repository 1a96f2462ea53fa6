"""AWQ: channels that carry much are rounded finer, by scales that are searched (Lin et al. 2023, arXiv:2306.00978)."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from quantize_cli.calibration.folding.errors import Rounding
from quantize_cli.calibration.folding.folding import Folding, ScaleMapping, bounded_scales, live_channels, mappings
from quantize_cli.calibration.runner.method import Method
from quantize_cli.calibration.statistics.moments import Moments
from quantize_cli.calibration.statistics.observer import Magnitudes, ObservedLayers, Observer
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.elementary import power
from quantize_cli.model.source import Model
from quantize_cli.runtime.transformer import from_model

_ACTIVATION_POWERS = np.arange(6) / 5
_WEIGHT_POWERS = np.arange(5) / 4
"""What is tried: 30 pairs, the first of which is no scaling."""


def fold(
    model: Model,
    chunks: np.ndarray,
    types: Mapping[str, GgmlType],
    report: Callable[[int], None] = lambda layers: None,
) -> Model:
    """The same function with weights that lose less in `types`, found on `chunks` (n, context) of tokens.

    Each channel that a norm, a value or a gated `up` makes is divided by a scale, and the columns that read it are
    multiplied. Each mapping gets the scales of `candidates`, no scaling among them, with which the outputs of its
    matrices err least once they are rounded with their importance. A tensor that `types` does not name counts as not
    rounded. An importance for the result has to be found on the result, as its activations are scaled.

    `report` is called after each layer. What the model computes changes by float32 rounding only, less than 1e-5 of
    it; the scaled tensors are read as float32. InputError for a model that the runtime cannot run or whose weights are
    not float.
    """
    folding, text = Folding(model), ObservedLayers(from_model(model), chunks)
    rounding = Rounding(folding, types, text.runner.transformer.threads.count)
    for layer in mappings(model):
        for mapping, scales in search(layer, text, rounding):
            folding.add(mapping, scales)
        report(1)
    return folding.model()


def candidates(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sizes of channels (channels,), as they come and in what reads them -> scales to choose from (n, channels) f32.

    They are mean|x|^a / rms(w)^b within `bounded_scales`, the first all one. The paper has b = 0, its code also
    b = 1 - a. With a and b apart the errors of a small Llama in Q4_0 fell by 3 % rather than 1 and 2.
    """
    powers = [(a, b) for a in _ACTIVATION_POWERS for b in _WEIGHT_POWERS]
    return bounded_scales(
        np.stack([power(live_channels(activations), a) / power(live_channels(weights), b) for a, b in powers])
    )


def search(
    layer: Sequence[ScaleMapping], text: ObservedLayers, rounding: Rounding
) -> Iterator[tuple[ScaleMapping, np.ndarray]]:
    """The best scales (channels,) f32 of each mapping that any token passes; the text is then behind the layer."""
    choices: dict[int, np.ndarray] = {}
    errors: dict[int, np.ndarray] = {}
    turns = rounding.turns(layer)
    for turn, inputs in enumerate(turns):
        observer = Observer()
        magnitudes = observer.collect(Magnitudes)
        moments = observer.collect(
            lambda columns: Moments(columns, rounding.threads), {input_: input_ for input_ in inputs}.get
        )
        text.observe(observer, stay=turn + 1 < len(turns))
        for index, mapping in enumerate(layer):
            if mapping.input not in magnitudes:
                continue
            if index not in choices:
                choices[index] = candidates(
                    mapping.mean(magnitudes[mapping.input].total), rounding.weight_sizes(mapping)
                )
            errors[index] = errors.get(index, 0) + rounding.errors(mapping, choices[index], moments)
    for index, scales in choices.items():
        yield layer[index], scales[int(np.argmin(errors[index]))]


METHOD = Method(fold=fold)
