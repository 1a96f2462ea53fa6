"""What is made of stored rows when they are read is undone when others take their place."""

import numpy as np
import pytest

from quantize_cli.model.changed_rows import Scaled, Shifted
from quantize_cli.model.rows import PairedHeads, Slab, Transposed, Ungrouped
from quantize_cli.model.sources import Held, Source, as_stored, innermost

STORED = np.random.default_rng(0).normal(size=(48, 32)).astype(np.float32)
HELD = Held(STORED)
FACTORS = np.linspace(0.5, 2, 48, dtype=np.float32)
SOURCES: dict[str, tuple[Source, int]] = {
    "as it is": (HELD, 48), "slab": (Slab(HELD, 8), 16), "heads": (PairedHeads(HELD, 12), 48),
    "slab of heads": (Slab(PairedHeads(HELD, 12), 12), 24), "heads of a slab": (PairedHeads(Slab(HELD, 8), 8), 40),
    "transposed": (Transposed(HELD, (48, 32)), 32),
    "transposed heads": (PairedHeads(Transposed(HELD, (48, 32)), 8), 32),
    "scaled": (Scaled(HELD, 24, FACTORS, np.stack([FACTORS[:32], 2 * FACTORS[:32]])), 48),
    "shifted": (Shifted(HELD, 1.0), 48), "groups": (Ungrouped(HELD, 3, 2, 4), 48),
    "groups of one": (Ungrouped(HELD, 4, 1, 4), 48),
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_rows_that_are_read_stand_where_they_came_from(name: str) -> None:
    source, count = SOURCES[name]
    first, rows = as_stored(source, source.rows(0, count))
    assert innermost(source) is HELD
    assert np.allclose(rows, STORED[first : first + len(rows)], rtol=1e-6, atol=2e-7)  # a sum may round small terms
    assert rows.size == count * source.rows(0, 1).shape[1]


def test_the_elements_of_a_vector_too() -> None:
    source = PairedHeads(Held(STORED[:1]), 8, is_vector=True)
    assert np.array_equal(as_stored(source, source.rows(0, 1))[1], STORED[:1])


def test_groups_of_heads_become_all_queries_all_keys_all_values() -> None:
    """Stored are three groups of two heads of queries, one of keys and one of values, of four rows each."""
    stored = HELD.values.reshape(3, 4, 4, 32)
    expected = np.concatenate([part.reshape(-1, 32) for part in (stored[:, :2], stored[:, 2], stored[:, 3])])
    source = Ungrouped(HELD, 3, 2, 4)
    assert np.array_equal(source.rows(0, 48), expected)
    assert all(np.array_equal(source.rows(start, start + 7), expected[start : start + 7]) for start in range(41))
    vector = Ungrouped(Held(STORED[:, 0][None].copy()), 3, 2, 4, is_vector=True)
    assert np.array_equal(vector.rows(0, 1)[0], expected[:, 0])
    assert np.array_equal(as_stored(vector, vector.rows(0, 1))[1][0], STORED[:, 0])


@pytest.mark.parametrize(
    ("source", "count"), [(Slab(Transposed(HELD, (48, 32)), 4), 8), (Slab(PairedHeads(HELD, 12), 6), 12)]
)
def test_what_is_no_whole_rows_is_refused(source: Source, count: int) -> None:
    with pytest.raises(ValueError, match="are no whole"):
        as_stored(source, source.rows(0, count))
