"""SmoothQuant: what is hard to round is shared between activations and weights (Xiao et al. 2022, arXiv:2211.10438)."""

from collections.abc import Callable, Mapping

import numpy as np

from quantize_cli.calibration.folding.folding import Folding, bounded_scales, live_channels, mappings
from quantize_cli.calibration.runner.method import Method
from quantize_cli.calibration.statistics.observer import Largest, ObservedLayers, Observer
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.elementary import power
from quantize_cli.model.source import Model
from quantize_cli.runtime.transformer import from_model

STRENGTH = 0.5
"""How much of the activations' outliers moves to the weights, the paper's alpha: none at 0, all at 1."""


def fold(
    model: Model,
    chunks: np.ndarray,
    types: Mapping[str, GgmlType],
    report: Callable[[int], None] = lambda layers: None,
) -> Model:
    """The same function with smoother activations, found on `chunks` (n, context) of tokens.

    Each channel j that a norm makes is divided by a scale, and the columns that read it are multiplied:
    max|X_j|^STRENGTH / max|W_j|^(1 - STRENGTH), over all matrices that read the channel, within `bounded_scales`. As
    in the paper's code only norms are scaled: with values and gated `up`s too the divergence was 2 to 3 % larger in
    Q4_0.

    It is meant for activations rounded to few bits. GGML's have eight and a scale for each block, so do not expect
    much: AWQ chooses by what the weights lose.

    `types` is not used, as the scales do not depend on them. `report` is called after each layer. What the model
    computes changes by float32 rounding only, less than 1e-5 of it; the scaled tensors are read as float32. InputError
    for a model that the runtime cannot run or whose weights are not float.
    """
    folding, text = Folding(model), ObservedLayers(from_model(model), chunks)
    for layer in mappings(model):
        observer = Observer()
        largest = observer.collect(Largest)
        text.observe(observer)
        for mapping in layer:
            if mapping.producers[0].name.endswith("_norm.weight"):
                of_inputs = largest[mapping.input].largest
                of_weights = [
                    np.abs(weights).max(axis=0) for reader in mapping.readers for weights in folding.weights(reader)
                ]
                folding.add(mapping, scales(mapping.largest(of_inputs), mapping.largest(np.max(of_weights, axis=0))))
        report(1)
    return folding.model()


def scales(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The largest magnitudes of each channel's activations and weights, (channels,) -> scales (channels,) f32."""
    return bounded_scales(power(live_channels(activations), STRENGTH) / power(live_channels(weights), 1 - STRENGTH))


METHOD = Method(fold=fold)
