"""Score a model for cosmic rays: true-positive rate (TPR) at 0.01 % false-positive rate (FPR).

    python pipelines/roc.py runs/decam_transunet/cases/test.json runs/decam_transunet roc

``medseg roc -i CASES -m RUN -o roc`` makes the same calls.
"""

import argparse

from medseg.case import read_cases
from medseg.evaluation.roc import write_roc
from medseg.inference.exposures import score_exposure
from medseg.inference.predict import model_folder_of, pick_device
from medseg.metrics import RocCounts
from medseg.model import read_model
from medseg.volumes.exposure import exposure_of


def main(argv: list[str] | None = None) -> None:
    """Load the model once, then count exposure by exposure."""
    parser = argparse.ArgumentParser(description="TPR at a given FPR over exposures.")
    parser.add_argument("cases", help="case list (JSON)")
    parser.add_argument("model", help="model folder or run folder")
    parser.add_argument("output", help="folder for roc.json, roc.csv and roc.png")
    parser.add_argument("--fpr", type=float, default=1e-4)
    args = parser.parse_args(argv)

    model, device = read_model(model_folder_of(args.model)), pick_device("auto")
    model.network.to(device)
    counts = RocCounts()
    for case in read_cases(args.cases):
        exposure = exposure_of(case)
        if exposure.mask is not None:
            scores = score_exposure(model, exposure, device=device)  # another score: change it here
            counts.add(scores, exposure.mask, exposure.ignore)
    found = write_roc(counts, args.output, args.fpr, {"model": args.model})
    for convention, bounds in found["tpr"].items():
        print(f"TPR at FPR {args.fpr:g}, {convention}: {bounds['lower']} to {bounds['upper']}")


if __name__ == "__main__":
    main()
