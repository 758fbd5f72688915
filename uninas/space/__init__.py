"""Search spaces: open choices, moves from a start, and budgets, independent of how they were written down."""

from uninas.space.budget import ADDITIVE, COSTS, PATIENCE, Budget, Limit
from uninas.space.rules import MOVES, Facts, MoveForm, MoveOption, MoveRule
from uninas.space.space import Choice, Decide, Member, Space

__all__ = [
    "ADDITIVE", "COSTS", "MOVES", "PATIENCE", "Budget", "Choice", "Decide", "Facts", "Limit", "Member", "MoveForm",
    "MoveOption", "MoveRule", "Space",
]  # fmt: skip
