"""Train one network on one data set.

    python pipelines/train.py phantom_transunet settings::max_epochs=5

Copy this file and change it freely: each argument below is one section of the config, and
``medseg train CONFIG [section::key=value ...]`` makes the same call.
"""

import argparse
from pathlib import Path

from monai.utils import set_determinism

from medseg.config import build_network, load_config
from medseg.training.train import train


def main(argv: list[str] | None = None) -> None:
    """Build the parts named in the config and train."""
    parser = argparse.ArgumentParser(description="Train one network on one data set.")
    parser.add_argument("config", help="YAML file, or the name of a shipped config")
    parser.add_argument("overrides", nargs="*", metavar="section::key=value")
    args = parser.parse_args(argv)

    config = load_config(args.config, args.overrides)
    build = config.get_parsed_content  # the same name gives the same object every time
    set_determinism(build("seed"))
    network, model = build_network(config)  # with the weights of network::pretrained, if any

    run = train(
        network,  # freeze, wrap or compile it here
        build("loss"),
        build("optimizer"),
        build("train_loader"),
        schedule=build("schedule"),
        validation=build("validation"),
        settings=build("settings"),
        model=model,
        out_dir=Path(build("out_dir")),
    )
    print(f"Run folder: {run}")


if __name__ == "__main__":
    main()
