"""Train a network, or measure one: `python train.py -opt options/train/keyframes_lite.yml`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from keyframes_gan import options
from keyframes_gan.errors import run_door


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; the flags are BasicSR's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-opt", type=Path, required=True, metavar="FILE", help="options file (YAML)")
    parser.add_argument(
        "--launcher", choices=("none", "pytorch"), default="none", help="pytorch: started by torchrun, one process per device"
    )
    parser.add_argument("--auto_resume", action="store_true", help="continue from the newest whole state of this experiment, if any")
    parser.add_argument("--force_yml", nargs="+", default=(), metavar="KEY=VALUE", help="replace options: train:total_iter=1000")
    parser.add_argument("--check", action="store_true", help="check the options file and stop")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Check the options, then train; torch is imported only once they are right."""
    arguments = parse(argv)
    checked = options.load(arguments.opt, arguments.force_yml)
    if arguments.check:
        print(f"{arguments.opt}: all options are right")
        return 0
    from keyframes_gan.models import engine  # noqa: PLC0415  # slow to import, and useless when the options are wrong

    return engine.run(checked, source=arguments.opt, launcher=arguments.launcher, auto_resume=arguments.auto_resume)


if __name__ == "__main__":
    sys.exit(run_door(main))
