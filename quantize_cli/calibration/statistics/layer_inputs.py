"""The activations of one stage of a layer, in two models that read the text side by side."""

from collections.abc import Iterator

import numpy as np

from quantize_cli.calibration.statistics.inputs import Inputs, of_moments
from quantize_cli.calibration.statistics.moments import Moments
from quantize_cli.calibration.statistics.observer import Input, Latest, Observer
from quantize_cli.runtime.observed_layer import input_of

_STACKED = "_exps"
_SHARE = 0.25
"""An expert is lent what all experts see, as if it were so many tokens for each of its columns."""


class StageInputs:
    """Sums over all tokens, of what both models show part by part."""

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self.original, self.quantized = Observer(), Observer()
        self._latest = self.original.collect(Latest), self.quantized.collect(Latest)
        self._moments: dict[Input, Moments] = {}
        self._inputs: dict[str, Inputs] = {}

    def count_in(self, residual: np.ndarray | None = None) -> None:
        """Add what both models showed since the last time; experts see other tokens in either model.

        `residual` (n, rows) f32 is what the streams differ in to which the products are added, if they are.
        """
        original, quantized = self._latest
        for key, latest in quantized.items():
            if key not in self._moments:
                self._moments[key] = Moments(latest.x.shape[1], self._threads)
            moments = self._moments[key]
            if _STACKED in key[0]:
                moments.add(latest.x)
            else:
                moments.add(latest.x, original[key].x, residual)
        original.clear()
        quantized.clear()

    def latest(self, name: str) -> np.ndarray:
        """What a tensor of one matrix was given last in the quantized model, (n, columns) f32, which stays as it is."""
        return self._latest[1][input_of(name), 0].x

    def inputs(self, name: str, matrices: int, columns: int) -> Iterator[Inputs]:
        """The inputs of each of a tensor's matrices; an expert seldom or never reached is lent those of all.

        What experts are given is worked out one by one, as there may be many.
        """
        if matrices == 1:
            key = input_of(name)
            if key not in self._inputs:  # worked out once for all tensors that share it
                self._inputs[key] = of_moments(self._moments.get((key, 0)) or Moments(columns, self._threads))
            yield self._inputs[key]
            return
        of_all = [self._moments.get((input_of(name), number)) or Moments(columns) for number in range(matrices)]
        tokens = sum(moments.count for moments in of_all)
        lent = sum((moments.second for moments in of_all), np.zeros((columns, columns))) / max(1, tokens)
        for moments in of_all:
            second = moments.second + _SHARE * columns * lent
            scale = float(second.diagonal().mean())
            yield Inputs(second / scale if scale else np.eye(columns), threads=self._threads)

    def experts_without_tokens(self, name: str, matrices: int) -> tuple[int, ...]:
        """Those of a tensor's matrices that were given nothing: experts."""
        return tuple(number for number in range(matrices) if (input_of(name), number) not in self._moments)
