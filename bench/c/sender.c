// Sends signals to a PID 1, whose workload is `arrivals`, with what that writes on stdin.
//
//     sender times PID N             N times SIGUSR1, each when the one before has arrived; prints the nanoseconds of each from
//                                    kill(2) to the handler
//     sender count PID N WINDOW      N real-time signals, as fast as they go, at most WINDOW of them on their way; prints how many
//                                    arrived, and in how many nanoseconds

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
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

static int send_for_times(pid_t pid, long number) {
    for (long i = 0; i < number; i++) {
        uint64_t sent = now(), arrived;
        if (kill(pid, SIGUSR1) != 0) fail("kill");
        if (!is_there_more()) {
            fprintf(stderr, "sender: a signal did not arrive\n");
            return 1;
        }
        if (read(0, &arrived, sizeof arrived) != sizeof arrived) fail("read");
        printf("%llu\n", (unsigned long long)(arrived - sent));
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
    if (count < 4) return 2;
    pid_t pid = atoi(words[2]);
    long number = atol(words[3]);
    if (strcmp(words[1], "times") == 0) return send_for_times(pid, number);
    return count == 5 ? send_for_count(pid, number, atol(words[4])) : 2;
}
