"""How much memory what a file says may take: little for a small file, a few times its size for a large one."""

from quantize_cli.formats.errors import FormatError

BASE_MEMORY_NBYTES = 64 << 20
"""What any file may take, small as it is."""
MEMORY_PER_BYTE = 4
"""What it may take more, as a multiple of its size."""
TENSOR_MEMORY_NBYTES = 8000
"""A tensor described and planned for: its name, shape, place, reason, and the line that shows it."""


def allowed_memory(size: int) -> int:
    """Bytes of memory that may be taken for a file of `size` bytes."""
    return BASE_MEMORY_NBYTES + MEMORY_PER_BYTE * size


def refuse_too_many(source: str, count: int, what: str, each_nbytes: int, size: int) -> None:
    """FormatError for more things than a file of `size` bytes may bring, each taking `each_nbytes` of memory.

    A description takes many times more memory than the bytes that spell it, so a file could be made of nothing else.
    No model is: its weights are larger than its descriptions.
    """
    most = allowed_memory(size) // each_nbytes
    if count > most:
        raise FormatError(f"{source}{count} {what} in a file of {size} bytes, at most {most} are read")
