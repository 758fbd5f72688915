"""What a folder holds: a search, a training or a ranking."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uninas.errors import error, shown

FILES = {"training": "training.json", "ranking": "ranking.sqlite"}
"""Whether the file is there says it. (Their rooms have these names, too, but need torch.)"""


def kind_of(folders: Sequence[Path]) -> str:
    """`training`, `ranking`, or `search`, also where there is nothing. Raises UNI070 for folders of several kinds."""
    kinds = {folder: next((kind for kind, file in FILES.items() if (folder / file).is_file()), "search")
             for folder in folders}  # fmt: skip
    first, *others = dict.fromkeys(kinds.values())
    if others:
        found = [f"{shown(next(folder for folder in folders if kinds[folder] == kind))} is a {kind}"
                 for kind in (first, others[0])]  # fmt: skip
        raise error("UNI070", f"expected runs of one kind, but {' and '.join(found)}", None,
                    "compare each kind apart")  # fmt: skip
    return first
