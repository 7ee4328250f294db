"""Compare models case by case with the first and print what differs.

    python pipelines/compare.py results/unet results/transunet -o comparison

``medseg compare results/unet results/transunet -o comparison`` makes the same call.
"""

import argparse

from medseg.evaluation.compare import compare
from medseg.evaluation.comparison_files import rows_of


def main(argv: list[str] | None = None) -> None:
    """Compare, then print one line per pair of models, metric and organ."""
    parser = argparse.ArgumentParser(description="Paired differences between models.")
    parser.add_argument("results", nargs="+", help="results.json or its folder, of each model")
    parser.add_argument("-o", "--output", required=True, help="folder for the comparison")
    parser.add_argument("--metric", nargs="+", help="dsc, hd95, nsd, …; the first decides")
    args = parser.parse_args(argv)

    found = compare(args.results, args.output, metrics=args.metric)
    print("\t".join(["model", "reference", "metric", "organ", "difference", "p (Holm)", "better"]))
    for pair in found["pairs"]:
        for key, by_organ in pair["metrics"].items():
            for organ, row in rows_of(by_organ):
                figures = [format(row[name] or 0, ".3g") if row["n"] else "–"
                           for name in ("mean", "p_holm")]  # fmt: skip
                names = [pair["model"], pair["reference"], key, organ]
                print("\t".join([*names, *figures, row["better"] or ""]))
    for notice in found["notices"]:
        print(notice)


if __name__ == "__main__":
    main()
