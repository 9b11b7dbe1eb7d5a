"""A queue between two threads that ends when its sender does."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """Nothing will come through this channel any more."""


class Channel(Generic[T]):
    """A queue that can be closed. What is in it can still be taken out."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: T) -> None:
        with self._changed:
            self._items.append(item)
            self._changed.notify()

    def get(self) -> T:
        """The next item; waits for it. Raises Closed."""
        with self._changed:
            while not self._items:
                if self._closed:
                    raise Closed
                self._changed.wait()
            return self._items.popleft()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        while True:
            try:
                yield self.get()
            except Closed:
                return
