"""Score label maps against truth and print DSC and HD95 per organ.

    python pipelines/evaluate.py out data/labelsTs results

``medseg evaluate -i out -l data/labelsTs -o results`` makes the same call.
"""

import argparse

from medseg.evaluation.evaluate import evaluate
from medseg.evaluation.table import rows


def main(argv: list[str] | None = None) -> None:
    """Evaluate, then print the table per organ."""
    parser = argparse.ArgumentParser(description="DSC and HD95 per organ and case.")
    parser.add_argument("predictions", help="folder of predicted label maps")
    parser.add_argument("truth", help="folder of true label maps, or a case list (JSON)")
    parser.add_argument("output", help="folder for results.json, .csv and .tex")
    args = parser.parse_args(argv)

    results = evaluate(args.predictions, args.truth, args.output)
    header, body = rows(results)
    for row in [header, *body]:
        print("\t".join(row))


if __name__ == "__main__":
    main()
