"""What the matrices of one stage of a layer are given, in two models that walk side by side."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from quantize_cli.calibration.statistics.inputs import Inputs, of_moments
from quantize_cli.calibration.statistics.moments import Moments, Shown, input_of
from quantize_cli.runtime.layer import Layer
from quantize_cli.runtime.layer_runner import Passage, Walk
from quantize_cli.runtime.watch import watched_layer

_Key = tuple[str, int]
"""What is multiplied, and in a stack of experts by which of them."""
_FLOAT, _QUANTIZED = 0, 1
_STACKED = "_exps"
_SHARE = 0.25
"""An expert is lent what all experts see, as if it were so many tokens for each of its columns."""


class Collected:
    """Sums over all tokens, of what is shown part by part."""

    def __init__(self, names: Sequence[str], multiplied: Callable[[str], bool], added: bool) -> None:
        """Of the tensors `names`; products not `multiplied` are left out. `added` says they are added to the stream."""
        self._names, self._multiplied, self._added = frozenset(names), multiplied, added
        self._moments: dict[_Key, Moments] = {}
        self._inputs: dict[str, Inputs] = {}
        self._shown: tuple[dict[_Key, Shown], dict[_Key, Shown]] = ({}, {})

    def passages(self, walk: Walk, layers: Sequence[Layer], sequences: int) -> list[Passage]:
        """Recordings of the float and of the quantized layer that show what is wanted when they run."""
        return [self._passage(walk, layer, sequences, side) for side, layer in enumerate(layers)]

    def _passage(self, walk: Walk, layer: Layer, sequences: int, side: int) -> Passage:
        def watch(name: str, number: int, x: np.ndarray) -> None:
            key = input_of(name), number
            if key not in self._shown[side]:  # others of the stage may have been shown the same
                self._shown[side][key] = Shown(x.copy(), passage.stream.copy() if self._added else None)

        shown = watched_layer(layer, watch, self._names.__contains__, self._multiplied)
        passage = walk.through(shown, sequences)
        return passage

    def count_in(self) -> None:
        """Add what both passages showed since the last time; experts see other tokens in either model."""
        for key, shown in self._shown[_QUANTIZED].items():
            moments = self._moments.setdefault(key, Moments(shown.inputs.shape[1]))
            if _STACKED in key[0]:
                moments.add(Shown(shown.inputs), None)
            else:
                moments.add(shown, self._shown[_FLOAT][key])
        for side in self._shown:
            side.clear()

    def inputs(self, name: str, matrices: int, columns: int) -> Iterator[Inputs]:
        """What each of a tensor's matrices is given; an expert seldom or never reached is lent what all of them see.

        What experts are given is worked out one by one, as there may be many.
        """
        if matrices == 1:
            yield self._alone(input_of(name), columns)
            return
        of_all = [self._moments.get((input_of(name), number)) or Moments(columns) for number in range(matrices)]
        tokens = sum(moments.count for moments in of_all)
        lent = sum((moments.second for moments in of_all), np.zeros((columns, columns))) / max(1, tokens)
        for moments in of_all:
            second = moments.second + _SHARE * columns * lent
            scale = float(second.diagonal().mean())
            yield Inputs(second / scale if scale else np.eye(columns))

    def unreached(self, name: str, matrices: int) -> tuple[int, ...]:
        """Those of a tensor's matrices that were given nothing: experts."""
        given = {number for (key, number), moments in self._moments.items() if key == input_of(name) and moments.count}
        return tuple(number for number in range(matrices) if number not in given)

    def _alone(self, name: str, columns: int) -> Inputs:
        """The same for all matrices that share it, so that what follows from it is worked out once."""
        if name not in self._inputs:
            self._inputs[name] = of_moments(self._moments.get((name, 0)) or Moments(columns))
        return self._inputs[name]
