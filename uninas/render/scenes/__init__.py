"""Scenes: what a picture shows and how it is laid out, before any format."""
