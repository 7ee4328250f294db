"""Choose the post-processing of a model on its validation cases and put it onto its card.

    python pipelines/choose_postprocessing.py runs/phantom_transunet

``medseg choose-postprocessing -m runs/phantom_transunet`` makes the same call.
"""

import argparse

from medseg.choose_postprocessing import choose_postprocessing


def main(argv: list[str] | None = None) -> None:
    """Choose organ by organ, and say what it does to the mean DSC."""
    parser = argparse.ArgumentParser(description="Choose post-processing on validation cases.")
    parser.add_argument("model", help="run folder, or model folder")
    parser.add_argument("cases", nargs="?", help="case list (JSON); a run's own unless given")
    args = parser.parse_args(argv)
    found = choose_postprocessing(args.model, args.cases)
    for organ, one in found["organs"].items():
        print(organ, one["dsc_before"], one["dsc_after"], one["step"] or "nothing")


if __name__ == "__main__":
    main()
