/* The lower bound: a container's start in plain system calls, no interpreter, no store, no API.
 *
 *   floor [-u] [-g NAME] [-n] BRIDGE GATEWAY LOWER WORK RUNS     one at a time: JSON, medians in microseconds per stage
 *   floor -b COUNT [-u] [-g NAME] BRIDGE GATEWAY LOWER WORK 1    COUNT alive at once, then all killed: JSON, milliseconds
 *
 *   -u  also a user namespace with 65,536 mapped ids
 *   -g  also a cgroup NAME-floor-N in every mounted v1 hierarchy
 *   -n  no network device
 *
 * A run does what hawse's start does to the kernel: upper and work directories, clone3 of six or seven namespaces, a
 * veth pair into the namespace with its host side on BRIDGE, lo and eth0 up, address, default route, overlay, /proc,
 * /sys, /dev, pivot_root, exec of LOWER's /bin/probe.  The stages are what hawse's own are compared with
 * (docs/performance.md).  "first" ends in the child just before execve.  Run it inside the lab.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/veth.h>
#include <net/if.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_RUNS 1000
#define CHECK(what, ok)                                                                                                \
    do {                                                                                                               \
        if (!(ok)) {                                                                                                   \
            perror("floor: " what);                                                                                    \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

enum { PREPARE, NAMESPACES, CGROUP, VETH, INSIDE, MOUNTS, FIRST, STAGES };
static const char *const stage_name[] = {"prepare", "namespaces", "cgroup", "veth", "inside", "mounts", "first"};

/* written by the child, read by the parent */
static struct shared {
    double woken, joined, configured, mounted;
} *shared;

static const char *lower, *work, *cgroup;
static struct in_addr gateway;
static int with_user, with_net = 1, bridge, route;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

/* --- rtnetlink: one request, one acknowledgement --- */

struct message {
    struct nlmsghdr head;
    char body[1024];
};

static int open_route(void)
{
    struct sockaddr_nl me = {.nl_family = AF_NETLINK};
    int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    CHECK("netlink", s >= 0 && !bind(s, (void *)&me, sizeof me));
    return s;
}

static void *grow(struct message *m, int size)
{
    void *at = (char *)m + NLMSG_ALIGN(m->head.nlmsg_len);
    m->head.nlmsg_len = NLMSG_ALIGN(m->head.nlmsg_len) + size;
    return at;
}

static void begin(struct message *m, int type, int flags)
{
    memset(m, 0, sizeof *m);
    m->head = (struct nlmsghdr){sizeof m->head, type, NLM_F_REQUEST | NLM_F_ACK | flags, 0, 0};
}

static struct rtattr *add(struct message *m, int type, const void *data, int size)
{
    struct rtattr *a = grow(m, RTA_LENGTH(size));
    a->rta_type = type, a->rta_len = RTA_LENGTH(size);
    memcpy(RTA_DATA(a), data, size);
    return a;
}

static void close_nest(struct message *m, struct rtattr *a)
{
    a->rta_len = (char *)m + NLMSG_ALIGN(m->head.nlmsg_len) - (char *)a;
}

static void talk(int s, struct message *m, const char *what)
{
    char answer[4096];
    int n = -1;
    if (send(s, m, m->head.nlmsg_len, 0) > 0)
        n = recv(s, answer, sizeof answer, 0);
    struct nlmsghdr *h = (void *)answer;
    if (n > 0 && h->nlmsg_type == NLMSG_ERROR && ((struct nlmsgerr *)NLMSG_DATA(h))->error == 0)
        return;
    errno = n > 0 ? -((struct nlmsgerr *)NLMSG_DATA(h))->error : errno;
    perror(what);
    _exit(1);
}

static void add_veth(const char *name, pid_t pid)
{
    struct message m;
    begin(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    struct ifinfomsg *link = grow(&m, sizeof *link);
    link->ifi_flags = link->ifi_change = IFF_UP;
    add(&m, IFLA_IFNAME, name, strlen(name) + 1);
    add(&m, IFLA_MASTER, &bridge, sizeof bridge);
    struct rtattr *info = add(&m, IFLA_LINKINFO, "", 0);
    add(&m, IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = add(&m, IFLA_INFO_DATA, "", 0), *peer = add(&m, VETH_INFO_PEER, "", 0);
    grow(&m, sizeof(struct ifinfomsg));
    add(&m, IFLA_IFNAME, "eth0", 5);
    add(&m, IFLA_NET_NS_PID, &pid, sizeof pid);
    close_nest(&m, peer), close_nest(&m, data), close_nest(&m, info);
    talk(route, &m, "floor: veth");
}

static void set_up(int s, int index)
{
    struct message m;
    begin(&m, RTM_NEWLINK, 0);
    struct ifinfomsg *link = grow(&m, sizeof *link);
    link->ifi_index = index, link->ifi_flags = link->ifi_change = IFF_UP;
    talk(s, &m, "floor: link up");
}

static void configure_inside(int run)
{
    int s = open_route(), index = if_nametoindex("eth0");
    struct in_addr mine = {htonl(ntohl(gateway.s_addr) + 1 + run)};
    struct message m;
    set_up(s, 1);
    set_up(s, index);
    begin(&m, RTM_NEWADDR, NLM_F_CREATE);
    struct ifaddrmsg *address = grow(&m, sizeof *address);
    address->ifa_family = AF_INET, address->ifa_prefixlen = 16, address->ifa_index = index;
    add(&m, IFA_LOCAL, &mine, sizeof mine);
    add(&m, IFA_ADDRESS, &mine, sizeof mine);
    talk(s, &m, "floor: address");
    begin(&m, RTM_NEWROUTE, NLM_F_CREATE);
    struct rtmsg *way = grow(&m, sizeof *way);
    way->rtm_family = AF_INET, way->rtm_table = RT_TABLE_MAIN, way->rtm_protocol = RTPROT_STATIC;
    way->rtm_type = RTN_UNICAST;
    add(&m, RTA_GATEWAY, &gateway, sizeof gateway);
    talk(s, &m, "floor: route");
    close(s);
}

/* --- cgroup v1: one directory in every writable hierarchy --- */

enum act { MAKE, JOIN, REMOVE };

static void cgroup_each(int run, enum act act)
{
    DIR *all = opendir("/sys/fs/cgroup");
    char dir[400], path[500], text[200];
    for (struct dirent *e; all && (e = readdir(all));) {
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s/cgroup.procs", e->d_name);
        if (e->d_name[0] == '.' || !strcmp(e->d_name, "unified") || access(path, W_OK))
            continue;
        snprintf(dir, sizeof dir, "/sys/fs/cgroup/%s/%s-floor-%d", e->d_name, cgroup, run);
        if (act == REMOVE) {
            CHECK("rmdir of a cgroup", !rmdir(dir));
            continue;
        }
        if (act == JOIN) {
            /* "0" in tasks: a thread that moves itself needs no lock; a pid in cgroup.procs waits 10 ms for RCU */
            snprintf(path, sizeof path, "%s/tasks", dir);
            int f = open(path, O_WRONLY);
            CHECK("tasks", write(f, "0", 1) == 1);
            close(f);
            continue;
        }
        CHECK("mkdir of a cgroup", !mkdir(dir, 0755));
        static const char *const inherited[] = {"cpuset.cpus", "cpuset.mems"};
        for (int i = 0; i < 2 && !strcmp(e->d_name, "cpuset"); i++) {
            snprintf(path, sizeof path, "/sys/fs/cgroup/cpuset/%s", inherited[i]);
            int from = open(path, O_RDONLY), n = read(from, text, sizeof text);
            snprintf(path, sizeof path, "%s/%s", dir, inherited[i]);
            int to = open(path, O_WRONLY);
            CHECK("cpuset", n > 0 && write(to, text, n) == n);
            close(from), close(to);
        }
    }
    closedir(all);
}

/* --- the container --- */

static void write_map(const char *file, pid_t pid, int run)
{
    char path[64], text[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    int f = open(path, O_WRONLY), n = snprintf(text, sizeof text, "0 %d 65536", 2000000 + run * 65536);
    CHECK("id map", write(f, text, n) == n);
    close(f);
}

static void enter_root(int run)
{
    static const char *const node[] = {"null", "zero", "full", "random", "urandom", "tty"};
    char options[1500], merged[400], from[40], to[40];
    CHECK("private mounts", !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    snprintf(merged, sizeof merged, "%s/%d/merged", work, run);
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s/%d/upper,workdir=%s/%d/work%s", lower, work, run, work,
             run, with_user ? ",userxattr" : "");
    CHECK("overlay", !mount("overlay", merged, "overlay", MS_NODEV, options) && !chdir(merged));
    CHECK("proc", !mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
    if (with_net)
        CHECK("sysfs", !mount("sysfs", "sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
    CHECK("dev", !mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=64k"));
    for (int i = 0; i < 6; i++) {
        snprintf(from, sizeof from, "/dev/%s", node[i]);
        snprintf(to, sizeof to, "dev/%s", node[i]);
        close(open(to, O_CREAT | O_WRONLY, 0666));
        CHECK("device", !mount(from, to, NULL, MS_BIND, NULL));
    }
    CHECK("directories", !mkdir("dev/pts", 0755) && !mkdir("dev/shm", 01777) && !mkdir("dev/mqueue", 0755));
    CHECK("devpts", !mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"));
    CHECK("shm", !mount("tmpfs", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=64m"));
    CHECK("mqueue", !mount("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
    CHECK("pivot_root", !syscall(SYS_pivot_root, ".", ".") && !umount2(".", MNT_DETACH) && !chdir("/"));
    CHECK("hostname", !sethostname("floor", 5));
}

static _Noreturn void child(int gate, int run, int hold)
{
    char c;
    CHECK("prctl", !prctl(PR_SET_PDEATHSIG, SIGKILL));
    CHECK("gate", read(gate, &c, 1) == 1);
    shared[run].woken = now();
    if (cgroup)
        cgroup_each(run, JOIN);
    shared[run].joined = now();
    if (with_user)
        CHECK("identity", !setresgid(0, 0, 0) && !setresuid(0, 0, 0));
    if (with_net)
        configure_inside(run);
    shared[run].configured = now();
    enter_root(run);
    char *const stop[] = {"probe", "hold", NULL}, *const stamp[] = {"probe", "stamp", NULL};
    shared[run].mounted = now();
    execve("/bin/probe", hold ? stop : stamp, NULL);
    CHECK("execve", 0);
    _exit(1);
}

static void directories(int run, int make)
{
    static const char *const name[] = {"", "/upper", "/work", "/merged"};
    char path[500];
    snprintf(path, sizeof path, "%s/%d/work/work", work, run);
    if (!make)
        rmdir(path);
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%d%s", work, run, name[make ? i : 3 - i]);
        CHECK("directory", !(make ? mkdir(path, 0755) : rmdir(path)));
        if (make && with_user)
            CHECK("chown", !chown(path, 2000000 + run * 65536, 2000000 + run * 65536));
    }
}

static pid_t start(int run, int hold, int *pidfd, double *stage)
{
    int gate[2];
    char name[16];
    double t = now(), u;
    directories(run, 1);
    CHECK("pipe", !pipe2(gate, O_CLOEXEC));
    stage[PREPARE] = (u = now()) - t, t = u;
    struct clone_args args = {
        .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP | CLONE_PIDFD |
                 CLONE_NEWNET | (with_user ? CLONE_NEWUSER : 0),
        .pidfd = (uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
    };
    pid_t pid = syscall(SYS_clone3, &args, sizeof args);
    CHECK("clone3", pid >= 0);
    if (!pid)
        child(gate[0], run, hold);
    if (with_user)
        write_map("uid_map", pid, run), write_map("gid_map", pid, run);
    stage[NAMESPACES] = (u = now()) - t, t = u;
    if (cgroup)
        cgroup_each(run, MAKE);
    stage[CGROUP] = (u = now()) - t, t = u;
    snprintf(name, sizeof name, "floor%d", run);
    if (with_net)
        add_veth(name, pid);
    stage[VETH] = now() - t;
    CHECK("go", write(gate[1], "x", 1) == 1);
    close(gate[0]), close(gate[1]);
    return pid;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void bulk(int count)
{
    static int pidfd[MAX_RUNS];
    static pid_t pid[MAX_RUNS];
    double stage[STAGES], begun = now(), killed;
    for (int i = 0; i < count; i++)
        pid[i] = start(i, 1, &pidfd[i], stage);
    while (!*(volatile double *)&shared[count - 1].mounted && now() < begun + 60e6)
        usleep(200);
    double started = now();
    usleep(300000);
    killed = now();
    for (int i = 0; i < count; i++)
        syscall(SYS_pidfd_send_signal, pidfd[i], SIGKILL, NULL, 0);
    for (int i = 0; i < count; i++)
        waitpid(pid[i], NULL, 0), close(pidfd[i]);
    double reaped = now();
    char name[16];
    for (int i = 0, left = 1; left && now() < reaped + 20e6; usleep(500))
        for (i = left = 0; i < count; i++)
            snprintf(name, sizeof name, "floor%d", i), left += with_net && if_nametoindex(name);
    double gone = now();
    for (int i = 0; i < count; i++) {
        if (cgroup)
            cgroup_each(i, REMOVE);
        directories(i, 0);
    }
    printf("{\"count\": %d, \"start_ms\": %.1f, \"kill_ms\": %.1f, \"links_gone_ms\": %.1f, \"removed_ms\": %.1f}\n", count,
           (started - begun) / 1e3, (reaped - killed) / 1e3, (gone - reaped) / 1e3, (now() - killed) / 1e3);
}

static void one_by_one(int runs)
{
    static double sample[STAGES][MAX_RUNS];
    for (int run = 0; run < runs; run++) {
        double stage[STAGES], begun = now();
        int pidfd, status;
        pid_t pid = start(run, 0, &pidfd, stage);
        CHECK("wait", waitpid(pid, &status, 0) == pid && status == 0);
        close(pidfd);
        stage[CGROUP] += shared[run].joined - shared[run].woken;
        stage[INSIDE] = shared[run].configured - shared[run].joined;
        stage[MOUNTS] = shared[run].mounted - shared[run].configured;
        stage[FIRST] = shared[run].mounted - begun;
        for (int i = 0; i < STAGES; i++)
            sample[i][run] = stage[i];
        char name[16];
        snprintf(name, sizeof name, "floor%d", run);
        while (with_net && if_nametoindex(name))
            usleep(500); /* the dying namespace takes the veth: do not measure the next start beside it */
        if (cgroup)
            cgroup_each(run, REMOVE);
        directories(run, 0);
    }
    printf("{\"runs\": %d", runs);
    for (int i = 0; i < STAGES; i++) {
        qsort(sample[i], runs, sizeof sample[i][0], ascending);
        printf(", \"%s\": %.0f", stage_name[i], sample[i][runs / 2]);
    }
    printf("}\n");
}

int main(int argc, char **argv)
{
    int option, together = 0;
    while ((option = getopt(argc, argv, "ug:nb:")) != -1) {
        with_user |= option == 'u', with_net &= option != 'n';
        cgroup = option == 'g' ? optarg : cgroup;
        together = option == 'b' ? atoi(optarg) : together;
        if (option == '?')
            return 2;
    }
    int runs = argc - optind == 5 ? atoi(argv[optind + 4]) : 0;
    if (runs < 1 || runs > MAX_RUNS || together < 0 || together > MAX_RUNS) {
        fputs("usage: floor [-u] [-g NAME] [-n] [-b COUNT] BRIDGE GATEWAY LOWER WORK RUNS\n", stderr);
        return 2;
    }
    bridge = if_nametoindex(argv[optind]), lower = argv[optind + 2], work = argv[optind + 3];
    CHECK("bridge", bridge > 0 || !with_net);
    CHECK("gateway", inet_pton(AF_INET, argv[optind + 1], &gateway) == 1);
    shared = mmap(NULL, MAX_RUNS * sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK("shared memory", shared != MAP_FAILED);
    route = open_route();
    if (together)
        bulk(together);
    else
        one_by_one(runs);
    return 0;
}
