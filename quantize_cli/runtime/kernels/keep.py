"""Keys and values of new positions put behind those of a layer that are stored."""

from quantize_cli.jit.arguments import Arguments, f32_array, i64_array
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import operation, share
from quantize_cli.jit.simd import load, load_some, store, store_some


@operation(Arguments(keys=f32_array, values=f32_array, all_keys=f32_array, all_values=f32_array, stored=i64_array))
def keep(args, thread, threads):
    """Store n new positions of each sequence behind those that are stored; threads share the columns and the rows.

    New keys and values (sequences * n, heads * head_width); the layer's keys, transposed, (sequences * heads *
    head_width, capacity), and values (sequences * heads * capacity, head_width); `stored` (1,).
    """
    keys, values, all_keys, all_values = args.keys, args.values, args.all_keys, args.all_values
    stored = args.stored[0, 0]
    start, stop = share(all_keys.shape[0], thread, threads)
    _keep_keys(keys, all_keys, stored, start, stop)
    start, stop = share(values.shape[0], thread, threads)
    _keep_values(values, all_values, stored, all_keys, start, stop)


@merged
def _keep_keys(keys, all_keys, stored, start, stop):
    """Sixteen positions at a time: a row of the cache takes them on one line or two, which are not met again."""
    columns = keys.shape[1]
    count = keys.shape[0] * columns // all_keys.shape[0]
    for first in range(0, count, 16):
        last = min(first + 16, count)
        for row in range(start, stop):
            sequence = row // columns
            column = row - sequence * columns
            for token in range(first, last):
                all_keys[row, stored + token] = keys[sequence * count + token, column]


@merged
def _keep_values(values, all_values, stored, all_keys, start, stop):
    """Rows start to stop of the new values; each is cut into its heads."""
    width, capacity = all_values.shape[1], all_keys.shape[1]
    heads = values.shape[1] // width
    count = values.shape[0] * heads * width // all_keys.shape[0]
    rest = width % 16
    whole = width - rest
    for row in range(start, stop):
        sequence = row // count
        position = stored + row - sequence * count
        for head in range(heads):
            place = (sequence * heads + head) * capacity + position
            for column in range(0, whole, 16):
                store(all_values, place, column, load(values, row, head * width + column))
            if rest:
                store_some(all_values, place, whole, load_some(values, row, head * width + whole, rest), rest)
