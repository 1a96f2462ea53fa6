from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.stored import StoredTensor


@pytest.mark.parametrize(
    ("dtype", "element"), [("F32", "<f4"), ("F16", "<f2"), ("BF16", ml_dtypes.bfloat16), ("F8_E4M3", "u1")]
)
def test_rows_are_those_of_the_whole(tmp_path: Path, dtype: str, element: str) -> None:
    whole = np.arange(30, dtype=np.uint8).astype(np.float32).astype(element).reshape(2, 5, 3)
    path = tmp_path / "file"
    path.write_bytes(b"skipped" + whole.tobytes())
    stored = StoredTensor("x", whole.shape, dtype, path, 7, whole.nbytes, whole.dtype)
    assert stored.row_count == 10
    assert np.array_equal(stored.rows(3, 8), whole.reshape(10, 3)[3:8])
    assert stored.rows(4, 4).shape == (0, 3)


def test_file_cut_short_is_refused_with_both_sizes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10))
    stored = StoredTensor("a\nb", (2, 2), "F32", path, 0, 16, np.dtype("<f4"))
    with pytest.raises(FormatError, match=r"tensor 'a\\nb' needs 16 bytes at 0, the file ends after 10"):
        stored.rows(0, 2)


def test_rows_without_elements_are_no_rows(tmp_path: Path) -> None:
    stored = StoredTensor("x", (1 << 60, 0), "F32", tmp_path / "file", 0, 0, np.dtype("<f4"))
    assert stored.row_count == 0
    assert stored.rows(0, 0).shape == (0, 0)
