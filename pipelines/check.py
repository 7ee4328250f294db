"""Look through a data set for whatever would spoil training.

    python pipelines/check.py data/hippocampus

``medseg check -i data/hippocampus`` makes the same call.
"""

import argparse
import sys

from medseg.datasets.check import check


def main(argv: list[str] | None = None) -> int:
    """Print every problem, and return 3 if something must be mended."""
    parser = argparse.ArgumentParser(description="Find what would spoil training.")
    parser.add_argument("root", help="folder of the data set, or a case list (JSON)")
    args = parser.parse_args(argv)

    report = check(args.root)
    for problem in report.problems:  # pick out the kinds you care for here
        print(f"{problem.severity}: {problem.kind}: {problem.message}")
    return 0 if report.ok else 3


if __name__ == "__main__":
    sys.exit(main())
