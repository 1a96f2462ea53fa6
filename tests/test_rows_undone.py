"""What is made of stored rows when they are read is undone when others take their place."""

import numpy as np
import pytest

from quantize_cli.model.rows import Held, PairedHeads, Scaled, Slab, Source, Transposed, as_stored, innermost

STORED = np.random.default_rng(0).normal(size=(48, 32)).astype(np.float32)
HELD = Held(STORED)
FACTORS = np.linspace(0.5, 2, 48, dtype=np.float32)
SOURCES: dict[str, tuple[Source, int]] = {
    "as it is": (HELD, 48), "slab": (Slab(HELD, 8), 16), "heads": (PairedHeads(HELD, 12), 48),
    "slab of heads": (Slab(PairedHeads(HELD, 12), 12), 24), "heads of a slab": (PairedHeads(Slab(HELD, 8), 8), 40),
    "transposed": (Transposed(HELD, (48, 32)), 32),
    "transposed heads": (PairedHeads(Transposed(HELD, (48, 32)), 8), 32),
    "scaled": (Scaled(HELD, 24, FACTORS, np.stack([FACTORS[:32], 2 * FACTORS[:32]])), 48),
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_rows_that_are_read_stand_where_they_came_from(name: str) -> None:
    source, count = SOURCES[name]
    first, rows = as_stored(source, source.rows(0, count))
    assert innermost(source) is HELD
    assert np.allclose(rows, STORED[first : first + len(rows)], rtol=1e-6)
    assert rows.size == count * source.rows(0, 1).shape[1]


def test_the_elements_of_a_vector_too() -> None:
    source = PairedHeads(Held(STORED[:1]), 8, is_vector=True)
    assert np.array_equal(as_stored(source, source.rows(0, 1))[1], STORED[:1])


@pytest.mark.parametrize(
    ("source", "count"), [(Slab(Transposed(HELD, (48, 32)), 4), 8), (Slab(PairedHeads(HELD, 12), 6), 12)]
)
def test_what_is_no_whole_rows_is_refused(source: Source, count: int) -> None:
    with pytest.raises(ValueError, match="are no whole"):
        as_stored(source, source.rows(0, count))
