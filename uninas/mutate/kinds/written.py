"""An architecture that somebody handed in as a text, in the place of another one."""

from __future__ import annotations

from dataclasses import dataclass

from uninas.errors import UninasError, in_a_line
from uninas.graph import Graph
from uninas.language.alone import architecture
from uninas.mutate.edits import Bodies, Edit
from uninas.mutate.sites import Refusal


@dataclass(frozen=True)
class Written(Edit, kind="written", level="whole"):
    """Take another architecture in the place of the whole one. No space draws this: a person or a program did."""

    text: str

    def __str__(self) -> str:
        return f"take a text of {len(self.text.splitlines())} lines that was handed in"

    def change(self, graph: Graph, moves: Bodies) -> Graph | Refusal:
        try:
            return architecture(self.text)
        except UninasError as problem:
            return Refusal("type", in_a_line(problem))
