"""Kinds of moves, one file for each family."""
