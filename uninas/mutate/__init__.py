"""Moves: small typed edits of a graph, as records that print as a sentence and can be replayed.

    >>> import random
    >>> from uninas.language.elaborate import build, space
    >>> from uninas.language.library import find
    >>> module, name = find("UniNAS")
    >>> moves, start = Moves(space(module, name).moves), build(find("resnet")[0], "resnet")
    >>> proposal = propose(start, moves, Budget(), random.Random(3), seen={start.key})
    >>> proposal.graph == apply(start, proposal.edit, moves)
    True

One file for each family of moves; what they share is in `edits` (records), `sites` (where), `rebuild` (how the next
graph is made) and `resolve` (channels for other shapes). `walk` is the face that a search sees.
"""

from uninas.mutate.choices import ChoiceWalk, Choose, member_of
from uninas.mutate.edits import KINDS, Edit, read_edit, record
from uninas.mutate.kinds.graft import Graft
from uninas.mutate.kinds.heads import Tie, Untie
from uninas.mutate.kinds.insert import Insert, Remove
from uninas.mutate.kinds.replace import Replace, SetAttribute
from uninas.mutate.kinds.skip import Skip, Unskip
from uninas.mutate.kinds.stage_blocks import Delete, Depth, Duplicate, Move, Swap
from uninas.mutate.kinds.stages import Resolution, Strides, Width
from uninas.mutate.kinds.wrap import Wrap
from uninas.mutate.kinds.written import Written
from uninas.mutate.moves import Moves
from uninas.mutate.propose import Proposal, apply, attempt, propose
from uninas.mutate.sites import Port, Reason, Refusal, Site, blocks, places, region, sites, transparent
from uninas.mutate.walk import MoveWalk, Walk, walk_of
from uninas.space import Budget

__all__ = [
    "KINDS", "Budget", "ChoiceWalk", "Choose", "Delete", "Depth", "Duplicate", "Edit", "Graft", "Insert", "Move",
    "MoveWalk", "Moves", "Port", "Proposal", "Reason", "Refusal", "Remove", "Replace", "Resolution", "SetAttribute",
    "Site", "Skip", "Strides", "Swap", "Tie", "Unskip", "Untie", "Walk", "Width", "Wrap", "Written", "apply", "attempt",
    "blocks", "member_of", "places", "propose", "read_edit", "record", "region", "sites", "transparent", "walk_of",
]  # fmt: skip
