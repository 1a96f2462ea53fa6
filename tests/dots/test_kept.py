"""Types made by one factory do not share their machine code on disk, and each finds its own again."""

import subprocess
import sys

from quantize_cli import dots, plugins
from quantize_cli.dots.interface.dot import offsets
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.kernel import _identity
from quantize_cli.quants.q5_1 import BLOCK


def names() -> list[str]:
    """What the products of every type are kept under, but for the processor."""
    found = [dots.find(GgmlType[name.upper()]) for name in plugins.names("dots")]
    return [repr(_identity(callback._function)) for dot in found if dot for callback in (dot.rows, dot.unpack)]


def test_no_two_types_share_a_kernel() -> None:
    assert len(set(names())) == 2 * len(plugins.names("dots"))


def test_a_kernel_has_the_same_name_in_every_process() -> None:
    script = "from tests.dots.test_kept import names; print(names())"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == str(names())


def test_offsets_are_those_of_the_block() -> None:
    assert offsets(BLOCK)._asdict() == {"scale": 0, "minimum": 2, "fifth_bits": 4, "nibbles": 8}
