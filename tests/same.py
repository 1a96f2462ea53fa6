"""A digest of what must come out the same on every machine; run by the tests in processes that play other ones."""

import hashlib

import numpy as np

from quantize_cli.calibration.folding.powers import powers_of
from quantize_cli.jit import elementary, matrices
from quantize_cli.runtime.kernels.exponential import exponentials


def digest() -> str:
    random = np.random.default_rng(0)
    x = random.standard_normal((300, 100)).astype(np.float32)
    total = np.zeros((100, 100))
    matrices.add_gram(total, x)
    total += np.eye(100)
    angles = random.uniform(-1e5, 1e5, 1000)
    found = [
        matrices.multiply(x, x.T), total, matrices.cholesky(total), matrices.inverse(total),
        matrices.inverses(total[None, :8, :8]), exponentials(10 * x), powers_of(np.abs(x), 0.7),
        elementary.exponential(angles / 300), elementary.logarithm(np.abs(angles)), *elementary.sine_and_cosine(angles),
    ]  # fmt: skip
    return hashlib.sha256(b"".join(np.ascontiguousarray(values).tobytes() for values in found)).hexdigest()


if __name__ == "__main__":
    print(digest())
