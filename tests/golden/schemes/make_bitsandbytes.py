"""Write the golden checkpoints of bitsandbytes, quantized and read back by the library of that name.

    python -m tests.golden.schemes.make_bitsandbytes

It needs bitsandbytes (0.50.2 made the files here) and torch; the tests need neither. The rows hold whole blocks: where
blocks begin within a row, the library's kernel for CPUs gives other numbers than its own formula in Python.
"""

import torch
from bitsandbytes import functional

from tests.golden.schemes.cases import write

LAYER = "model.layers.0.mlp.down_proj"
CONFIG = {"quant_method": "bitsandbytes"}


def weights(seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.randn(64, 128) * (1 + torch.arange(64.0)[:, None] / 8)


def four_bits(name: str, kind: str, nested: bool, storage: torch.dtype = torch.uint8) -> None:
    codes, state = functional.quantize_4bit(
        weights(len(name)), blocksize=64, quant_type=kind, compress_statistics=nested, quant_storage=storage
    )
    stored = {f"{LAYER}.weight": codes}
    stored |= {f"{LAYER}.weight.{key}": value for key, value in state.as_dict(packed=True).items()}
    expected = functional.dequantize_4bit(codes, state)
    config = {**CONFIG, "load_in_4bit": True, "bnb_4bit_quant_type": kind, "bnb_4bit_use_double_quant": nested}
    write(f"bitsandbytes-{name}", config, stored, {f"{LAYER}.weight": expected})


def eight_bits() -> None:
    codes, magnitudes, _ = functional.int8_vectorwise_quant(weights(8).half())
    stored = {f"{LAYER}.weight": codes, f"{LAYER}.SCB": magnitudes}
    stored[f"{LAYER}.weight_format"] = torch.tensor(0, dtype=torch.uint8)
    expected = functional.int8_vectorwise_dequant(codes, magnitudes)
    write("bitsandbytes-int8", {**CONFIG, "load_in_8bit": True}, stored, {f"{LAYER}.weight": expected})


def main() -> None:
    for kind in ("nf4", "fp4"):
        four_bits(kind, kind, nested=False)
        four_bits(f"{kind}-nested", kind, nested=True)
    four_bits("nf4-as-bf16", "nf4", nested=True, storage=torch.bfloat16)
    eight_bits()


if __name__ == "__main__":
    main()
