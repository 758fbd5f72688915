"""What tests of several folders share."""

import re


def named(value: object) -> str:
    """The name of a parameter in the name of its test: the same in every process, so without addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))[:80]
