"""How the published networks compare with timm's: `PYTHONPATH=tests python tests/parity/table.py [NETWORK ...]`."""

import sys

from helpers.measure import parity
from helpers.published import PUBLISHED


def main(networks: list[str]) -> None:
    write = sys.stdout.write
    write(f"{'network':30} lines + blocks  parameters        timm    error  GFLOPs  counted\n")
    for network in networks:
        p = parity(network)
        write(
            f"{p.network:30} {p.lines:5} {p.all_lines:8} {p.params:11,} {p.timm_params:11,} {p.error:8.1e} "
            f"{p.flops / 1e9:7.3f} {p.counted_flops / 1e9:8.3f}\n"
        )


if __name__ == "__main__":
    main(sys.argv[1:] or list(PUBLISHED))
