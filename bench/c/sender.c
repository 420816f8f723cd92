// Sends signals to PID 1s, whose workloads are `arrivals`, with what those write on stdin.
//
//     sender times CPU N PID...      N times SIGUSR1 to each in turn, each when the one before has arrived, from this processor;
//                                    prints the nanoseconds from kill(2) to the handler, a line for each turn
//     sender count PID N WINDOW      N real-time signals, as fast as they go, at most WINDOW of them on their way; prints how many
//                                    arrived, and in how many nanoseconds

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

// What does not come in five seconds has been lost.
static int is_there_more(void) {
    struct pollfd input = {.fd = 0, .events = POLLIN};
    return poll(&input, 1, 5000) == 1;
}

static uint64_t time_of_one(pid_t pid) {
    uint64_t sent = now(), arrived;
    if (kill(pid, SIGUSR1) != 0) fail("kill");
    if (!is_there_more()) {
        fprintf(stderr, "sender: a signal to %d did not arrive\n", (int)pid);
        exit(1);
    }
    if (read(0, &arrived, sizeof arrived) != sizeof arrived) fail("read");
    return arrived - sent;
}

static int send_for_times(int cpu, long number, char **pids, int count) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) fail("sched_setaffinity");
    // Printed at the end, since who reads it would be woken up in between.
    uint64_t *times = malloc(number * count * sizeof *times);
    if (times == NULL) fail("malloc");
    // The first turn makes the pages of this program, and does not count.
    for (long turn = -1; turn < number; turn++) {
        for (int i = 0; i < count; i++) {
            uint64_t time = time_of_one(atoi(pids[i]));
            if (turn >= 0) times[turn * count + i] = time;
        }
    }
    for (long i = 0; i < number * count; i++) {
        printf("%llu%c", (unsigned long long)times[i], (i + 1) % count == 0 ? '\n' : ' ');
    }
    return 0;
}

static int send_for_count(pid_t pid, long number, long window) {
    char bytes[4096];
    long sent = 0, arrived = 0;
    uint64_t from = now();
    while (arrived < number) {
        while (sent < number && sent - arrived < window) {
            if (kill(pid, SIGRTMIN + 1) != 0) fail("kill");
            sent++;
        }
        if (!is_there_more()) break;
        ssize_t some = read(0, bytes, sizeof bytes);
        if (some <= 0) fail("read");
        arrived += some;
    }
    printf("%ld %llu\n", arrived, (unsigned long long)(now() - from));
    return 0;
}

int main(int count, char **words) {
    if (count < 5) return 2;
    if (strcmp(words[1], "times") == 0) return send_for_times(atoi(words[2]), atol(words[3]), words + 4, count - 4);
    return send_for_count(atoi(words[2]), atol(words[3]), atol(words[4]));
}
