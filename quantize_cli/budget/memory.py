"""How much memory a model takes while it runs, besides its file: estimated as llama.cpp allocates it.

    cache      2 bytes for each key and value of each layer and position (f16)
    buffers    activations of 512 tokens that are read at once, f32: logits, and a layer's widest parts
    program    64 MB

A layer with a window is counted as if it saw everything; weights that a GPU or a second process takes are not counted.
"""

from dataclasses import dataclass

from quantize_cli.runtime.hyperparameters import HasMetadata, read_hyperparameters

_READ_AT_ONCE = 512
_PROGRAM = 64_000_000


@dataclass(frozen=True)
class Memory:
    """Bytes besides the file, and what they were counted for."""

    context: int
    cache: int
    buffers: int
    program: int = _PROGRAM

    @property
    def nbytes(self) -> int:
        return self.cache + self.buffers + self.program


def memory_besides_file(model: HasMetadata, context: int | None = None) -> Memory:
    """What `model` takes besides its file at a context of so many tokens, else at all that it was trained on.

    InputError for a model that the runtime does not know.
    """
    sizes = read_hyperparameters(model)
    context = context or sizes.context
    cache = 2 * 2 * context * sizes.layers * sizes.key_value_heads * sizes.head_width
    vocabulary = next((tensor.row_count for tensor in model.tensors if tensor.name == "token_embd.weight"), 0)
    inner = sizes.feed_forward if sizes.mixing is None else sizes.mixing.used * sizes.mixing.feed_forward
    columns = vocabulary + 4 * sizes.width + 2 * inner
    return Memory(context, cache, 4 * min(_READ_AT_ONCE, context) * columns)
