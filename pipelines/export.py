"""Write a model as a MONAI bundle or ONNX, and prove that it gives the same label maps.

    python pipelines/export.py runs/phantom_unet/model bundle --format bundle

``medseg export runs/phantom_unet/model -o bundle --format bundle`` makes the same call.
"""

import argparse
from pathlib import Path

from medseg.export.export import FORMATS, export


def main(argv: list[str] | None = None) -> None:
    """Write the export and print how well it agrees."""
    parser = argparse.ArgumentParser(description="A model as something that runs without medseg.")
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument("--format", choices=FORMATS, default="bundle")
    args = parser.parse_args(argv)
    certificate = export(args.model, args.output, format=args.format)
    print(f"{certificate['equal_voxels']:.4%} of voxels equal")


if __name__ == "__main__":
    main()
