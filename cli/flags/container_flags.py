"""The flags of `run` and `create`: what a container can be asked to be."""

from __future__ import annotations

from hawse.cli.flags.flags import Flag

IDENTITY = (
    Flag("name", help="Name of the container"),
    Flag("hostname", "h", help="Host name inside"),
    Flag("domainname", help="NIS domain name inside"),
    Flag("label", "l", "list", "Set metadata, NAME=VALUE"),
    Flag("label-file", kind="list", help="Read metadata from a file, a line each"),
    Flag("on", kind="list", help="Run a command on this host as root on an event of it, EVENT=COMMAND"),
    Flag("cidfile", help="Write the container's id to this file"),
    Flag("rootfs", help="Use a directory as the root instead of an image, copy-on-write ('/' is this host)"),
    Flag("pull", help="Pull the image before creating: always, missing or never", default="missing"),
    Flag("platform", help="Pull the image for this platform, such as linux/arm64"),
    Flag("quiet", "q", "bool", "Do not show how a pull goes on"),
)
PROCESS = (
    Flag("attach", "a", "list", "Attach to stdin, stdout or stderr"),
    Flag("interactive", "i", "bool", "Keep standard input open"),
    Flag("tty", "t", "bool", "Give the program a terminal"),
    Flag("env", "e", "env", "Set an environment variable, NAME=VALUE or NAME to pass on yours"),
    Flag("env-file", kind="list", help="Read environment variables from a file"),
    Flag("workdir", "w", help="Working directory inside"),
    Flag("user", "u", help="User name or id, and group after a colon"),
    Flag("group-add", kind="list", help="Add a supplementary group"),
    Flag("entrypoint", help="Replace the image's entrypoint"),
    Flag("init", kind="bool", help="Run a small init as process 1 that reaps and forwards signals"),
    Flag("stop-signal", help="Signal that stops the container"),
    Flag("stop-timeout", kind="int", help="Seconds to wait before it is killed", default=-1),
    Flag("restart", help="When to start it again: no, on-failure[:N], always, unless-stopped", default="no"),
    Flag("rm", kind="bool", help="Remove the container when it ends"),
)
NETWORK = (
    Flag("network", kind="list", help="A network's name, none, host or container:NAME", aliases=("net",)),
    Flag("network-alias", kind="list", help="One more name on the network", aliases=("net-alias",)),
    Flag("ip", help="IPv4 address on the network"),
    Flag("ip6", help="IPv6 address on the network", hidden=True),
    Flag("mac-address", help="MAC address on the network"),
    Flag("publish", "p", "list", "Publish a port: [IP:][HOST:]CONTAINER[/udp], ranges too"),
    Flag("publish-all", "P", "bool", "Publish every exposed port on a free one"),
    Flag("expose", kind="list", help="Declare a port without publishing it"),
    Flag("add-host", kind="list", help="Add a line to /etc/hosts, NAME:ADDRESS"),
    Flag("dns", kind="list", help="Ask this resolver"),
    Flag("dns-search", kind="list", help="Search in this domain"),
    Flag("dns-option", kind="list", help="Set a resolver option", aliases=("dns-opt",)),
    Flag("link", kind="list", help="Find another container by one more name, NAME[:ALIAS]"),
)
FILES = (
    Flag("volume", "v", "list", "Mount SOURCE:TARGET[:ro], a host path or a volume's name"),
    Flag("mount", kind="mount", help="Mount type=bind|volume|tmpfs,source=…,target=…[,readonly]"),
    Flag("tmpfs", kind="list", help="Mount a tmpfs, TARGET[:OPTIONS]"),
    Flag("read-only", kind="bool", help="Mount the root read-only"),
    Flag("shm-size", kind="bytes", help="Size of /dev/shm"),
    Flag("device", kind="list", help="Make a host device visible"),
    Flag("device-cgroup-rule", kind="list", help="Let it use devices by number, such as 'c 189:* rwm'"),
    Flag("volumes-from", kind="list", help="Not supported: name the volumes", hidden=True),
)
LIMITS = (
    Flag("memory", "m", "bytes", "Memory limit"),
    Flag("memory-swap", kind="bytes", help="Limit of memory and swap together, -1 for no limit"),
    Flag("memory-reservation", kind="bytes", help="Memory that is left to it as long as there is any"),
    Flag("cpus", kind="decimal", help="How many CPUs' time it may use, such as 1.5"),
    Flag("cpu-shares", "c", "int", "Relative weight of its CPU time"),
    Flag("cpu-period", kind="int", help="CFS period in microseconds"),
    Flag("cpu-quota", kind="int", help="CFS quota in microseconds"),
    Flag("cpuset-cpus", help="The CPUs that it may use, such as 0-2,4"),
    Flag("cpuset-mems", help="The memory nodes that it may use, such as 0,1"),
    Flag("pids-limit", kind="int", help="How many processes it may have"),
    Flag("ulimit", kind="ulimit", help="Resource limit, NAME=SOFT[:HARD]"),
    Flag("oom-score-adj", kind="int", help="Preference of the OOM killer, -1000 to 1000"),
    Flag("oom-kill-disable", kind="bool", help="Out of memory, its processes wait and none is killed; cgroup v1"),
    Flag(
        "memory-swappiness", kind="int", default=-1, help="How readily its memory is swapped out, 0 to 100; cgroup v1"
    ),
    Flag("blkio-weight", kind="int", help="Relative weight of its block I/O, 10 to 1000"),
    Flag("blkio-weight-device", kind="list", help="The same for one device, /dev/sda:200"),
    Flag("device-read-bps", kind="list", help="Bytes a second that it may read, /dev/sda:1mb"),
    Flag("device-write-bps", kind="list", help="Bytes a second that it may write, /dev/sda:1mb"),
    Flag("device-read-iops", kind="list", help="Reads a second, /dev/sda:100"),
    Flag("device-write-iops", kind="list", help="Writes a second, /dev/sda:100"),
)
SECURITY = (
    Flag("cap-add", kind="list", help="Add a capability"),
    Flag("cap-drop", kind="list", help="Drop a capability"),
    Flag("privileged", kind="bool", help="All capabilities and devices, nothing masked"),
    Flag("security-opt", kind="list", help="no-new-privileges[=false], seccomp=unconfined, apparmor=PROFILE"),
    Flag("userns", help="'host' for no user namespace of its own"),
    Flag("sysctl", kind="list", help="Set a sysctl of its namespaces, NAME=VALUE"),
    Flag("ipc", hidden=True),
    Flag("pid", hidden=True),
    Flag("uts", hidden=True),
    Flag("cgroupns", hidden=True),
    Flag("cgroup-parent", hidden=True),
    Flag("isolation", hidden=True),
    Flag("runtime", hidden=True),
)
HEALTH = (
    Flag("health-cmd", help="Command that checks its health"),
    Flag("health-interval", kind="duration", help="Time between two checks"),
    Flag("health-timeout", kind="duration", help="Time that a check may take"),
    Flag("health-retries", kind="int", help="Failures in a row until it counts as unhealthy"),
    Flag("health-start-period", kind="duration", help="Time in which failures do not count yet"),
    Flag("health-start-interval", kind="duration", help="Time between two checks while it starts"),
    Flag("no-healthcheck", kind="bool", help="Do not run the image's health check"),
    Flag("log-driver", help="json-file, journald for systemd's journal as well, or none to keep no log"),
    Flag("log-opt", kind="list", help="max-size=10m, max-file=3, labels=NAME,…, env=NAME,…"),
)
CONTAINER = tuple(
    sorted((*IDENTITY, *PROCESS, *NETWORK, *FILES, *LIMITS, *SECURITY, *HEALTH), key=lambda flag: flag.name)
)
FOREGROUND = (
    Flag("detach", "d", "bool", "Run in the background and print the id"),
    Flag("detach-keys", help="Keys that detach from it", default=""),
    Flag("sig-proxy", kind="bool", help="Pass signals on to the program", default=True),
)
