"""Write the golden checkpoints of AWQ, packed and read back by AutoAWQ.

    python -m tests.golden.schemes.make_awq

It needs autoawq (0.2.9 made the files here) and torch; the tests need neither.
"""

import torch
from awq.modules.linear.gemm import WQLinear_GEMM
from awq.utils.packing_utils import dequantize_gemm

from tests.golden.schemes.cases import write

LAYER = "model.layers.0.mlp.down_proj"
ROWS, COLUMNS = 64, 128


def case(group: int) -> None:
    torch.manual_seed(group)
    size = COLUMNS if group == -1 else group
    codes = torch.randint(0, 16, (ROWS, COLUMNS))
    zeros = torch.randint(0, 16, (ROWS, COLUMNS // size)).float()
    scales = (torch.rand(ROWS, COLUMNS // size) / 10 + 0.01).half()
    linear = torch.nn.Linear(COLUMNS, ROWS, bias=False)
    linear.weight.data = (codes - zeros.repeat_interleave(size, 1)) * scales.float().repeat_interleave(size, 1)
    layer = WQLinear_GEMM.from_linear(linear, 4, size, scales=scales.T.contiguous(), zeros=zeros.T.contiguous())
    expected = dequantize_gemm(layer.qweight, layer.qzeros, layer.scales.float(), 4, size).T
    stored = {f"{LAYER}.{part}": getattr(layer, part) for part in ("qweight", "qzeros", "scales")}
    config = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": "gemm"}
    name = "whole-rows" if group == -1 else f"group-{group}"
    write(f"awq-{name}", config, stored, {f"{LAYER}.weight": expected})


def main() -> None:
    for group in (32, 64, -1):
        case(group)


if __name__ == "__main__":
    main()
