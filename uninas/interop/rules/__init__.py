"""How each function is lowered: one rule for each, by its name in ATen, and a file for each kind.

Importing the package registers all of them. `placing` and `constants` are what several rules do.
"""

from uninas.interop.rules import along as _along  # noqa: F401
from uninas.interop.rules import axes as _axes  # noqa: F401
from uninas.interop.rules import elementwise as _elementwise  # noqa: F401
from uninas.interop.rules import layers as _layers  # noqa: F401
from uninas.interop.rules import maps as _maps  # noqa: F401
from uninas.interop.rules import norms as _norms  # noqa: F401
from uninas.interop.rules import parts as _parts  # noqa: F401
from uninas.interop.rules import products as _products  # noqa: F401
from uninas.interop.rules import tables as _tables  # noqa: F401
