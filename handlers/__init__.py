"""The handlers that hawse brings, in the order in which they see an event.

This tuple is the whole registration: what happens on a start or an exit is read here, top to bottom.  A handler of a user
(entry-point group `hawse.handlers`, a file in handlers.d, a script in hooks.d) has the same interface and comes after.
"""

from __future__ import annotations

from hawse.handlers import auto_remove, connect, disconnect, record, restart
from hawse.handlers.decorator import on as on
from hawse.supervisor.dispatch.handler import Handler

BUILTIN: tuple[Handler, ...] = (
    connect.HANDLER,
    record.HANDLER,
    disconnect.HANDLER,
    auto_remove.HANDLER,
    restart.SCHEDULE,
    restart.START,
    restart.RESUME,
)
