"""Train a network, or measure one, as an options file says.

`options/train/` has the recipes; their heads tell what data they need. The options file is checked before anything else, and all
problems are reported at once. Results go to experiments/NAME/: the log, the options that were in effect, validation.jsonl, models/
(net_g_latest.safetensors is what restoring takes) and training_states/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from keyframes_gan import options
from keyframes_gan.errors import DoorParser, path_of, run_door
from keyframes_gan.models import launch

EXAMPLES = """\
examples, in the order in which a training goes:
  python train.py -opt options/train/keyframes_lite.yml --check        are all options right, and all files there?
  python train.py -opt options/train/keyframes_lite.yml --dry-run      does it work here, how long will it take?
  python train.py -opt options/train/keyframes_lite.yml                train (SIGTERM saves and stops)
  python train.py -opt options/train/keyframes_lite.yml --auto_resume  go on where it stopped, with the very same numbers
  torchrun --nproc_per_node=2 train.py -opt options/train/keyframes_lite.yml --launcher pytorch      on two GPUs
  python train.py -opt options/train/keyframes_lite.yml --force_yml train:total_iter=2000 name=short  with other values
  python -m keyframes_gan.weights add mine --from experiments/keyframes_lite/models/net_g_latest.pth --licence Apache-2.0
  python video_inference.py -i in.mp4 -o out.mp4 --weights mine        restore with what was trained
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; the flags with underscores are BasicSR's."""
    parser = DoorParser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("-opt", type=path_of, required=True, metavar="FILE", help="options file (YAML)")
    add(
        "--launcher",
        choices=launch.LAUNCHERS,
        default="none",
        help="what started the processes, one per device: pytorch for torchrun, slurm for srun",
    )
    add("--auto_resume", action="store_true", help="continue from the newest whole state of this experiment, if any")
    add("--force_yml", nargs="+", default=(), metavar="KEY=VALUE", help="replace options, values in YAML: train:total_iter=1000")
    short = parser.add_mutually_exclusive_group().add_argument
    short("--check", action="store_true", help="check the options file and stop")
    short("--dry-run", action="store_true", help="make 2 steps and a short validation, keep nothing, and tell what the run will take")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Check the options, then train; torch is imported only once they are right."""
    arguments = parse(argv)
    place = launch.find(arguments.launcher)
    checked = options.load(arguments.opt, arguments.force_yml, processes=1 if place is None else place.world_size)
    if arguments.check:
        print(f"{arguments.opt}: all options are right")
        return 0
    from keyframes_gan.models import engine, rehearsal  # noqa: PLC0415  # slow to import, and useless when the options are wrong

    if arguments.dry_run:
        return rehearsal.run(checked, launcher=arguments.launcher)
    return engine.run(checked, source=arguments.opt, launcher=arguments.launcher, auto_resume=arguments.auto_resume)


if __name__ == "__main__":
    sys.exit(run_door(main))
