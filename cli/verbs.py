"""The table of verbs: name → (module of this package, its Command, one line for --help).  Nothing is imported here."""

from __future__ import annotations

Entry = tuple[str, str, str]

_CONTAINER: dict[str, Entry] = {
    "attach": ("attach", "ATTACH", "Connect this terminal's streams to a running container"),
    "commit": ("archive", "COMMIT", "Make an image of a container's changes"),
    "cp": ("cp", "CP", "Copy files between a container and this host"),
    "create": ("run", "CREATE", "Make a container without starting it"),
    "diff": ("top", "DIFF", "Show what changed in a container's files"),
    "exec": ("exec", "EXEC", "Run a command in a running container"),
    "export": ("archive", "EXPORT", "Write a container's files as a tar archive"),
    "kill": ("lifecycle", "KILL", "Send a signal to running containers"),
    "logs": ("logs", "LOGS", "Show the output of a container"),
    "pause": ("lifecycle", "PAUSE", "Freeze all processes of containers"),
    "port": ("top", "PORT", "List a container's published ports"),
    "rename": ("lifecycle", "RENAME", "Give a container another name"),
    "restart": ("lifecycle", "RESTART", "Stop and start containers"),
    "rm": ("lifecycle", "RM", "Remove containers"),
    "run": ("run", "RUN", "Make and start a container"),
    "start": ("attach", "START", "Start stopped containers"),
    "stats": ("stats", "STATS", "Show what containers use, live"),
    "stop": ("lifecycle", "STOP", "Stop running containers"),
    "top": ("top", "TOP", "Show the processes of a container"),
    "unpause": ("lifecycle", "UNPAUSE", "Let paused containers go on"),
    "update": ("update", "UPDATE", "Change limits and restart policy of containers"),
    "wait": ("wait", "WAIT", "Wait until containers end, or are started, connected, healthy or removed"),
}
_LIST: Entry = ("ps", "PS", "List containers")
_EVENTS: Entry = ("events", "EVENTS", "Show what happens, as it happens")
_INFO: Entry = ("system", "INFO", "Show the daemon, the kernel's features and counts")
_IMAGES: Entry = ("images", "LS", "List images")

VERBS: dict[str, Entry] = {
    **_CONTAINER,
    "audit": ("audit", "AUDIT", "Compare the records with the kernel and the disk"),
    "daemon": ("daemon", "DAEMON", "Run the supervisor"),
    "events": _EVENTS,
    "history": ("history", "HISTORY", "Show the layers of an image, or the past of a container, address or port"),
    "images": _IMAGES,
    "import": ("archive", "IMPORT", "Make an image of a tar archive"),
    "info": _INFO,
    "inspect": ("inspect", "INSPECT", "Show everything about containers, images, networks or volumes"),
    "ps": _LIST,
    "rmi": ("images", "RM", "Remove images"),
    "tag": ("images", "TAG", "Give an image another name"),
    "version": ("system", "VERSION", "Show the versions of client and daemon"),
}

GROUPS: dict[str, tuple[str, dict[str, Entry]]] = {
    "container": (
        "Manage containers",
        {
            **_CONTAINER,
            "history": ("history", "STORY", "Show the past of a container, address or port"),
            "inspect": ("inspect", "CONTAINER", "Show everything about containers"),
            "list": _LIST,
            "ls": _LIST,
            "prune": ("prune", "CONTAINERS", "Remove all stopped containers"),
            "ps": _LIST,
            "remove": _CONTAINER["rm"],
        },
    ),
    "hook": (
        "Manage hooks: programs of this host that events run",
        {
            "disable": ("hook", "DISABLE", "Do not run hooks any longer"),
            "enable": ("hook", "ENABLE", "Run disabled hooks again, from now on"),
            "list": ("hook", "LS", "List hooks, and the files that cannot be one"),
            "ls": ("hook", "LS", "List hooks, and the files that cannot be one"),
            "replay": ("hook", "REPLAY", "Run a hook for the events of the past"),
            "retry": ("hook", "RETRY", "Run a hook once more for events that it was given up for"),
            "runs": ("hook", "RUNS", "Show when hooks ran and how that ended"),
            "test": ("hook", "TEST", "Run the hooks of an event now, recording nothing"),
        },
    ),
    "image": (
        "Manage images",
        {
            "history": ("images", "HISTORY", "Show the layers of an image"),
            "import": VERBS["import"],
            "inspect": ("inspect", "IMAGE", "Show everything about images"),
            "list": _IMAGES,
            "ls": _IMAGES,
            "prune": ("prune", "IMAGES", "Remove unused images"),
            "remove": VERBS["rmi"],
            "rm": VERBS["rmi"],
            "tag": VERBS["tag"],
        },
    ),
    "network": (
        "Manage networks",
        {
            "connect": ("networks", "CONNECT", "Connect a container to a network"),
            "create": ("networks", "CREATE", "Make a network"),
            "disconnect": ("networks", "DISCONNECT", "Disconnect a container from a network"),
            "inspect": ("inspect", "NETWORK", "Show everything about networks"),
            "leases": ("history", "LEASES", "Show whose which address is, or was"),
            "list": ("networks", "LS", "List networks"),
            "ls": ("networks", "LS", "List networks"),
            "prune": ("prune", "NETWORKS", "Remove all unused networks"),
            "remove": ("networks", "RM", "Remove networks"),
            "rm": ("networks", "RM", "Remove networks"),
        },
    ),
    "selftest": (
        "See for yourself that hawse keeps what it promises",
        {
            "chaos": (
                "selftest.chaos",
                "CHAOS",
                "Kill and break everything at random, in a lab, and look what is left",
            ),
            "quick": ("selftest.quick", "QUICK", "Try in a second whether this machine can run containers"),
        },
    ),
    "subscription": (
        "Manage durable readers of the events",
        {
            "create": ("subscription", "CREATE", "Make a subscription"),
            "inspect": ("subscription", "INSPECT", "Show everything about subscriptions"),
            "list": ("subscription", "LS", "List subscriptions"),
            "ls": ("subscription", "LS", "List subscriptions"),
            "pause": ("subscription", "PAUSE", "Deliver nothing until it is resumed"),
            "remove": ("subscription", "RM", "Remove subscriptions"),
            "replay": ("subscription", "REPLAY", "Deliver again from a place"),
            "resume": ("subscription", "RESUME", "Deliver again"),
            "rm": ("subscription", "RM", "Remove subscriptions"),
        },
    ),
    "system": (
        "Manage hawse itself",
        {
            "df": ("disk", "DF", "Show how much disk is used"),
            "events": _EVENTS,
            "info": _INFO,
            "install": (
                "install.command",
                "INSTALL",
                "Put units, completions, man page and group in place, or take them away",
            ),
            "prune": ("prune", "SYSTEM", "Remove everything that is unused"),
            "shutdown": ("system", "SHUTDOWN", "End the daemon"),
        },
    ),
    "volume": (
        "Manage volumes",
        {
            "create": ("volumes", "CREATE", "Make a volume"),
            "inspect": ("inspect", "VOLUME", "Show everything about volumes"),
            "list": ("volumes", "LS", "List volumes"),
            "ls": ("volumes", "LS", "List volumes"),
            "prune": ("prune", "VOLUMES", "Remove unused volumes"),
            "remove": ("volumes", "RM", "Remove volumes"),
            "rm": ("volumes", "RM", "Remove volumes"),
        },
    ),
}
