"""Which drivers there are: the built-in ones, and those that other packages provide as entry points.

What is installed is looked at when somebody first names a driver that is not built in, and only then: that reads the
metadata of every package (importlib.metadata), and a host without foreign drivers never pays for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hawse.supervisor.core.errors import NotFound, Unavailable
from hawse.supervisor.network.driver import Driver, Edges, Make
from hawse.supervisor.network.drivers.bridge import Bridge
from hawse.supervisor.network.drivers.host import Host
from hawse.supervisor.network.drivers.none import Null

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

GROUP: Final = "hawse.network_drivers"
BUILTIN: Final[dict[str, Make]] = {"bridge": Bridge, "host": Host, "null": Null}


class Registry:
    def __init__(self, edges: Edges) -> None:
        self._edges = edges
        self._drivers: dict[str, Driver] = {name: make(edges) for name, make in BUILTIN.items()}
        self._installed: EntryPoints | None = None

    def is_known(self, name: str) -> bool:
        """Tell whether `find` answers without looking what is installed."""
        return name in self._drivers

    def find(self, name: str) -> Driver:
        """Raises NotFound when nobody provides it, Unavailable when it cannot be loaded."""
        found = self._drivers.get(name)
        if found is None:
            found = self._drivers[name] = self._load(name)
        return found

    def _load(self, name: str) -> Driver:
        from importlib.metadata import entry_points

        if self._installed is None:
            self._installed = entry_points(group=GROUP)
        points = self._installed.select(name=name)
        if not points:
            known = ", ".join(sorted({*BUILTIN, *self._installed.names}))
            raise NotFound(f'could not find a driver named "{name}"', hint=f"there are {known}")
        (point, *_) = points
        try:
            driver: Driver = point.load()(self._edges)
        except Exception as e:  # whatever somebody else's code raises
            raise Unavailable(f'network driver "{name}" ({point.value}) cannot be loaded: {e!r}') from e
        return driver
