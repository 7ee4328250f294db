"""Propose a config for a data set, and say why each number is what it is.

    python pipelines/plan.py data/hippocampus mine.yaml --memory 8

``medseg plan data/hippocampus -o mine.yaml --memory 8`` makes the same call.
"""

import argparse

from medseg.plan.plan import plan


def main(argv: list[str] | None = None) -> None:
    """Write the config and print the reasons."""
    parser = argparse.ArgumentParser(description="Propose a config for a data set.")
    parser.add_argument("data", help="folder of the data set")
    parser.add_argument("config", help="YAML file to write")
    parser.add_argument("--memory", type=float, help="GB that training may take")
    parser.add_argument("--network", help="transunet_3d, unet_3d, transunet or unet")
    args = parser.parse_args(argv)

    found = plan(args.data, args.config, memory=args.memory, network=args.network)
    for key, why in found["reasons"].items():  # found["content"] holds the values
        print(f"{key}: {why}")


if __name__ == "__main__":
    main()
