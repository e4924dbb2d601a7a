"""Real Debian machines in qemu, for what no sandbox has: systemd as process 1, cgroup v2, Debian's kernels, a power cut."""
