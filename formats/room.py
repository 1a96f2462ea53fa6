"""How much memory what a file says may take: little for a small file, a few times its size for a large one."""

from quantize_cli.formats.errors import FormatError

FREE_NBYTES = 64 << 20
"""What any file may take, small as it is."""
TIMES = 4
"""What it may take more, as a multiple of its size."""
TENSOR_MEMORY_NBYTES = 8000
"""A tensor described and planned for: its name, shape, place, reason, and the line that shows it."""


def room_for(size: int) -> int:
    """Bytes of memory that may be taken for a file of `size` bytes."""
    return FREE_NBYTES + TIMES * size


def refuse_crowd(source: str, count: int, what: str, each_nbytes: int, size: int) -> None:
    """FormatError for more things than a file of `size` bytes may bring, each taking `each_nbytes` of memory.

    A description takes many times more memory than the bytes that spell it, so a file could be made of nothing else.
    No model is: its weights are larger than its descriptions.
    """
    most = room_for(size) // each_nbytes
    if count > most:
        raise FormatError(f"{source}{count} {what} in a file of {size} bytes, at most {most} are read")
