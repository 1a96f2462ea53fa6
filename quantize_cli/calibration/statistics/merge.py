"""Adds importance matrices of the same model to each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np

from quantize_cli.calibration.statistics.collector import OUTPUT, Shapes
from quantize_cli.errors import InputError
from quantize_cli.formats.imatrix import Entry, ImportanceFile, read_imatrix, to_file_precision
from quantize_cli.formats.quoted import quoted


@dataclass(frozen=True)
class FileToMerge:
    """A file to add, whose entries have the names and shapes of the model."""

    path: Path
    file: ImportanceFile
    entries: dict[str, Entry]
    context: int
    """Tokens of its chunks; 0 where that is not known."""


def open_to_merge(path: Path, shapes: Shapes, context: int) -> FileToMerge:
    """The file at `path`, as sums; InputError naming the first entry that does not fit the model.

    The older format holds means of chunks, which are taken to be of `context` tokens as llama-imatrix takes them.
    """
    file = read_imatrix(path)
    if file.counts_chunks:
        return FileToMerge(path, file, fit_shapes(path, file, shapes, context), context)
    return FileToMerge(path, file, fit_shapes(path, file, shapes), file.context)


def fit_shapes(path: Path, file: ImportanceFile, shapes: Shapes, scale: int = 1) -> dict[str, Entry]:
    """The entries in the shapes of the model, sums and counts times `scale`; InputError where they do not fit."""
    for name in sorted(set(shapes) ^ set(file.entries)):
        lacks, has = ("no entry", "one") if name in shapes else ("an entry", "none")
        raise InputError(
            f"{path}: has {lacks} for {quoted(name)}, this run has {has}",
            hint="it is collected with --process-output" if name == OUTPUT else None,
        )
    return {name: _reshaped(path, name, file.entries[name], shape, scale) for name, shape in shapes.items()}


def _reshaped(path: Path, name: str, entry: Entry, shape: tuple[int, int], scale: int) -> Entry:
    """One count stands for all matrices of a stack, which older files have in one row."""
    matrices, columns = shape
    if entry.squares.size != matrices * columns or entry.counts.size not in (1, matrices):
        raise InputError(
            f"{path}: {entry.squares.size} values and {entry.counts.size} counts for {quoted(name)}, "
            f"which has {matrices} x {columns} columns",
            hint="the importance matrix was made from another model",
        )
    return Entry(
        entry.squares.reshape(shape) * scale,
        np.broadcast_to(entry.counts * scale, (matrices,)).copy(),
        None if entry.sums is None else entry.sums.reshape(shape) * scale,
    )


def merged(own: ImportanceFile, others: Sequence[FileToMerge]) -> ImportanceFile:
    """The sums and counts of all. Means are kept if all have them; where a run of it could go on is not known.

    The number of chunks is that of all, and their size what all agree on, or else 0: not known. llama-imatrix states
    the size it would read a text in, whatever it adds, and how often that goes into the counts; who reads its files
    asks for nothing but the number.
    """
    entries, datasets = dict(own.entries), list[str]()
    for other in others:
        entries = {name: _sum(entry, other.entries[name]) for name, entry in entries.items()}
        datasets += map(file_name, other.file.datasets)
    sizes = {other.context for other in others} | ({own.context} if own.chunks else set())
    chunks = own.chunks + sum(other.file.chunks for other in others)
    return ImportanceFile(entries, (*datasets, *own.datasets), chunks, sizes.pop() if len(sizes) == 1 else 0)


def _sum(one: Entry, other: Entry) -> Entry:
    both = one.sums is not None and other.sums is not None
    sums = to_file_precision(one.sums + other.sums) if both else None  # type: ignore[operator]
    return Entry(to_file_precision(one.squares + other.squares), one.counts + other.counts, sums)


def file_name(path: str) -> str:
    """The last part of a path of any system: what lies on whose disk is nobody's business."""
    return PureWindowsPath(path).name  # which splits at / and \
