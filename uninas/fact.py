"""`fact`: a property that is computed once and kept, for values that never change and are read in many threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

Value = TypeVar("Value")


class fact(Generic[Value]):
    """A property that is kept in the object's `__dict__` under its own name after it is first computed.

    It takes no lock, unlike `functools.cached_property` of Python 3.11, which holds one lock for each property of a
    class: two threads that need two properties in opposite orders wait for each other for good. Here two threads may
    compute the same fact at once, and both get the value that was stored first. So the function must give equal values
    each time.
    """

    def __init__(self, compute: Callable[[Any], Value]):
        self.compute = compute
        self.name = compute.__name__
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...
    def __get__(self, instance: object | None, owner: type) -> Self | Value:
        if instance is None:
            return self
        value: Value = instance.__dict__.setdefault(self.name, self.compute(instance))
        return value
