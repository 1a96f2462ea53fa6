"""Write the golden checkpoints of compressed-tensors, compressed and read back by the library of that name.

    python -m tests.golden.schemes.make_compressed_tensors

It needs compressed-tensors (0.20.0 made the files here) and torch; the tests need neither. The library computes in the
dtype of the scales, so the expected weights are read back with the scales as float32, and are then compared with what
it gives by itself, after rounding.
"""

from typing import Any

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import dequantize

from tests.golden.schemes.cases import write

LAYER = "model.layers.0."
INT = {"type": "int", "symmetric": True}
FLOAT = {"type": "float", "symmetric": True}
GROUPS_OF_32 = {"strategy": "group", "group_size": 32}
PACK, FP8, NVFP4 = "pack-quantized", "float-quantized", "nvfp4-pack-quantized"

CASES: dict[str, tuple[str, dict[str, Any], tuple[int, int], torch.dtype]] = {
    "pack-4-bits": (PACK, {**INT, "num_bits": 4, **GROUPS_OF_32}, (8, 128), torch.float16),
    "pack-4-bits-zeros": (PACK, {**INT, "symmetric": False, "num_bits": 4, **GROUPS_OF_32}, (12, 64), torch.bfloat16),
    "pack-3-bits-zeros": (PACK, {**INT, "symmetric": False, "num_bits": 3, **GROUPS_OF_32}, (11, 96), torch.bfloat16),
    "pack-5-bits-channel": (PACK, {**INT, "num_bits": 5, "strategy": "channel"}, (6, 50), torch.float32),
    "pack-2-bits": (PACK, {**INT, "num_bits": 2, **GROUPS_OF_32}, (8, 64), torch.float16),
    "pack-8-bits": (PACK, {**INT, "num_bits": 8, "strategy": "channel"}, (8, 64), torch.float16),
    "int-channel": ("int-quantized", {**INT, "num_bits": 8, "strategy": "channel"}, (8, 64), torch.float16),
    "int-tensor": ("int-quantized", {**INT, "num_bits": 8, "strategy": "tensor"}, (8, 64), torch.float32),
    "int-group": ("int-quantized", {**INT, "num_bits": 8, **GROUPS_OF_32}, (8, 64), torch.bfloat16),
    "float-channel": (FP8, {**FLOAT, "num_bits": 8, "strategy": "channel"}, (8, 64), torch.bfloat16),
    "float-tensor": (FP8, {**FLOAT, "num_bits": 8, "strategy": "tensor"}, (8, 64), torch.float32),
    "float-block": (
        FP8, {**FLOAT, "num_bits": 8, "strategy": "block", "block_structure": [16, 32]}, (40, 80), torch.float32,
    ),
    "naive": ("naive-quantized", {**FLOAT, "num_bits": 8, "strategy": "channel"}, (8, 64), torch.bfloat16),
    "nvfp4": (NVFP4, {**FLOAT, "num_bits": 4, "strategy": "tensor_group", "group_size": 16}, (8, 128), torch.float32),
    "mxfp4": ("mxfp4-pack-quantized", {**FLOAT, "num_bits": 4, **GROUPS_OF_32}, (8, 128), torch.float32),
    "mxfp8": (
        "mxfp8-quantized", {**FLOAT, "num_bits": 8, **GROUPS_OF_32, "scale_dtype": "torch.uint8"}, (8, 64),
        torch.float32,
    ),
}  # fmt: skip
"""The name of each case: its format, the weights' arguments, the matrix, and the dtype of scales."""


def weights_of(name: str, shape: tuple[int, int]) -> torch.Tensor:
    torch.manual_seed(sum(name.encode()))
    return torch.randn(shape) * (0.05 + torch.rand(shape[0], 1))


def parameters(weight: torch.Tensor, args: QuantizationArgs, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Scales and zero points of the smallest and largest weight that share them, as compressors are given them."""
    rows, columns = weight.shape
    height, width = {
        "tensor": (rows, columns), "channel": (1, columns), "block": tuple(args.block_structure or ()),
    }.get(args.strategy, (1, args.group_size))  # fmt: skip
    padded = torch.nn.functional.pad(weight, (0, -columns % width, 0, -rows % height))
    blocks = padded.unflatten(1, (-1, width)).unflatten(0, (-1, height))
    lowest, highest = blocks.amin((1, 3)).clamp(max=0), blocks.amax((1, 3)).clamp(min=0)
    largest = torch.maximum(highest, -lowest)
    if args.num_bits == 4 and args.type == "float" and args.group_size == 16:
        outer = (448 * 6 / largest.max()).reshape(1)
        return {"weight_scale": (largest / 6 * outer).to(torch.float8_e4m3fn).float(), "weight_global_scale": outer}
    if args.type == "float" and args.group_size == 32:
        return {"weight_scale": torch.exp2(torch.floor(torch.log2(largest)) - (2 if args.num_bits == 4 else 8))}
    if args.type == "float":
        scale = (largest / 448).to(dtype)
    elif args.symmetric:
        scale = (largest / (2 ** (args.num_bits - 1) - 0.5)).to(dtype)
    else:
        scale = ((highest - lowest) / (2**args.num_bits - 1)).to(dtype)
        zero = torch.round(-(2 ** (args.num_bits - 1)) - lowest / scale.float())
        limit = 2 ** (args.num_bits - 1)
        return {"weight_scale": scale, "weight_zero_point": zero.clamp(-limit, limit - 1).to(torch.int8)}
    return {"weight_scale": scale.reshape(1) if args.strategy == "tensor" else scale}


def compressed(
    name: str, format_: str, arguments: dict[str, Any], shape: tuple[int, int], dtype: torch.dtype
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The tensors of one linear layer, and its weights as the library reads them back, in float32."""
    args = QuantizationArgs(**arguments)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    compressor = BaseCompressor.get_value_from_registry(format_)
    weight = weights_of(name, shape)
    stored = compressor.compress({"weight": weight, **parameters(weight, args, dtype)}, scheme)
    own = compressor.decompress(stored, scheme)["weight"]
    if format_ == NVFP4:
        codes = unpack_fp4_from_uint8(stored["weight_packed"], *shape, dtype=torch.float32)
        exact = dequantize(codes, stored["weight_scale"].float(), args=args, global_scale=stored["weight_global_scale"])
    else:
        wide = {key: value.float() if value.dtype.itemsize > 1 and value.is_floating_point() else value
                for key, value in stored.items()}  # fmt: skip
        exact = compressor.decompress(wide, scheme)["weight"].float()
    assert torch.equal(exact.to(own.dtype), own), name
    return stored, exact


def config(groups: dict[str, Any], format_: str) -> dict[str, Any]:
    return {
        "quant_method": "compressed-tensors", "format": format_, "quantization_status": "compressed",
        "ignore": ["lm_head"], "kv_cache_scheme": None, "config_groups": groups, "version": "0.20.0",
    }  # fmt: skip


def group(targets: list[str], arguments: dict[str, Any], format_: str) -> dict[str, Any]:
    return {
        "targets": targets, "weights": {**arguments, "dynamic": False}, "format": format_,
        "input_activations": None, "output_activations": None,
    }  # fmt: skip


def mixed() -> None:
    """FP8 attention beside NVFP4 and four bits, chosen by a class, a regex and a name."""
    choice = {"self_attn.q_proj": "float-channel", "mlp.up_proj": "nvfp4", "mlp.down_proj": "pack-4-bits"}
    stored, expected = {"lm_head.weight": torch.randn(4, 64).bfloat16()}, {}
    for module, name in choice.items():
        tensors, weight = compressed(name, *CASES[name])
        stored |= {f"{LAYER}{module}.{key}": value for key, value in tensors.items()}
        expected[f"{LAYER}{module}.weight"] = weight
    targets = [["re:.*self_attn.*"], ["Linear"], [f"{LAYER}mlp.down_proj"]]
    groups = {
        f"group_{number}": group(names, CASES[name][1], CASES[name][0])
        for number, (names, name) in enumerate(zip(targets, choice.values(), strict=True))
    }
    write("compressed-tensors-mixed", config(groups, "mixed-precision"), stored, expected)


def main() -> None:
    for name, (format_, arguments, shape, dtype) in CASES.items():
        tensors, weight = compressed(name, format_, arguments, shape, dtype)
        stored = {f"{LAYER}mlp.down_proj.{key}": value for key, value in tensors.items()}
        groups = {"group_0": group(["Linear"], arguments, format_)}
        write(f"compressed-tensors-{name}", config(groups, format_), stored, {f"{LAYER}mlp.down_proj.weight": weight})
    mixed()


if __name__ == "__main__":
    main()
