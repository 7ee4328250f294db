"""Train and evaluate several networks on one data set and lay the results out as the paper does.

    python pipelines/paper_table.py phantom_r50_unet phantom_vit_cup phantom_transunet \
        -o runs/table data=demo/data settings::max_epochs=8

Each config is a row: any shipped name or YAML file of your own. ``--published synapse`` adds the
published figures in columns of their own. A row that is finished is kept when the command is
repeated, and one that was interrupted goes on.
"""

import argparse
import csv
import sys
from pathlib import Path

from medseg.config import load_config, train
from medseg.errors import CasesFailedError, MedsegError, StoppedError
from medseg.evaluation.evaluate import evaluate
from medseg.evaluation.paper_table import Row, paper_table, row_name, to_csv, to_latex, to_markdown
from medseg.files import read_json, write_text
from medseg.inference.predict import PredictSettings, predict
from medseg.model import read_model


def main(argv: list[str] | None = None) -> int:
    """Go row by row; a row that fails is said so in the table and stops no other."""
    parser = argparse.ArgumentParser(description="Several networks in one table.")
    parser.add_argument("configs", nargs="+", help="configs, and section::key=value for all")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for everything")
    parser.add_argument("--published", choices=["synapse", "acdc"], help="figures to set beside")
    args = parser.parse_intermixed_args(argv)

    overrides = [word for word in args.configs if "=" in word]
    rows, failed = [], []
    for config in (word for word in args.configs if "=" not in word):
        name = row_name(load_config(config)["network"])
        try:
            rows.append(make_row(config, name, overrides, args.output / Path(config).stem))
        except StoppedError as error:  # the user wants all of it to stop
            print(error, file=sys.stderr)
            return error.exit_code
        except MedsegError as error:
            failed.append(f"{config}: {error}")
            rows.append(Row(name, None))
        print(f"{config}: {name}, {'failed' if rows[-1].results is None else 'done'}", flush=True)

    header, body = paper_table(rows, published=args.published)
    for suffix, text in (("md", to_markdown), ("csv", to_csv), ("tex", to_latex)):
        write_text(args.output / f"table.{suffix}", text(header, body))
    print(to_markdown(header, body))
    for line in failed:
        print(line, file=sys.stderr)
    return CasesFailedError.exit_code if failed else 0


def make_row(config: str, name: str, overrides: list[str], folder: Path) -> Row:
    """Train, predict the test cases and score them, or take what is there from an earlier call."""
    run = train(config, [*overrides, f"out_dir={folder}"], resume=True)  # finished: does nothing
    scored, card = folder / "results" / "results.json", run / "model" / "model.json"
    if scored.is_file() and scored.stat().st_mtime > card.stat().st_mtime:
        results = read_json(scored)
    else:
        cases = run / "cases" / "test.json"
        predict(cases, folder / "test", model=run, settings=PredictSettings(overwrite=True))
        results = evaluate(folder / "test", cases, folder / "results", workers=2)
    network = read_model(run / "model").network
    parameters = sum(parameter.numel() for parameter in network.parameters())
    with (run / "history.csv").open() as history:
        seconds = sum(float(row["seconds"] or 0) for row in csv.DictReader(history))
    return Row(name, results, parameters, seconds / 60)


if __name__ == "__main__":
    sys.exit(main())
