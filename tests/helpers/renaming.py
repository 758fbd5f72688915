"""From the parameter names of other people's networks to ours.

A table has one rule per line: what a name contains, and what stands there instead. Rules hold for whole dotted parts
and are applied one after the other; `^` anchors one to the beginning. `{s+1} -> {s}` takes one off a number.
"""

import re
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

Rule = Callable[[str], str]
Change = Callable[[str, Tensor], Mapping[str, Tensor]]

_NUMBER = re.compile(r"\{(\w)([+-]\d+)?\}")


def rules(table: str) -> list[Rule]:
    """The rules of a table, comments and blank lines left out."""
    lines = (line.split("#")[0].split() for line in table.splitlines())
    return [_rule(*parts) for parts in lines if parts]


def _rule(old: str, new: str) -> Rule:
    offsets = {letter: int(offset or 0) for letter, offset in _NUMBER.findall(old)}
    start, old = ("^", old[1:]) if old.startswith("^") else (r"(?<![^.])", old)
    pattern = re.compile(start + _NUMBER.sub(r"(?P<\1>\\d+)", old).replace(".", r"\.") + r"(?![^.])")

    def replaced(match: re.Match[str]) -> str:
        numbers = {letter: int(text) - offsets[letter] for letter, text in match.groupdict().items()}
        return _NUMBER.sub(lambda found: str(numbers[found[1]] + int(found[2] or 0)), new)

    return lambda name: pattern.sub(replaced, name)


def renamed(name: str, table: list[Rule]) -> str:
    for rule in table:
        name = rule(name)
    return name


def transferred(
    theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], table: str, *changes: Change
) -> dict[str, Tensor]:
    """Their state in our names and shapes. Every tensor of ours must come from theirs, and none may be left over.

    A change sees a tensor under our name and says what to put there, under which names. Shapes that differ by axes of
    size 1 (a dense layer and a 1x1 convolution) are reshaped.
    """
    made: dict[str, Tensor] = {}
    for name, value in _changed(theirs, rules(table), changes):
        assert name in ours, f"we have no {name}"
        assert name not in made, f"{name} comes twice"
        assert _squeezed(value) == _squeezed(ours[name]), f"{name} has another shape"
        made[name] = value.reshape(ours[name].shape)
    assert made.keys() == ours.keys(), f"nothing became {sorted(ours.keys() - made.keys())[:5]}"
    return made


def _changed(
    theirs: Mapping[str, Tensor], table: list[Rule], changes: tuple[Change, ...]
) -> Iterator[tuple[str, Tensor]]:
    for name, value in theirs.items():
        parts: Mapping[str, Tensor] = {renamed(name, table): value}
        for change in changes:
            parts = {k: v for name, value in parts.items() for k, v in change(name, value).items()}
        yield from parts.items()


def _squeezed(x: Tensor) -> list[int]:
    return [extent for extent in x.shape if extent != 1]


# ---- changes of layout ---------------------------------------------------------------------------------------------


def heads_first(head_dim: int) -> Change:
    """qkv rows from (q k v, head, dim) to (head, q k v, dim): ours are cut into heads before they are cut in three."""

    def change(name: str, value: Tensor) -> Mapping[str, Tensor]:
        if ".qkv." in name:
            value = value.unflatten(0, (3, -1, head_dim)).transpose(0, 1).flatten(0, 2)
        return {name: value}

    return change


def table_per_head(name: str, value: Tensor) -> Mapping[str, Tensor]:
    """One table (offsets, heads) of relative position biases into one table for every head."""
    if not name.endswith("relative_position_bias_table"):
        return {name: value}
    attention = re.sub(r"(\.rel_pos)?\.relative_position_bias_table$", "", name)
    return {f"{attention}.heads.{h}.rel_pos_bias.bias.table": column for h, column in enumerate(value.unbind(1))}


def merged_patches(name: str, value: Tensor) -> Mapping[str, Tensor]:
    """Swin merges patches as (column, row, channel); pixel_unshuffle as (channel, row, column)."""
    if re.match(r"stages\.[123]\.blocks\.0\.", name):
        value = value.unflatten(-1, (2, 2, -1)).movedim((-3, -2, -1), (-1, -2, -3)).flatten(-3)
    return {name: value}


def positions_last(name: str, value: Tensor) -> Mapping[str, Tensor]:
    """A position embedding 1 x N x C as C x 1 x N."""
    return {name: value.permute(2, 0, 1) if "pos_embed" in name else value}


# ---- weights worth comparing ---------------------------------------------------------------------------------------


def without_constants(state: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """The state with noise on everything that starts at a constant, so that no branch is silent and no norm trivial."""
    made: dict[str, Tensor] = {}
    for name, value in state.items():
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("running_var"):
            made[name] = 1 + 0.5 * noise.tanh()
        elif value.is_floating_point() and (value.dim() < 2 or bool(value.eq(value.flatten()[0]).all())):
            made[name] = value + 0.1 * noise
        else:
            made[name] = value
    return made
