// A workload that writes down when signals arrive.
//
//     arrivals times       for each SIGUSR1, the time (CLOCK_MONOTONIC, in nanoseconds, 8 bytes)
//     arrivals count       for each real-time signal, a byte
//
// Says that it is ready by a first time of 0, or a first byte.

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void put(const void *what, size_t length) {
    if (write(1, what, length) != (ssize_t)length) _exit(1);
}

static void note_time(int signal) {
    struct timespec now;
    (void)signal;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t time = now.tv_sec * 1000000000ULL + now.tv_nsec;
    put(&time, sizeof time);
}

static void note_arrival(int signal) {
    (void)signal;
    put("x", 1);
}

int main(int count, char **words) {
    if (count != 2) return 2;
    int times = strcmp(words[1], "times") == 0;
    struct sigaction action = {.sa_handler = times ? note_time : note_arrival};
    const uint64_t zero = 0;
    sigset_t none;
    sigemptyset(&action.sa_mask);
    sigemptyset(&none);
    if (sigaction(times ? SIGUSR1 : SIGRTMIN + 1, &action, NULL) != 0) return 1;
    put(&zero, times ? sizeof zero : 1);
    for (;;) sigsuspend(&none);
}
