"""The learning rate as a pure function of the number of the update, so that to resume is to compute it again."""

from __future__ import annotations

import math

from uninas.training.recipe import Recipe


def learning_rate(recipe: Recipe, update: int, per_epoch: int) -> float:
    """The rate of an update, counted from 0, where an epoch has `per_epoch` of them.

    It rises linearly while it warms up; what follows is computed as if there had been no warming up, as in timm
    with `warmup_prefix` off, so that a schedule of 150 epochs has the shape of 150 epochs.
    """
    warm = recipe.warmup_epochs * per_epoch
    if update < warm:
        return recipe.warmup_lr + (recipe.lr - recipe.warmup_lr) * update / warm
    share = update / (recipe.epochs * per_epoch)
    if recipe.schedule == "cosine":  # Loshchilov & Hutter 2017, eq. 5
        return recipe.min_lr + (recipe.lr - recipe.min_lr) * (1 + math.cos(math.pi * share)) / 2
    if recipe.schedule == "linear":
        return recipe.min_lr + (recipe.lr - recipe.min_lr) * (1 - share)
    if recipe.schedule == "multi_step":
        passed = sum(update >= milestone * per_epoch for milestone in recipe.milestones)
        return max(recipe.lr * 0.1**passed, recipe.min_lr)
    return recipe.lr
