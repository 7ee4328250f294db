"""Write one HTML file from results on disk.

    python pipelines/report.py results report.html --run runs/phantom_transunet

``medseg report -i results -o report.html --run runs/phantom_transunet`` makes the same call.
"""

import argparse
from pathlib import Path

from medseg.report.report import report


def main(argv: list[str] | None = None) -> None:
    """Write the report and say where it is."""
    parser = argparse.ArgumentParser(description="Results on disk to one HTML file.")
    parser.add_argument("results", type=Path, help="results.json or the folder that holds it")
    parser.add_argument("output", type=Path, help="HTML file")
    parser.add_argument("--run", type=Path, help="run folder, for the training curves")
    parser.add_argument("--no-images", action="store_true", help="figures alone, to hand on")
    args = parser.parse_args(argv)
    print(report(args.results, args.output, run=args.run, images=not args.no_images))


if __name__ == "__main__":
    main()
