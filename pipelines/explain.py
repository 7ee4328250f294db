"""Show what a model looks at in a volume when it finds organs.

    python pipelines/explain.py ct.nii.gz why runs/phantom_transunet --organs liver spleen

``medseg explain runs/phantom_transunet -i ct.nii.gz -o why --organ liver`` makes the same call for
one organ.
"""

import argparse
from pathlib import Path

from medseg.errors import UsageError
from medseg.explain import method_names
from medseg.explaining.explain import explain
from medseg.explaining.request import Request


def main(argv: list[str] | None = None) -> None:
    """Explain organ by organ, each with a page of its own."""
    parser = argparse.ArgumentParser(description="Maps of what a model looks at.")
    parser.add_argument("input", help="volume, or folder or zip of one DICOM series")
    parser.add_argument("output", type=Path, help="folder for pages, pictures and maps")
    parser.add_argument("model", help="model folder or run folder")
    parser.add_argument("--organs", nargs="+", required=True)
    parser.add_argument("--methods", nargs="+", default=["tiba"], choices=method_names())
    parser.add_argument("--whole", action="store_true", help="every slice of the organ")
    args = parser.parse_args(argv)

    for organ in args.organs:
        request = Request(organ, methods=tuple(args.methods), whole_volume=args.whole)
        try:
            record = explain(args.model, args.input, args.output, request=request)
        except UsageError as error:  # not every organ is found in every volume
            print(f"{organ}: {error}")
            continue
        print(args.output / record["page"])  # record["methods"] names the maps


if __name__ == "__main__":
    main()
