"""One step of the published UniNAS toolkit (the distribution `uninas` of PyPI), timed from CoAtNet on.

python benchmarks/published_step.py [STEPS]

Runs with the Python of an environment where that distribution is installed, and ours is not: both are called `uninas`.
Prints JSON: CPU seconds of a step that gives a network, and how many gave none.
"""

import json
import sys
import time

import torch

import uninas


def main() -> None:
    """A walk that begins at CoAtNet again after every fifty networks, as our own walk does."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    torch.set_num_threads(1)
    torch.manual_seed(0)
    blocks = '[["E", "E"], ["E", "E", "E"], ["T", "T", "T", "T", "T"], ["T", "T"]]'
    model = start = uninas.UNIModel(uninas.UNIModelCfg(model_str=blocks))
    accepted = refused = 0
    began = time.process_time()
    while accepted < steps:
        found = uninas.create_new_model(model, params_max=30_000_000)
        if found is None:
            refused += 1
            continue
        accepted += 1
        model = found if accepted % 50 else start
    print(json.dumps({"seconds": (time.process_time() - began) / steps, "refused": refused}))


if __name__ == "__main__":
    main()
