"""The version of the toolkit, written down once; the build reads it from here."""

__version__ = "0.1.0"
