"""The bytes ggml once wrote stay the bytes we write, with no oracle at hand."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.formats.ggml import GgmlType

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "quants"
TYPES = [type_ for type_ in quants.supported() if type_ is not GgmlType.F32]


@pytest.mark.parametrize("type_", TYPES, ids=lambda t: t.name)
def test_bytes_are_the_golden_ones(type_: GgmlType) -> None:
    with np.load(FOLDER / f"{type_.name.lower()}.npz") as golden:
        weights, importance = golden["weights"], golden["importance"]
        assert str(golden["oracle"]).startswith("xllamacpp ")
        if not quants.find(type_).needs_importance:
            np.testing.assert_array_equal(quants.encode(type_, weights).reshape(-1), golden["blocks"].reshape(-1))
        weighted = quants.encode(type_, weights, importance)
        np.testing.assert_array_equal(weighted.reshape(-1), golden["weighted_blocks"].reshape(-1))
