"""Write the golden checkpoints of fp8 and mxfp4, as transformers reads them back.

    python -m tests.golden.schemes.make_transformers

It needs transformers (5.24.0 made the files here) and torch; the tests need neither.
"""

from typing import Any

import torch
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from tests.golden.schemes.cases import write

LAYER = "model.layers.0.mlp."
FP8: dict[str, Any] = {"quant_method": "fp8", "activation_scheme": "dynamic"}


def weights_of(name: str, *shape: int) -> torch.Tensor:
    torch.manual_seed(sum(name.encode()))
    return torch.randn(shape) * (0.05 + torch.rand(*shape[:-1], 1))


def read(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    return Fp8Dequantize(None)._dequantize_one(codes, scales, torch.float32)


def fp8(name: str, dtype: torch.dtype, block: tuple[int, int], scales: torch.dtype = torch.float32) -> None:
    weight = weights_of(name, 32, 96)
    height, width = block
    blocks = weight.reshape(32 // height, height, 96 // width, width)
    scale = (blocks.abs().amax((1, 3)) / torch.finfo(dtype).max).to(scales)
    codes = (blocks / scale.float()[:, None, :, None]).reshape(32, 96).to(dtype)
    config = FP8 | {"fmt": "e5m2" if dtype == torch.float8_e5m2 else "e4m3", "weight_block_size": list(block)}
    stored = {f"{LAYER}up_proj.weight": codes, f"{LAYER}up_proj.weight_scale_inv": scale}
    write(f"fp8-{name}", config, stored, {f"{LAYER}up_proj.weight": read(codes, scale)})


def fp8_tensor() -> None:
    weight = weights_of("tensor", 8, 64)
    scale = weight.abs().max() / 448
    codes = (weight / scale).to(torch.float8_e4m3fn)
    stored = {
        f"{LAYER}up_proj.weight": codes,
        f"{LAYER}up_proj.weight_scale_inv": scale,
        f"{LAYER}up_proj.activation_scale": torch.tensor(0.5),
    }
    config = {**FP8, "activation_scheme": "static", "weight_block_size": None}
    write("fp8-tensor", config, stored, {f"{LAYER}up_proj.weight": read(codes, scale.reshape(1, 1))})


def fp4_experts() -> None:
    """Pairs of E2M1 under a power of two for 32, in the files of FP8."""
    torch.manual_seed(4)
    codes = torch.randint(0, 256, (8, 48), dtype=torch.uint8).view(torch.int8)
    scales = torch.randint(110, 130, (8, 3), dtype=torch.uint8)
    names = f"{LAYER}experts.0.up_proj.weight", f"{LAYER}experts.0.up_proj.weight_scale_inv"
    config = {**FP8, "weight_block_size": [128, 128], "scale_fmt": "ue8m0"}
    write("fp8-fp4-experts", config, {names[0]: codes, names[1]: scales}, {names[0]: read(codes, scales)})


def mxfp4() -> None:
    """Stacked experts; the library gives their transpose."""
    torch.manual_seed(5)
    blocks = torch.randint(0, 256, (3, 10, 2, 16), dtype=torch.uint8)
    scales = torch.randint(100, 140, (3, 10, 2), dtype=torch.uint8)
    weights = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32).transpose(1, 2)
    stored = {
        f"{LAYER}experts.gate_up_proj_blocks": blocks,
        f"{LAYER}experts.gate_up_proj_scales": scales,
        f"{LAYER}experts.gate_up_proj_bias": torch.randn(3, 10).bfloat16(),
    }
    config = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    write("mxfp4-experts", config, stored, {f"{LAYER}experts.gate_up_proj.weight": weights})


def main() -> None:
    fp8("blocks", torch.float8_e4m3fn, (16, 32))
    fp8("blocks-bfloat16", torch.float8_e4m3fn, (16, 32), torch.bfloat16)
    fp8("e5m2", torch.float8_e5m2, (16, 32))
    fp8("channel", torch.float8_e4m3fn, (1, 96))
    fp8_tensor()
    fp4_experts()
    mxfp4()


if __name__ == "__main__":
    main()
