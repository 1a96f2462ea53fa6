"""Write the golden checkpoints of torchao, quantized, flattened and read back by the library of that name.

    python -m tests.golden.schemes.make_torchao

It needs torchao (0.18.0 made the files here) and torch; the tests need neither. What the library reads back is
rounded to the dtype that the model had, so the model is float32 here. `Int4Tensor` is written by the formula of the
kernels that it is for, which do not run on a CPU.
"""

from typing import Any

import torch
from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
from torchao.quantization import (
    Float8WeightOnlyConfig,
    Int4Tensor,
    Int8WeightOnlyConfig,
    IntxWeightOnlyConfig,
    MappingType,
    PerAxis,
    PerGroup,
    PerTensor,
    quantize_,
)
from torchao.quantization.quantize_.workflows.float8.float8_tensor import Float8Tensor

from tests.golden.schemes.cases import write

LAYER = "model.layers.0.mlp.down_proj"
ASYMMETRIC = MappingType.ASYMMETRIC
CONFIGS: dict[str, Any] = {
    "int8-channel": Int8WeightOnlyConfig(),
    "int8-tensor": Int8WeightOnlyConfig(granularity=PerTensor()),
    "int4-group": IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32)),
    "int3-zeros": IntxWeightOnlyConfig(weight_dtype=torch.int3, granularity=PerGroup(32), mapping_type=ASYMMETRIC),
    "int8-zeros": IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0), mapping_type=ASYMMETRIC),
    "float8-channel": Float8WeightOnlyConfig(),
    "float8-e5m2": Float8WeightOnlyConfig(weight_dtype=torch.float8_e5m2),
}


def layer(name: str) -> torch.nn.Linear:
    torch.manual_seed(sum(name.encode()))
    linear = torch.nn.Linear(128, 8, bias=False, dtype=torch.float32)
    linear.weight.data *= 1 + torch.arange(8.0)[:, None]
    return linear


def save(name: str, weight: torch.Tensor, expected: torch.Tensor) -> None:
    norm = torch.ones(128)
    state = {f"{LAYER}.weight": weight, "model.norm.weight": norm}
    stored, metadata = flatten_tensor_state_dict(state)
    config = {"quant_method": "torchao", "quant_type": {"default": {"_type": name}}}
    write(f"torchao-{name}", config, stored, {f"{LAYER}.weight": expected}, metadata=metadata)


def int4_tensor() -> tuple[Int4Tensor, torch.Tensor]:
    """Signed codes in pairs, the even column low: code * scale + zero, one of each for 32 columns, transposed."""
    weight = layer("int4-plain").weight.data
    groups = weight.reshape(8, 4, 32)
    lowest, highest = groups.amin(-1), groups.amax(-1)
    scale = (highest - lowest) / 15
    codes = torch.round((groups - lowest[..., None]) / scale[..., None]).clamp(0, 15).to(torch.int8) - 8
    zero = lowest + 8 * scale
    packed = (codes.reshape(8, 64, 2)[..., 0] & 15) | (codes.reshape(8, 64, 2)[..., 1] << 4)
    stored = Int4Tensor(packed, scale.T.contiguous(), zero.T.contiguous(), [1, 32], weight.shape)
    return stored, (codes * scale[..., None] + zero[..., None]).reshape(8, 128)


def main() -> None:
    for name, config in CONFIGS.items():
        linear = layer(name)
        quantize_(linear, config)
        save(name, linear.weight, linear.weight.dequantize())
    blocks = Float8Tensor.from_hp(layer("float8-block").weight.data, granularity=_block())
    save("float8-block", blocks, blocks.dequantize())
    save("int4-plain", *int4_tensor())


def _block() -> Any:
    from torchao.quantization.granularity import PerBlock

    return PerBlock([4, 32])


if __name__ == "__main__":
    main()
