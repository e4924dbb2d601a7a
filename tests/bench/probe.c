/* The benchmark's own program, static, so that it runs in any root.
 *
 *   probe stamp                       print CLOCK_MONOTONIC in ns, end: "first instruction" of a started program
 *   probe hold [stamp]                (stamp first, then) sleep until a signal; SIGTERM ends it although it is PID 1
 *   probe serve PORT                  accept and close, for ever
 *   probe connect IP PORT SECONDS N   N threads connect and reset for that long; prints JSON
 *
 * The client resets (SO_LINGER 0), so no TIME_WAIT piles up and its ports cannot run out.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_SAMPLES 400000
#define MAX_THREADS 64

static long long monotonic(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void stamp(long long at)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%lld\n", at);
    if (write(1, text, n) != n)
        exit(1);
}

static void finish(int signal)
{
    _exit(128 + signal);
}

static _Noreturn void hold(void)
{
    signal(SIGTERM, finish);
    signal(SIGINT, finish);
    for (;;)
        pause();
}

static int serve(int port)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    signal(SIGTERM, finish);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) {
        perror("probe: serve");
        return 1;
    }
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection >= 0)
            close(connection);
    }
}

static struct sockaddr_in target;
static long long deadline;
struct worker {
    pthread_t thread;
    long done, failed;
    float *latency; /* microseconds */
};

static void *hammer(void *argument)
{
    struct worker *w = argument;
    struct linger reset = {1, 0};
    struct timeval limit = {2, 0};
    for (long long begun; (begun = monotonic()) < deadline && w->failed < 1000;) {
        int s = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(s, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        if (connect(s, (void *)&target, sizeof target)) {
            w->failed++;
        } else {
            if (w->done < MAX_SAMPLES)
                w->latency[w->done] = (monotonic() - begun) / 1e3f;
            w->done++;
        }
        close(s);
    }
    return NULL;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static int hammer_all(double seconds, int threads)
{
    struct worker w[MAX_THREADS] = {0};
    long done = 0, failed = 0, kept = 0;
    if (threads < 1 || threads > MAX_THREADS)
        return 2;
    float *all = malloc((size_t)threads * MAX_SAMPLES * sizeof *all);
    long long begun = monotonic();
    deadline = begun + (long long)(seconds * 1e9);
    for (int i = 0; i < threads; i++) {
        w[i].latency = malloc(MAX_SAMPLES * sizeof *all);
        pthread_create(&w[i].thread, NULL, hammer, &w[i]);
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(w[i].thread, NULL);
        long n = w[i].done < MAX_SAMPLES ? w[i].done : MAX_SAMPLES;
        memcpy(all + kept, w[i].latency, n * sizeof *all);
        kept += n, done += w[i].done, failed += w[i].failed;
    }
    double took = (monotonic() - begun) / 1e9;
    qsort(all, kept, sizeof *all, ascending);
    printf("{\"per_second\": %.0f, \"failed\": %ld, \"p50_us\": %.0f, \"p99_us\": %.0f}\n", done / took, failed,
           kept ? all[kept / 2] : 0.0, kept ? all[kept * 99 / 100] : 0.0);
    return done == 0;
}

int main(int argc, char **argv)
{
    long long at = monotonic();
    if (argc == 2 && !strcmp(argv[1], "stamp"))
        return stamp(at), 0;
    if (argc >= 2 && !strcmp(argv[1], "hold")) {
        if (argc == 3)
            stamp(at);
        hold();
    }
    if (argc == 3 && !strcmp(argv[1], "serve"))
        return serve(atoi(argv[2]));
    if (argc == 6 && !strcmp(argv[1], "connect")) {
        target.sin_family = AF_INET;
        target.sin_port = htons(atoi(argv[3]));
        if (inet_pton(AF_INET, argv[2], &target.sin_addr) == 1)
            return hammer_all(atof(argv[4]), atoi(argv[5]));
    }
    fputs("usage: probe stamp | hold [stamp] | serve PORT | connect IP PORT SECONDS THREADS\n", stderr);
    return 2;
}
