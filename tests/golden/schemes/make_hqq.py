"""Write the golden checkpoints of HQQ, quantized and read back by the library of that name.

    python -m tests.golden.schemes.make_hqq

It needs hqq (0.2.8.post1 made the files here) and torch; the tests need neither. What the library reads back is rounded
to the dtype that it computes in, which is float32 here.
"""

from typing import Any

import torch
from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

from tests.golden.schemes.cases import write

LAYER = "model.layers.0.mlp.down_proj"


def case(bits: int, axis: int, group: int, **more: Any) -> None:
    torch.manual_seed(bits)
    linear = torch.nn.Linear(96, 64, bias=False)
    settings = BaseQuantizeConfig(nbits=bits, group_size=group, axis=axis, **more)
    layer = HQQLinear(linear, quant_config=settings, compute_dtype=torch.float32, device="cpu")
    stored = {
        f"{LAYER}.{key}": value if isinstance(value, torch.Tensor) else torch.tensor(value)
        for key, value in layer.state_dict().items()
    }
    config = {"quant_method": "hqq", "quant_config": {"weight_quant_params": settings["weight_quant_params"]}}
    name = f"hqq-{bits}-bits-axis-{axis}" + ("-as-floats" if more else "")
    write(name, config, stored, {f"{LAYER}.weight": layer.dequantize()})


def main() -> None:
    for bits in (1, 2, 3, 4, 8):
        for axis in (0, 1):
            case(bits, axis, group=64 if axis == 0 else 32)
    case(4, 1, 32, view_as_float=True)


if __name__ == "__main__":
    main()
