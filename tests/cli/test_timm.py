"""`uninas timm`: a script that knows nothing of us, run as timm's own train.py and validate.py are."""

import json
import os
import subprocess
import sys

from helpers.commands import GOOD, SOURCES, fail

SCRIPT = """
import argparse, json
import torch
from neighbour import WORD
from timm.data import resolve_input_data_config
from timm.models import create_model, load_checkpoint, resolve_model_input_args, safe_model_name
from timm.optim import create_optimizer_v2

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--num-classes", type=int)
    parser.add_argument("--img-size", type=int)
    parser.add_argument("--drop", type=float, default=0.0)
    parser.add_argument("--save", default="")
    parser.add_argument("--checkpoint", default="")
    args = parser.parse_args()
    asked = resolve_model_input_args(
        args.model, vars(args), num_classes=args.num_classes, drop_rate=args.drop, drop_path_rate=None,
        global_pool=None, bn_momentum=None, scriptable=False, checkpoint_path=args.checkpoint,
    )
    model = create_model(**asked)
    data = resolve_input_data_config(model, vars(args))
    x = torch.ones(2, *data["input_size"])
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, layer_decay=0.5)
    model(x).square().sum().backward()
    optimizer.step()
    if args.save:
        torch.save({"state_dict": model.state_dict(), "args": args, "arch": args.model}, args.save)
    shape = list(model.eval()(x).shape)
    print(json.dumps({"name": safe_model_name(args.model), "word": WORD, "size": data["input_size"], "shape": shape,
                      "first": next(model.parameters()).flatten()[0].item()}))
"""


def scripted(folder, *arguments):
    """What a process that runs the script as a user does says, and how it ended."""
    (folder / "scripts").mkdir(exist_ok=True)
    (folder / "scripts" / "train.py").write_text(SCRIPT)
    (folder / "scripts" / "neighbour.py").write_text("WORD = 'found'\n")
    done = subprocess.run(
        [sys.executable, "-m", "uninas", "timm", "scripts/train.py", *arguments],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCES.parent), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout) if done.returncode == 0 else done.stderr


def test_a_script_for_timm_finds_our_networks_by_their_names_and_files(tmp_path):
    (tmp_path / "my.net.uni").write_text(GOOD)
    code, found = scripted(tmp_path, "--model", "my.net.uni", "--drop", "0.1", "--save", "kept.pth")
    assert code == 0, found
    # the size and the classes are those of the text, which timm does not know before there is a model
    assert (found["name"], found["word"]) == ("uninas_my_net", "found")
    assert (found["size"], found["shape"]) == ([3, 32, 32], [2, 10])
    code, again = scripted(tmp_path, "--model=my.net.uni:small", "--img-size", "48", "--checkpoint", "kept.pth")
    assert code == 0, again
    assert (again["size"], again["shape"]) == ([3, 48, 48], [2, 10])
    code, said = scripted(tmp_path, "--model", "gone.uni")
    assert code == 1 and "cannot read gone.uni" in said and "Traceback" not in said


def test_a_script_that_is_not_there_is_answered_with_the_nearest(tmp_path):
    (tmp_path / "train.py").write_text("")
    said = fail("timm", tmp_path / "tran.py", "--model", "uninas_resnet18")
    assert "there is no script" in said and "did you mean 'train.py'?" in said


def test_a_network_in_place_of_a_script_is_told_where_it_belongs(tmp_path):
    (tmp_path / "mine.uni").write_text(GOOD)
    said = fail("timm", tmp_path / "mine.uni")
    assert "expected a script, but got the network" in said
    assert "uninas timm train.py --model mine.uni" in said
