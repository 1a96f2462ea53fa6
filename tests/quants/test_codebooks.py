"""Codebooks: what they hold, what they list, and what the types that use them refuse."""

import faulthandler
import os
from types import ModuleType

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType
from quantize_cli.quants import iq2_s, iq2_xs, iq2_xxs, iq3_s, iq3_xxs
from quantize_cli.quants.codebooks import codebook
from quantize_cli.quants.search import spans
from tests import distributions, naive_iq, oracle
from tests.golden.quants import codebooks

TYPES = [GgmlType[name] for name in naive_iq.TWINS]
SHELLS = {"iq1": 3, "iq2_xxs": 2, "iq2_xs": 2, "iq2_s": 1, "iq3_xxs": 2, "iq3_s": 3}


@pytest.mark.parametrize("name", SHELLS)
def test_codebook_is_that_of_ggml(name: str) -> None:
    type_, points, length = codebooks.BOOKS[name]
    np.testing.assert_array_equal(np.load(codebooks.FOLDER / f"{name}.npy"), codebooks.read(type_, points, length))


@pytest.mark.parametrize("name", SHELLS)
def test_lists_are_the_nearest_points_in_order(name: str) -> None:
    book = codebook.load(name, SHELLS[name])
    length, levels = book.codes.shape[1], 8 if name.startswith("iq3") else 3
    mask = 7 if levels == 8 else 3
    for combination in np.random.default_rng(7).integers(0, len(book.entries), 300):
        run = tuple(int(combination) // levels**i % levels for i in range(length))
        expected = naive_iq.candidates(name, SHELLS[name], run)
        first, rows = divmod(int(book.entries[combination]), 256)
        listed = book.rows[first : first + max(rows, 1)].reshape(-1)[: len(expected)]
        assert [tuple(int(word) >> 4 * i & mask for i in range(length)) for word in listed] == expected
        assert (rows == 0) == (book.number[combination] >= 0) == (listed[0] >= 0)


@pytest.mark.parametrize("name", SHELLS)
def test_spare_places_follow_the_candidates_of_a_list(name: str) -> None:
    book = codebook.load(name, SHELLS[name])
    length, levels = book.codes.shape[1], 8 if name.startswith("iq3") else 3
    for combination in np.flatnonzero(book.number < 0)[::97]:
        run = tuple(int(combination) // levels**i % levels for i in range(length))
        rows = int(book.entries[combination]) & 255
        assert 8 * rows - int(book.spare[combination]) == len(naive_iq.candidates(name, SHELLS[name], run))


@pytest.mark.parametrize("name", [name for name in SHELLS if name != "iq1"])
def test_the_longest_list_has_room_in_a_search(name: str) -> None:
    book = codebook.load(name, SHELLS[name])
    longest = int((book.entries & 255).max())
    assert longest <= (spans.LONGEST_FOURS if book.codes.shape[1] == 4 else spans.LONGEST)


@pytest.mark.parametrize("search", [iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s], ids=lambda m: m.__name__.split(".")[-1])
def test_every_range_of_a_search_has_room(search: ModuleType) -> None:
    assert 16 * (2 * search._SEARCH.reach + 1) <= spans.TASKS


@pytest.mark.parametrize("type_", [t for t in TYPES if quants.find(t).needs_importance], ids=lambda t: t.name)
def test_a_type_that_needs_importance_is_refused_without(type_: GgmlType) -> None:
    with pytest.raises(InputError, match=f"{type_.name.lower()} needs an importance matrix"):
        quants.encode(type_, distributions.weights("normal", 1 << 12))


@pytest.mark.skipif(
    not hasattr(os, "fork"), reason="ggml stops the process that asks too much of it: a child is needed"
)
@pytest.mark.parametrize("kind", distributions.OVERFLOWING)
@pytest.mark.parametrize("type_", TYPES, ids=lambda t: t.name)
def test_what_makes_ggml_stop_is_refused(type_: GgmlType, kind: str) -> None:
    weights, importance = distributions.weights(kind, 1 << 14), distributions.importance("random")
    expected = _quantized_in_a_child(type_, weights, importance)
    if expected is None:
        with pytest.raises(InputError, match="overflow float32"):
            quants.encode(type_, weights, importance)
    else:
        np.testing.assert_array_equal(quants.encode(type_, weights, importance).reshape(-1), expected)


def _quantized_in_a_child(type_: GgmlType, weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray | None:
    """What ggml makes of the weights, or None where it stops."""
    oracle.library()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(oracle.quantize(type_, weights, importance).tobytes())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        stored = pipe.read()
    if os.waitpid(child, 0)[1] != 0:
        return None
    assert len(stored) == weights.size // 256 * BLOCK_SHAPE[type_].nbytes
    return np.frombuffer(stored, np.uint8)
