"""Write the golden checkpoints of ModelOpt, packed by the library's own export and read back by it where it can.

    python -m tests.golden.schemes.make_modelopt

It needs nvidia-modelopt (0.47.0 made the files here) and torch; the tests need neither. The library reads back NVFP4
and FP8. For the others the expected weights are what its export divided by, multiplied again, and times the factors
that its engines multiply activations by.
"""

from typing import Any

import torch
from modelopt.torch.export.quant_utils import to_quantized_weight
from modelopt.torch.quantization.qtensor import FP8QTensor, NVFP4QTensor

from tests.golden.schemes.cases import write

LAYER = "model.layers.0."
PRODUCER = {"name": "modelopt", "version": "0.47.0"}
Stored = dict[str, torch.Tensor]


def weights_of(name: str, shape: tuple[int, int]) -> torch.Tensor:
    torch.manual_seed(sum(name.encode()))
    return torch.randn(shape) * (0.05 + torch.rand(shape[0], 1))


def fp8(weight: torch.Tensor) -> tuple[Stored, torch.Tensor]:
    scale = weight.abs().max() / 448
    codes = to_quantized_weight(weight, scale, "fp8")
    read = FP8QTensor(weight.shape, torch.float32, codes).dequantize(torch.float32, scale=scale)
    return {"weight": codes, "weight_scale": scale, "input_scale": torch.tensor(0.5)}, read


def fp8_channel(weight: torch.Tensor) -> tuple[Stored, torch.Tensor]:
    scale = weight.abs().amax(1) / 448
    codes = to_quantized_weight(weight, scale, "fp8_pc_pt")
    return {"weight": codes, "weight_scale": scale}, codes.float() * scale[:, None]


def fp8_blocks(weight: torch.Tensor) -> tuple[Stored, torch.Tensor]:
    """Blocks of 16 rows and columns, where its engines have 128: a golden file must be small."""
    rows, columns = weight.shape[0] // 16, weight.shape[1] // 16
    scale = weight.reshape(rows, 16, columns, 16).abs().amax((1, 3), keepdim=True) / 448
    codes = to_quantized_weight(weight, scale, "fp8_pb_wo", block_size=16)
    read = FP8QTensor(weight.shape, torch.float32, codes).dequantize(
        torch.float32, scale=scale.squeeze(), block_sizes={-1: 16, -2: 16}
    )
    return {"weight": codes, "weight_scale": scale}, read


def nvfp4(weight: torch.Tensor) -> tuple[Stored, torch.Tensor]:
    outer = weight.abs().max() / (6 * 448)
    scale, _ = NVFP4QTensor.get_weights_scaling_factor(weight, 16, outer)
    codes = to_quantized_weight(weight, scale, "nvfp4", outer, 16)
    read = NVFP4QTensor(weight.shape, torch.float32, codes).dequantize(
        torch.float32, scale=scale, double_scale=outer, block_sizes={-1: 16}
    )
    stored = {"weight": codes, "weight_scale": scale, "weight_scale_2": outer, "input_scale": torch.tensor(0.01)}
    return stored, read


def int8(weight: torch.Tensor, smooth: bool = False) -> tuple[Stored, torch.Tensor]:
    factors = torch.rand(weight.shape[1]).bfloat16() + 0.5 if smooth else None
    scale = weight.abs().amax(1) / 127
    codes = to_quantized_weight(weight, scale, "int8_sq")
    read = codes.float() * scale[:, None]
    if factors is None:
        return {"weight": codes, "weight_scale": scale}, read
    stored = {"weight": codes, "weight_scale": scale, "pre_quant_scale": factors, "input_scale": torch.tensor(0.1)}
    return stored, read * factors.float()


def int4(weight: torch.Tensor, activation_aware: bool = True) -> tuple[Stored, torch.Tensor]:
    groups = weight.shape[1] // 32
    scale = weight.reshape(-1, groups, 32).abs().amax(-1) / 7
    packed = to_quantized_weight(weight, scale, "int4_awq", block_size=32)
    codes = (weight / scale.repeat_interleave(32, 1)).round().clamp(-8, 7)
    read = codes * scale.repeat_interleave(32, 1)
    stored = {"weight": packed, "weight_scale": scale}
    if activation_aware:
        stored["pre_quant_scale"] = torch.rand(weight.shape[1]).bfloat16() + 0.5
        read = read * stored["pre_quant_scale"].float()
    return stored, read


CASES: dict[str, tuple[Any, tuple[int, int], dict[str, Any]]] = {
    "fp8": (fp8, (8, 64), {"quant_algo": "FP8"}),
    "fp8-channel": (fp8_channel, (8, 64), {"quant_algo": "FP8_PER_CHANNEL_PER_TOKEN"}),
    "fp8-blocks": (fp8_blocks, (32, 48), {"quant_algo": "fp8_pb_wo"}),
    "nvfp4": (nvfp4, (8, 128), {"quant_algo": "NVFP4", "group_size": 16}),
    "int8": (int8, (8, 64), {"quant_algo": "W8A16"}),
    "int8-smooth": (lambda weight: int8(weight, True), (8, 64), {"quant_algo": "W8A8_SQ_PER_CHANNEL"}),
    "int4": (int4, (8, 64), {"quant_algo": "W4A16_AWQ", "group_size": 32, "pre_quant_scale": True}),
    "int4-plain": (
        lambda weight: int4(weight, False), (10, 64),
        {"quant_algo": "W4A16_AWQ", "group_size": 32, "pre_quant_scale": True},
    ),
}  # fmt: skip


def main() -> None:
    for name, (make, shape, algorithm) in CASES.items():
        tensors, weight = make(weights_of(name, shape))
        stored = {f"{LAYER}mlp.down_proj.{key}": value for key, value in tensors.items()}
        quantization = {**algorithm, "kv_cache_quant_algo": None, "exclude_modules": ["lm_head"]}
        files = {"hf_quant_config.json": {"producer": PRODUCER, "quantization": quantization}}
        config = {"quant_method": "modelopt", **algorithm, "ignore": ["lm_head"], "producer": PRODUCER}
        write(f"modelopt-{name}", config, stored, {f"{LAYER}mlp.down_proj.weight": weight}, files=files)
    mixed()


def mixed() -> None:
    """FP8 attention with scales of its cache beside NVFP4, in the file beside config.json alone."""
    stored: Stored = {f"{LAYER}self_attn.k_proj.k_scale": torch.tensor(0.25)}
    expected, layers = {}, {}
    for module, name in (("self_attn.k_proj", "fp8"), ("mlp.up_proj", "nvfp4")):
        make, shape, algorithm = CASES[name]
        tensors, expected[f"{LAYER}{module}.weight"] = make(weights_of(module, shape))
        stored |= {f"{LAYER}{module}.{key}": value for key, value in tensors.items()}
        layers[LAYER + module] = algorithm
    quantization = {"quant_algo": "MIXED_PRECISION", "kv_cache_quant_algo": "FP8", "quantized_layers": layers}
    files = {"hf_quant_config.json": {"producer": PRODUCER, "quantization": quantization}}
    write("modelopt-mixed", {}, stored, expected, files=files)


if __name__ == "__main__":
    main()
