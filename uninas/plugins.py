"""Plug-ins: packages from outside that bring operations, spaces, proxies, strategies, moves, executors and exporters.

A plug-in is a module whose import registers things. It is found by the entry-point group `uninas.plugins` of an
installed package, by the environment variable UNINAS_PLUGINS (module names, separated by commas), or by
`--plugin MODULE`.

    >>> colours = Registry("colour")
    >>> colours.add("red", 0xFF0000)
    16711680
    >>> colours.find("rad")
    Traceback (most recent call last):
    uninas.errors.UninasError: error[UNI010]: there is no colour rad
      note: did you mean 'red'?

A registry loads the plug-ins when it is asked for a name that it does not have, or for all its names; so a command that
needs none pays nothing. Processes that are started inherit UNINAS_PLUGINS, and with it the plug-ins.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, entry_points, packages_distributions, version
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar, Generic, TypeVar

from uninas.errors import did_you_mean, error, shown

GROUP = "uninas.plugins"
VARIABLE = "UNINAS_PLUGINS"
T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Objects of one kind by name, open to plug-ins. Iterating gives the names in the order they came."""

    kinds: ClassVar[dict[str, Registry[Any]]] = {}
    """Every registry by what it holds: "operation", "proxy", ..."""

    def __init__(self, kind: str, items: Mapping[str, T] | None = None):
        self.kind = kind
        self._items: dict[str, T] = {}
        self._owners: dict[str, str] = {}
        Registry.kinds[kind] = self
        for name, item in (items or {}).items():
            self.add(name, item, owner="uninas")

    def add(self, name: str, item: T, *, owner: str = "") -> T:
        """Register an object, and return it. `owner` is the module that brings it, by default the object's own.

        Raises UNI011 where the name is taken, naming both modules.
        """
        own = item.__module__ if isinstance(item, type | FunctionType) else ""
        owner = owner or own or _plugin_now() or "unknown"
        if name in self._items:
            both = f"one of {self._owners[name]}, one of {owner}"
            raise error(
                "UNI011",
                f"two objects of the kind {self.kind} are named {shown(name)}: {both}",
                None,
                "rename one of them",
            )
        self._items[name] = item
        self._owners[name] = owner
        return item

    @contextmanager
    def restored(self) -> Iterator[None]:
        """What is registered inside is forgotten afterwards: for tests."""
        items, owners = dict(self._items), dict(self._owners)
        try:
            yield
        finally:
            self._items, self._owners = items, owners

    def find(self, name: str, *others: str) -> T:
        """The object of that name; raises UNI010 with the nearest name, also among `others`, or with all names."""
        if name in self:
            return self[name]
        hint = did_you_mean(name, [*self, *others]) or f"there are {', '.join(self)}"
        raise error("UNI010", f"there is no {self.kind} {shown(name)}", None, hint)

    def owner(self, name: str) -> str:
        """The module that brought an object."""
        self[name]
        return self._owners[name]

    def __getitem__(self, name: str) -> T:
        if name not in self._items:
            load()
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        load()
        return iter(list(self._items))

    def __len__(self) -> int:
        load()
        return len(self._items)

    def __repr__(self) -> str:
        return f"Registry({self.kind}: {', '.join(self._items)})"


LIBRARIES: Registry[Path] = Registry("library")
"""Folders of `.uni` files that plug-ins bring, laid out as `spaces/` is: blocks/, networks/ and spaces beside them."""


# ---- loading ---------------------------------------------------------------------------------------------------------

_lock = threading.RLock()
_loaded: dict[str, str] = {}  # module -> version
_loading: list[str] = []


class _State:
    complete = False


_state = _State()


def use(modules: Iterable[str]) -> None:
    """Load these plug-ins too, here and in every process started from now on. Raises UNI140 for one that fails."""
    named = _named()
    os.environ[VARIABLE] = ",".join(dict.fromkeys([*named, *map(_checked, modules)]))
    _state.complete = False
    load()


def load() -> None:
    """Import every plug-in that is installed or named, once. Raises UNI140 for one that fails."""
    if _state.complete:
        return
    with _lock:
        if _loading:  # a plug-in that is being imported asks a registry
            return
        for module in dict.fromkeys([*installed(), *_named()]):
            if module not in _loaded:
                _import(module)
        _state.complete = True


def installed() -> dict[str, str]:
    """Modules that installed packages name in the group `uninas.plugins`, each with the name of its entry point."""
    return {point.value.partition(":")[0]: point.name for point in entry_points(group=GROUP)}


def loaded() -> dict[str, str]:
    """The plug-ins that are in use, each with its version ('' where it has none)."""
    load()
    return dict(_loaded)


def allowed(module: str) -> bool:
    """Whether the user has named this plug-in, or installed it: what a run folder alone asks for is not imported."""
    return module in installed() or module in _named()


def missing(recorded: Any) -> str:
    """Of plug-ins that a run has recorded with their versions, what is missing or different here; '' if nothing is."""
    here = loaded()
    known = recorded if isinstance(recorded, dict) else {}
    for module, before in known.items():
        if module not in here:
            return f"the plug-in {shown(module)} {shown(before)}".rstrip() + " is not loaded"
        if here[module] != before:
            return f"the plug-in {shown(module)} had version {shown(before or '-')}, now {here[module] or '-'}"
    return ""


def require(recorded: Any, place: Path) -> None:
    """Raises UNI140 where a plug-in that the run in a folder was begun with is missing, or has another version."""
    if lacking := missing(recorded):
        raise error(
            "UNI140",
            f"{shown(place, 200)} was begun otherwise: {lacking}",
            None,
            "name it: --plugin MODULE; or go on without it: --any-version",
        )


def brought(module: str) -> dict[str, list[str]]:
    """What a plug-in registered: names by kind."""
    load()
    found = {
        kind: [name for name in registry if _within(registry.owner(name), module)]
        for kind, registry in Registry.kinds.items()
    }
    return {kind: names for kind, names in found.items() if names}


def resolve(reference: str) -> Any:
    """The object that MODULE:NAME names. Raises UNI140 where it cannot be imported."""
    module, _, name = reference.partition(":")
    found: Any = _import(_checked(module))
    for part in name.split("."):
        if not hasattr(found, part):
            raise error("UNI140", f"there is no {shown(name)} in {module}", None, did_you_mean(part, dir(found)))
        found = getattr(found, part)
    return found


def _import(module: str) -> Any:
    with _lock, _here_too():
        _loading.append(module)
        try:
            imported = import_module(module)
        except Exception as problem:  # whatever a plug-in raises while it is imported
            missing = isinstance(problem, ModuleNotFoundError) and problem.name == module.partition(".")[0]
            way_out = f"is it installed, or in {Path.cwd()}?" if missing else "mend it, or do without it"
            raise error("UNI140", f"cannot load the plug-in {module}: {type(problem).__name__}: {shown(problem, 300)}",
                        None, way_out) from problem  # fmt: skip
        finally:
            _loading.pop()
        _loaded[module] = _version(module, imported)
        return imported


@contextmanager
def _here_too() -> Iterator[None]:
    """Modules beside the user are found, as `python` finds them and an installed command does not."""
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        yield
    finally:
        with suppress(ValueError):  # the plug-in may have changed the path itself
            sys.path.remove(here)


def _plugin_now() -> str:
    return _loading[-1] if _loading else ""


def _named() -> list[str]:
    return [_checked(name.strip()) for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]


def _checked(module: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", module):
        raise error("UNI140", f"expected the name of a module, but got {shown(module)}", None, "--plugin my_package")
    return module


def _version(module: str, imported: Any) -> str:
    top = module.partition(".")[0]
    named = [
        point.dist for point in entry_points(group=GROUP) if point.dist and point.value.partition(":")[0] == module
    ]
    if named:
        return named[0].version
    with suppress(PackageNotFoundError):  # mostly a distribution is called as its module is
        return version(top)
    if "site-packages" in str(getattr(imported, "__file__", "")):  # to ask all distributions takes half a second
        for distribution in packages_distributions().get(top, ()):
            return version(distribution)
    return str(getattr(imported, "__version__", ""))


def _within(owner: str, module: str) -> bool:
    return owner == module or owner.startswith(f"{module}.")
