"""Which methods a conversion goes through, in which order: at most one decides the codes, others prepare for it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from quantize_cli import plugins, quants
from quantize_cli.calibration.rounding import better_search
from quantize_cli.calibration.runner import sequence
from quantize_cli.calibration.runner.method import Method
from quantize_cli.errors import UsageError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import Model

DEFAULT, IMPORTANCE = "gptq", "imatrix"
"""The default method with a text, and the one after methods that only prepare the model."""
_TEXT_HINT = "--calibrate FILE, a text such as the model was trained on"


@dataclass(frozen=True)
class Methods:
    """The methods of a conversion by name."""

    folding: tuple[str, ...] = ()
    """These prepare the model, one after the other."""
    rounding: str | None = None
    """This one decides the codes; None for the reference's way without importance."""
    best: bool = False
    """Whether what the reference chooses is improved by the better search."""

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.folding, *((self.rounding,) if self.rounding else ()))

    @property
    def spelled(self) -> str:
        """As a person would say it: `awq, gptq`, `imatrix, best`, or `none`."""
        return ", ".join([*self.names, *(["best"] if self.best else [])]) or "none"

    @property
    def is_sequential(self) -> bool:
        """Whether matrices are rounded one after the other, for what the ones before them give."""
        return self._rounding.round_rows is not None

    @property
    def _rounding(self) -> Method:
        return Method() if self.rounding is None else find(self.rounding)

    def fold(
        self, model: Model, chunks: np.ndarray, types: Mapping[str, GgmlType], report: Callable[[int], None]
    ) -> Model:
        """The model as the methods that prepare it leave it; `report` is called after each layer."""
        for name in self.folding:
            fold = find(name).fold
            assert fold is not None
            model = fold(model, chunks, types, report)
        return model

    def encode(self, type_: GgmlType, weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
        """Rows of weights (rows, columns) f32 on their own -> rows of a file, (rows, row bytes) u8."""
        if self._rounding.encode is not None:
            return self._rounding.encode(type_, weights, importance)
        return (better_search.encode if self.best else quants.encode)(type_, weights, importance)

    def sequence(
        self, model: Model, types: Mapping[str, GgmlType], chunks: np.ndarray, threads: int
    ) -> tuple[Callable[[], Iterator[sequence.Rounded]], dict[str, tuple[int, ...]]]:
        """What gives the tensors of `types`, rounded; nothing is rounded before it is called.

        Then, by name, it puts the experts that the text never reached into the dictionary.
        """
        assert self._rounding.round_rows is not None
        job = sequence.SequenceJob(model, types, chunks, self._rounding.round_rows, threads)
        return partial(sequence.rounded, job), job.experts_without_tokens

    def rounder(self, second: np.ndarray, threads: int) -> Callable[[GgmlType, np.ndarray], np.ndarray]:
        """What rounds weights as the sequence does, for inputs with second moments (columns, columns)."""
        assert self._rounding.round_rows is not None
        return sequence.rounder(self._rounding.round_rows, second, threads)


def find(name: str) -> Method:
    """The method of that name; InputError when there is none."""
    method: Method = plugins.load("calibration", name).METHOD
    return method


def choose(names: Sequence[str], has_text: bool, has_importance: bool, best: bool) -> Methods:
    """The methods asked for by name; UsageError for what is unknown, lacks a text, or does not go together."""
    known = plugins.names("calibration")
    for number, name in enumerate(names):
        if name not in known:
            raise UsageError(f"--method {name}: not known", hint="known: " + ", ".join(known))
        if name in names[:number]:
            raise UsageError(f"--method {name} is given twice")
    _refuse_misuse(names, has_text, has_importance)
    if best:
        _refuse_best(names)
    folding = tuple(name for name in names if find(name).fold)
    rounding = [name for name in names if name not in folding]
    if not rounding and (has_text or has_importance):
        rounding = [IMPORTANCE if folding or has_importance or best else DEFAULT]
    return Methods(folding, rounding[0] if rounding else None, best)


def _refuse_misuse(names: Sequence[str], has_text: bool, has_importance: bool) -> None:
    if has_text and has_importance:
        raise UsageError("--imatrix and --calibrate both say what errors cost", hint="give one of them")
    rounding = [name for name in names if not find(name).fold]
    if len(rounding) > 1:
        raise UsageError(f"--method {rounding[0]} and {rounding[1]} both decide the codes", hint="give one of them")
    for name in names:
        method = find(name)
        if not has_text and not method.encode and not (has_importance and method.importance):
            raise UsageError(f"--method {name}: needs a text", hint=_TEXT_HINT)
    if has_text and len(names) == 1 and find(names[0]).encode:
        raise UsageError(f"--method {names[0]}: makes no use of a text", hint="leave --calibrate out")


def _refuse_best(names: Sequence[str]) -> None:
    """The better search improves what the reference chooses; other methods choose by themselves."""
    for name in names:
        if not find(name).importance and not find(name).fold:
            raise UsageError(f"--method {name}: does not choose as --search best would", hint="give one of them")


covered = sequence.covered
ERROR_FEEDBACK_TYPES = tuple(
    GgmlType[name]
    for name in (
        "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "Q2_K", "IQ3_XXS", "IQ3_S", "Q3_K", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K",
        "Q8_0",
    )
)  # fmt: skip
"""Types in which errors are carried from weight to weight, each the best of its size somewhere."""


def sequential_tensors(model: Model, methods: Methods) -> frozenset[str]:
    """Names of tensors that a sequence can round in any type, as it knows what they multiply."""
    if not methods.is_sequential:
        return frozenset()
    return frozenset(sequence.covered(model, {tensor.name: GgmlType.Q8_0 for tensor in model.tensors}))
