#!/usr/bin/env python3
"""Makes the table and the picture of docs/performance.md from what was measured.

On a quiet machine, with as many threads as you want figures of:

  for type in bf16 q8_0 q4; do csm bench --type $type --threads 2 --json docs/bench/$type.json; done
  csm bench --type bf16 --precision fast --threads 2 --json docs/bench/bf16_fast.json
  tools/compare_hf.py --bench --threads 2 --json docs/bench/compare_hf.json
  tools/make_performance.py --update docs/performance.md --svg docs/roofline.svg

Without options the table goes to standard output.
"""

import argparse
import sys
from pathlib import Path

from csm_tools.performance import InputError, load, markdown, updated

ROOT = Path(__file__).resolve().parent.parent


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        help="of csm bench --json, at most one a type (default: docs/bench/*.json)",
    )
    parser.add_argument("--update", type=Path, metavar="DOCUMENT", help="replace the table in it")
    parser.add_argument("--svg", type=Path, help="draw the roofline picture; needs matplotlib")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    try:
        measured = load(args.files or sorted((ROOT / "docs/bench").glob("*.json")))
        table = markdown(measured)
        if args.update:
            args.update.write_text(updated(args.update.read_text(encoding="utf-8"), table), encoding="utf-8")
    except (InputError, OSError) as error:
        print(f"make_performance.py: {error}", file=sys.stderr)
        return 1
    if args.svg:
        from csm_tools.roofline import draw  # here, so that the table needs no matplotlib

        draw(measured, args.svg)
    if not args.update and not args.svg:
        print(table, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
