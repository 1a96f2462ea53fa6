"""A forward pass as it is recorded: parts of a model append their operations and say where their results will lie."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from quantize_cli import dots
from quantize_cli.jit.operation import Operation
from quantize_cli.runtime.program import Program, Threads

_REMEMBERED = 2
"""Recordings kept besides those of one token: those of the parts that a prompt or a text is cut into."""
FEW = 4
"""Activations fewer than these are multiplied row by row, straight from the blocks; more are worth opening panels."""


_Key = TypeVar("_Key")
_Recorded = TypeVar("_Recorded")


class Recordings(Generic[_Key, _Recorded]):
    """Recordings by what they were made for; of those that are not `kept` for good only the latest few."""

    def __init__(self, kept: Callable[[_Key], bool] = lambda key: False) -> None:
        self._kept = kept
        self._recorded: dict[_Key, _Recorded] = {}

    def get(
        self, key: _Key, record: Callable[[_Key], _Recorded], fits: Callable[[_Recorded], bool] = lambda _: True
    ) -> _Recorded:
        """The recording for `key`, made by `record` where there is none that `fits`."""
        recorded = self._recorded.get(key)
        if recorded is None or not fits(recorded):
            self._recorded.pop(key, None)
            others = [other for other in self._recorded if not self._kept(other)]
            if not self._kept(key) and len(others) >= _REMEMBERED:
                del self._recorded[others[0]]
            recorded = self._recorded[key] = record(key)
        return recorded


class Part(Protocol):
    """A part of a model."""

    def record(self, recorder: "Recorder", x: np.ndarray) -> np.ndarray:
        """Append what it does with activations (n, columns) f32; gives where that will lie."""


class Rounded(NamedTuple):
    """Activations as a product takes them; see dots/activations.py."""

    codes: np.ndarray
    scales: np.ndarray
    sums: np.ndarray


class Recorder:
    """Records operations and lends the arrays they work on."""

    def __init__(self, threads: Threads, bfloat16: bool = False) -> None:
        """`bfloat16`: activations that meet weights of bfloat16 are rounded to it too, which takes half the time."""
        self.threads, self._bfloat16 = threads, bfloat16
        self._program = Program()
        self._free: dict[tuple[int, int], list[np.ndarray]] = {}
        self._lent: list[np.ndarray] = []
        self._rounded: dict[tuple[object, ...], Rounded] = {}
        self._tiled: dict[tuple[int, bool], np.ndarray] = {}
        """By the activations, and whether they are rounded to bfloat16."""
        self._scratch: dict[int, np.ndarray] = {}
        self._multiplied: object = None
        """The activations of the product recorded last, if nothing was since."""

    def add(self, operation: Operation, *, beside: bool = False, **arguments: np.ndarray | float) -> None:
        """Append an operation, perhaps to be done beside the one before; see operation.py and program.py."""
        self._program.add(operation, beside=beside, **arguments)
        self._multiplied = None

    def call(self, function: Callable[[], None]) -> None:
        self._program.call(function)
        self._multiplied = None

    def run(self) -> None:
        self._program.run(self.threads)

    def array(self, rows: int, columns: int) -> np.ndarray:
        """An array (rows, columns) f32 of any content, lent until the scope ends."""
        free = self._free.setdefault((rows, columns), [])
        array = free.pop() if free else np.empty((rows, columns), np.float32)
        self._lent.append(array)
        return array

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What is lent inside may be lent again afterwards: operations run in order, so none is overwritten early."""
        before, self._lent = self._lent, []
        try:
            yield
        finally:
            for array in self._lent:
                rows, columns = array.shape
                self._free[rows, columns].append(array)
            self._lent = before
            self._rounded.clear()
            self._tiled.clear()

    def multiply(self, weights: np.ndarray, dot: dots.Dot | dots.FloatDot, x: np.ndarray, out: np.ndarray) -> None:
        """Append out = x times the rows of `weights` u8 (rows, row bytes): x (n, columns), out (n, rows) f32."""
        if isinstance(dot, dots.FloatDot):
            bfloat16 = self._bfloat16 and dot.is_bfloat16 and len(x) >= FEW and x.shape[1] % 2 == 0
            (self._multiply_bfloat16 if bfloat16 else self._multiply_floats)(weights, dot, x, out)
            return
        if len(x) < FEW:
            rounded = self._rows(x, dot)
            self._add_product(rounded, dot.rows, weights=weights, **rounded._asdict(), out=out)
            return
        scratch = self._scratch_of(dots.scratch_nbytes(x.shape[1], dot.group))
        multiply = dots.multiply_groups_of_16 if dot.group == 16 else dots.multiply_groups_of_32
        rounded = self._tiles(x, dot)
        unpack = dot.unpack.address
        self._add_product(
            rounded, multiply, weights=weights, unpack=unpack, **rounded._asdict(), out=out, scratch=scratch
        )

    def _multiply_floats(self, weights: np.ndarray, dot: dots.FloatDot, x: np.ndarray, out: np.ndarray) -> None:
        if len(x) < FEW:
            self._add_product(x, dot.rows, weights=weights, x=x, out=out)
            return
        if (id(x), False) not in self._tiled:
            tiles = self.array(-(-len(x) // dots.TOKENS), x.shape[1] * dots.TOKENS)
            self.add(dots.tiles_float, x=x, tiles=tiles)
            self._tiled[id(x), False] = tiles
        scratch = self._scratch_of(dots.float_scratch_nbytes(x.shape[1]))
        tiles, unpack = self._tiled[id(x), False], dot.unpack.address
        self._add_product(
            tiles, dots.multiply_floats, weights=weights, unpack=unpack, tiles=tiles, out=out, scratch=scratch
        )

    def _multiply_bfloat16(self, weights: np.ndarray, dot: dots.FloatDot, x: np.ndarray, out: np.ndarray) -> None:
        steps = x.shape[1] // dots.BFLOAT16_COLUMNS
        if (id(x), True) not in self._tiled:
            tiles = self.array(-(-len(x) // dots.TOKENS), steps * dots.TOKENS).view(np.int32)
            self.add(dots.tiles_bfloat16, bits=x.view(np.int32), tiles=tiles)
            self._tiled[id(x), True] = tiles
        scratch = self._scratch_of(dots.float_scratch_nbytes(steps))
        tiles, unpack = self._tiled[id(x), True], dots.unpack_bfloat16.address
        self._add_product(
            tiles, dots.multiply_bfloat16, weights=weights, unpack=unpack, tiles=tiles, out=out, scratch=scratch
        )

    def _add_product(self, activations: object, operation: Operation, **arguments: np.ndarray | float) -> None:
        """Append a product, beside the one before if that is of the same activations: no thread then waits between."""
        self.add(operation, **arguments, beside=self._multiplied is activations)
        self._multiplied = activations

    def _scratch_of(self, nbytes: int) -> np.ndarray:
        """Bytes for each thread, the same for all operations that want as many."""
        if nbytes not in self._scratch:
            self._scratch[nbytes] = np.empty((self.threads.count, nbytes), np.uint8)
        return self._scratch[nbytes]

    def _rows(self, x: np.ndarray, dot: dots.Dot) -> Rounded:
        """Rounded once for all products of a scope that take `x` alike."""
        key = id(x), dot.super_block, dot.halved_sums
        if key not in self._rounded:
            count, columns = x.shape
            filled = columns if dot.super_block else -(-columns // 128) * 128
            scales, sums = (columns // 32, columns // 16) if dot.super_block else (filled // 8, filled // 8)
            rounded = Rounded(
                self.array(count, filled // 4).view(np.int8), self.array(count, scales), self.array(count, sums)
            )
            to_rows = dots.rows_super if dot.super_block else dots.rows_small
            self.add(to_rows, x=x, **rounded._asdict(), halved_sums=dot.halved_sums)
            self._rounded[key] = rounded
        return self._rounded[key]

    def _tiles(self, x: np.ndarray, dot: dots.Dot) -> Rounded:
        """The same for many activations."""
        key = id(x), dot.super_block, dot.group, dot.halved_sums
        if key not in self._rounded:
            tiles, columns = -(-len(x) // dots.TOKENS), x.shape[1]
            rounded = Rounded(
                self.array(tiles, columns // 4 * dots.TOKENS).view(np.int32),
                self.array(tiles, columns // 32 * dots.TOKENS),
                self.array(tiles, columns // dot.group * dots.TOKENS),
            )
            to_tiles = dots.tiles_super if dot.super_block else dots.tiles_small
            self.add(to_tiles, x=x, **rounded._asdict(), group=dot.group, halved_sums=dot.halved_sums)
            self._rounded[key] = rounded
        return self._rounded[key]


def apply_part(part: Part, x: np.ndarray, threads: Threads) -> np.ndarray:
    """What a part makes of activations (n, columns) f32, at once."""
    recorder = Recorder(threads)
    out = part.record(recorder, np.ascontiguousarray(x))
    recorder.run()
    return out
