"""The table of verbs: name → (module of cli/, its Command, one line for --help).  Nothing is imported here."""

from __future__ import annotations

Entry = tuple[str, str, str]

_CONTAINER: dict[str, Entry] = {
    "attach": ("verbs.attach", "ATTACH", "Connect this terminal's streams to a running container"),
    "commit": ("verbs.archive", "COMMIT", "Make an image of a container's changes"),
    "cp": ("verbs.cp", "CP", "Copy files between a container and this host"),
    "create": ("verbs.run", "CREATE", "Make a container without starting it"),
    "diff": ("verbs.top", "DIFF", "Show what changed in a container's files"),
    "exec": ("verbs.exec", "EXEC", "Run a command in a running container"),
    "export": ("verbs.archive", "EXPORT", "Write a container's files as a tar archive"),
    "kill": ("verbs.lifecycle", "KILL", "Send a signal to running containers"),
    "logs": ("verbs.logs", "LOGS", "Show the output of a container"),
    "pause": ("verbs.lifecycle", "PAUSE", "Freeze all processes of containers"),
    "port": ("verbs.top", "PORT", "List a container's published ports"),
    "rename": ("verbs.lifecycle", "RENAME", "Give a container another name"),
    "restart": ("verbs.lifecycle", "RESTART", "Stop and start containers"),
    "rm": ("verbs.lifecycle", "RM", "Remove containers"),
    "run": ("verbs.run", "RUN", "Make and start a container"),
    "start": ("verbs.attach", "START", "Start stopped containers"),
    "stats": ("verbs.stats", "STATS", "Show what containers use, live"),
    "stop": ("verbs.lifecycle", "STOP", "Stop running containers"),
    "top": ("verbs.top", "TOP", "Show the processes of a container"),
    "unpause": ("verbs.lifecycle", "UNPAUSE", "Let paused containers go on"),
    "update": ("verbs.update", "UPDATE", "Change limits and restart policy of containers"),
    "wait": ("verbs.wait", "WAIT", "Wait until containers end, or are started, connected, healthy or removed"),
}
_LIST: Entry = ("verbs.ps", "PS", "List containers")
_EVENTS: Entry = ("verbs.events", "EVENTS", "Show what happens, as it happens")
_INFO: Entry = ("verbs.system", "INFO", "Show the daemon, the kernel's features and counts")
_PULL: Entry = ("verbs.pull", "PULL", "Fetch an image from a registry")
_PUSH: Entry = ("verbs.push", "PUSH", "Send an image to a registry")
_IMAGES: Entry = ("verbs.images", "LS", "List images")

VERBS: dict[str, Entry] = {
    **_CONTAINER,
    "audit": ("verbs.audit", "AUDIT", "Compare the records with the kernel and the disk"),
    "daemon": ("verbs.daemon", "DAEMON", "Run the supervisor"),
    "events": _EVENTS,
    "history": ("verbs.history", "HISTORY", "Show the layers of an image, or the past of a container, address or port"),
    "images": _IMAGES,
    "import": ("verbs.archive", "IMPORT", "Make an image of a tar archive"),
    "info": _INFO,
    "inspect": ("verbs.inspect", "INSPECT", "Show everything about containers, images, networks or volumes"),
    "login": ("verbs.login", "LOGIN", "Log in to a registry"),
    "logout": ("verbs.login", "LOGOUT", "Forget the credentials for a registry"),
    "ps": _LIST,
    "pull": _PULL,
    "push": _PUSH,
    "rmi": ("verbs.images", "RM", "Remove images"),
    "tag": ("verbs.images", "TAG", "Give an image another name"),
    "version": ("verbs.system", "VERSION", "Show the versions of client and daemon"),
}

GROUPS: dict[str, tuple[str, dict[str, Entry]]] = {
    "container": (
        "Manage containers",
        {
            **_CONTAINER,
            "history": ("verbs.history", "STORY", "Show the past of a container, address or port"),
            "inspect": ("verbs.inspect", "CONTAINER", "Show everything about containers"),
            "list": _LIST,
            "ls": _LIST,
            "prune": ("verbs.prune", "CONTAINERS", "Remove all stopped containers"),
            "ps": _LIST,
            "remove": _CONTAINER["rm"],
        },
    ),
    "hook": (
        "Manage hooks: programs of this host that events run",
        {
            "disable": ("verbs.hook", "DISABLE", "Do not run hooks any longer"),
            "enable": ("verbs.hook", "ENABLE", "Run disabled hooks again, from now on"),
            "list": ("verbs.hook", "LS", "List hooks, and the files that cannot be one"),
            "ls": ("verbs.hook", "LS", "List hooks, and the files that cannot be one"),
            "replay": ("verbs.hook", "REPLAY", "Run a hook for the events of the past"),
            "retry": ("verbs.hook", "RETRY", "Run a hook once more for events that it was given up for"),
            "runs": ("verbs.hook", "RUNS", "Show when hooks ran and how that ended"),
            "test": ("verbs.hook", "TEST", "Run the hooks of an event now, recording nothing"),
        },
    ),
    "image": (
        "Manage images",
        {
            "history": ("verbs.images", "HISTORY", "Show the layers of an image"),
            "import": VERBS["import"],
            "inspect": ("verbs.inspect", "IMAGE", "Show everything about images"),
            "list": _IMAGES,
            "ls": _IMAGES,
            "prune": ("verbs.prune", "IMAGES", "Remove unused images"),
            "pull": _PULL,
            "push": _PUSH,
            "remove": VERBS["rmi"],
            "rm": VERBS["rmi"],
            "tag": VERBS["tag"],
        },
    ),
    "network": (
        "Manage networks",
        {
            "connect": ("verbs.networks", "CONNECT", "Connect a container to a network"),
            "create": ("verbs.networks", "CREATE", "Make a network"),
            "disconnect": ("verbs.networks", "DISCONNECT", "Disconnect a container from a network"),
            "inspect": ("verbs.inspect", "NETWORK", "Show everything about networks"),
            "leases": ("verbs.history", "LEASES", "Show whose which address is, or was"),
            "list": ("verbs.networks", "LS", "List networks"),
            "ls": ("verbs.networks", "LS", "List networks"),
            "prune": ("verbs.prune", "NETWORKS", "Remove all unused networks"),
            "remove": ("verbs.networks", "RM", "Remove networks"),
            "rm": ("verbs.networks", "RM", "Remove networks"),
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
            "create": ("verbs.subscription", "CREATE", "Make a subscription"),
            "inspect": ("verbs.subscription", "INSPECT", "Show everything about subscriptions"),
            "list": ("verbs.subscription", "LS", "List subscriptions"),
            "ls": ("verbs.subscription", "LS", "List subscriptions"),
            "pause": ("verbs.subscription", "PAUSE", "Deliver nothing until it is resumed"),
            "remove": ("verbs.subscription", "RM", "Remove subscriptions"),
            "replay": ("verbs.subscription", "REPLAY", "Deliver again from a place"),
            "resume": ("verbs.subscription", "RESUME", "Deliver again"),
            "rm": ("verbs.subscription", "RM", "Remove subscriptions"),
        },
    ),
    "system": (
        "Manage hawse itself",
        {
            "df": ("verbs.disk", "DF", "Show how much disk is used"),
            "events": _EVENTS,
            "info": _INFO,
            "install": (
                "install.command",
                "INSTALL",
                "Put units, completions, man page and group in place, or take them away",
            ),
            "prune": ("verbs.prune", "SYSTEM", "Remove everything that is unused"),
            "shutdown": ("verbs.system", "SHUTDOWN", "End the daemon"),
        },
    ),
    "volume": (
        "Manage volumes",
        {
            "create": ("verbs.volumes", "CREATE", "Make a volume"),
            "inspect": ("verbs.inspect", "VOLUME", "Show everything about volumes"),
            "list": ("verbs.volumes", "LS", "List volumes"),
            "ls": ("verbs.volumes", "LS", "List volumes"),
            "prune": ("verbs.prune", "VOLUMES", "Remove unused volumes"),
            "remove": ("verbs.volumes", "RM", "Remove volumes"),
            "rm": ("verbs.volumes", "RM", "Remove volumes"),
        },
    ),
}
