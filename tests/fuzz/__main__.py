"""Read spoiled files by the thousand: `python -m tests.fuzz --inputs 300000 --jobs 2`; see the package."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import campaign, worker
from tests.fuzz.readers import READERS

_MEMORY = Path("/dev/shm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", choices=READERS, help="only this one")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="where inputs of findings are kept")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="read this file with --reader, as it is")
    arguments = parser.parse_args()
    if arguments.replay:
        worker.alone(arguments.reader, arguments.replay.parent, arguments.replay.name)
        return
    readers = [arguments.reader] if arguments.reader else list(READERS)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as scratch:
        outcome = campaign.run(readers, arguments.inputs, arguments.seed, arguments.jobs, Path(scratch), arguments.keep)
    print(f"{outcome.inputs} inputs in {time.monotonic() - start:.0f} s, {sum(outcome.counts.values())} findings")
    for kind, count in sorted(outcome.counts.items()):
        print(f"{count:7} {kind}")
    for finding, path in outcome.kept:
        print(f"\n{finding.kind}: {finding.detail}")
        print(f"python -m tests.fuzz --reader {finding.reader} --replay {path}")
    sys.exit(1 if outcome.counts else 0)


if __name__ == "__main__":
    main()
