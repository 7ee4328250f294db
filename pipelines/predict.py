"""Predict label maps for a volume, a folder of volumes or a case list.

    python pipelines/predict.py ct_folder out runs/phantom_transunet

``medseg predict -i ct_folder -o out -m runs/phantom_transunet`` makes the same call.
"""

import argparse
from pathlib import Path

from medseg.inference.inputs import cases_of
from medseg.inference.predict import Predictor, PredictSettings, model_folder_of
from medseg.model import read_model
from medseg.volumes import read_volume, write_label_map


def main(argv: list[str] | None = None) -> None:
    """Load the model once, then go case by case."""
    parser = argparse.ArgumentParser(description="Predict label maps on the native grid.")
    parser.add_argument("input", help="volume, folder of volumes, or case list (JSON)")
    parser.add_argument("output", type=Path, help="folder for the label maps")
    parser.add_argument("model", help="model folder or run folder")
    args = parser.parse_args(argv)

    model = read_model(model_folder_of(args.model))
    predictor = Predictor(model, PredictSettings(precision="auto"))
    for case in cases_of(args.input):
        label_map = predictor(read_volume(case.image))
        write_label_map(args.output / f"{case.case_id}.nii.gz", label_map)  # change it here
        print(case.case_id)


if __name__ == "__main__":
    main()
