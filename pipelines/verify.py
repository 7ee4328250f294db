"""Run an export again and compare it with the label maps of the model it came from.

    python pipelines/verify.py bundle

``medseg verify bundle`` makes the same call.
"""

import argparse
from pathlib import Path

from medseg.export.export import verify


def main(argv: list[str] | None = None) -> None:
    """Print how well the export agrees."""
    parser = argparse.ArgumentParser(description="Repeat the proof of an export.")
    parser.add_argument("folder", type=Path, help="export")
    found = verify(parser.parse_args(argv).folder)
    print(f"{found['equal_voxels']:.4%} of voxels equal in {len(found['cases'])} volumes")


if __name__ == "__main__":
    main()
