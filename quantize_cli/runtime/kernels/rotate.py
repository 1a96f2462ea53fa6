"""Pairs of a head's columns turned by an angle of their position."""

import numpy as np

from quantize_cli.jit.arguments import Arguments, f32_array, number
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import operation, share
from quantize_cli.jit.simd import load, load_some, multiply_add, picked, store, store_some

f32 = np.float32
_ARGUMENTS = Arguments(vectors=f32_array, cosines=f32_array, sines=f32_array, width=number)
"""vectors (n, heads * width); cosines and sines (positions, pairs), of which row t of n meets row t % positions.
Columns of a head from 2 * pairs on are left as they are."""
_evens, _odds = picked(tuple(range(0, 32, 2))), picked(tuple(range(1, 32, 2)))
_low_pairs = picked(tuple(lane // 2 + 16 * (lane % 2) for lane in range(16)))
_high_pairs = picked(tuple(8 + lane // 2 + 16 * (lane % 2) for lane in range(16)))


@operation(_ARGUMENTS)
def rotate_halves(args, thread, threads):
    """Turn columns p and p + pairs of each head, in place; threads share the heads of all rows."""
    vectors, cosines, sines, width, pairs = args.vectors, args.cosines, args.sines, args.width, args.cosines.shape[1]
    heads = vectors.shape[1] // width
    start, stop = share(vectors.shape[0] * heads, thread, threads)
    rest = pairs % 16
    whole = pairs - rest
    for unit in range(start, stop):
        row, column = unit // heads, unit % heads * width
        position = row % cosines.shape[0]
        for pair in range(0, whole, 16):
            cosine, sine = load(cosines, position, pair), load(sines, position, pair)
            first, second = load(vectors, row, column + pair), load(vectors, row, column + pairs + pair)
            store(vectors, row, column + pair, _real(first, second, cosine, sine))
            store(vectors, row, column + pairs + pair, _imaginary(first, second, cosine, sine))
        if rest:
            cosine, sine = load_some(cosines, position, whole, rest), load_some(sines, position, whole, rest)
            first = load_some(vectors, row, column + whole, rest)
            second = load_some(vectors, row, column + pairs + whole, rest)
            store_some(vectors, row, column + whole, _real(first, second, cosine, sine), rest)
            store_some(vectors, row, column + pairs + whole, _imaginary(first, second, cosine, sine), rest)


@operation(_ARGUMENTS)
def rotate_adjacent(args, thread, threads):
    """Turn columns 2 p and 2 p + 1 of each head, in place."""
    vectors, cosines, sines, width, pairs = args.vectors, args.cosines, args.sines, args.width, args.cosines.shape[1]
    heads = vectors.shape[1] // width
    start, stop = share(vectors.shape[0] * heads, thread, threads)
    rest = pairs % 16
    whole = pairs - rest
    for unit in range(start, stop):
        row, column = unit // heads, unit % heads * width
        position = row % cosines.shape[0]
        for pair in range(0, whole, 16):
            cosine, sine = load(cosines, position, pair), load(sines, position, pair)
            low, high = load(vectors, row, column + 2 * pair), load(vectors, row, column + 2 * pair + 16)
            first, second = _evens(low, high), _odds(low, high)
            real, imaginary = _real(first, second, cosine, sine), _imaginary(first, second, cosine, sine)
            store(vectors, row, column + 2 * pair, _low_pairs(real, imaginary))
            store(vectors, row, column + 2 * pair + 16, _high_pairs(real, imaginary))
        if rest:
            cosine, sine = load_some(cosines, position, whole, rest), load_some(sines, position, whole, rest)
            start_low, in_low, in_high = column + 2 * whole, min(16, 2 * rest), max(0, 2 * rest - 16)
            low, high = load_some(vectors, row, start_low, in_low), load_some(vectors, row, start_low + 16, in_high)
            first, second = _evens(low, high), _odds(low, high)
            real, imaginary = _real(first, second, cosine, sine), _imaginary(first, second, cosine, sine)
            store_some(vectors, row, start_low, _low_pairs(real, imaginary), in_low)
            store_some(vectors, row, start_low + 16, _high_pairs(real, imaginary), in_high)


@merged
def _real(first, second, cosine, sine):
    return multiply_add(first, cosine, f32(0) - second * sine)


@merged
def _imaginary(first, second, cosine, sine):
    return multiply_add(first, sine, second * cosine)
