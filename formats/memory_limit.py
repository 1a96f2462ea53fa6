"""How much memory a parsed header may take: 64 MiB for any file, and a few times the size of a large one."""

from quantize_cli.formats.errors import FormatError

BASE_MEMORY_NBYTES = 64 << 20
"""For any file, however small."""
MEMORY_PER_BYTE = 4
"""Besides, for each byte of the file."""
TENSOR_MEMORY_NBYTES = 8000
"""A tensor's description and step: name, shape, offset, reason, and the line that prints it."""


def allowed_memory(size: int) -> int:
    """Bytes of memory that a file of `size` bytes may take."""
    return BASE_MEMORY_NBYTES + MEMORY_PER_BYTE * size


def refuse_too_many(source: str, count: int, what: str, each_nbytes: int, size: int) -> None:
    """FormatError for more items than a file of `size` bytes may hold, each of which takes `each_nbytes` of memory.

    A description takes many times the memory of its stored bytes, and a hostile file could hold nothing else. A
    model's weights are larger than its descriptions.
    """
    most = allowed_memory(size) // each_nbytes
    if count > most:
        raise FormatError(f"{source}{count} {what} in a file of {size} bytes, at most {most} are read")
