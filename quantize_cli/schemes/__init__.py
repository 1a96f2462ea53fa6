"""Other tools' layouts of quantized weights: one file per scheme, each with one `SCHEME`.

`tensors_of` gives a checkpoint's tensors with the quantized ones under the names that they have as floats.
"""

from quantize_cli.schemes.interface.read import sources, tensors_of

__all__ = ["sources", "tensors_of"]
