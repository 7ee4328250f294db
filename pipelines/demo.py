"""Make phantom CTs, train TransUNet on them, predict, evaluate and report.

    python pipelines/demo.py demo

``medseg demo -o demo`` makes the same call; ``medseg/demo.py`` shows its five steps.
"""

import argparse

from medseg.demo import demo


def main(argv: list[str] | None = None) -> None:
    """Go the whole way once."""
    parser = argparse.ArgumentParser(description="The whole way once, on phantom cases.")
    parser.add_argument("output", help="folder to fill")
    parser.add_argument("--small", action="store_true", help="a minute's run, for a look")
    args = parser.parse_args(argv)
    print(demo(args.output, small=args.small)["report"])


if __name__ == "__main__":
    main()
