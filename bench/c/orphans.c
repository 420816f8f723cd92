// A workload that makes orphans, for PID 1 to reap.
//
//     orphans made N       makes them one after another, and ends when all are gone
//     orphans waiting N    makes them, says "m", and waits for a byte on stdin while they live: PID 1 is stopped meanwhile, by
//                          who measures. Then they end at once. Says "z" when all are zombies, and "d" when all are gone.

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Shared with the processes in between, who know it.
static pid_t *last;
static int held[2], ended[2];

static void fail(const char *what) {
    perror(what);
    _exit(1);
}

static void make_orphan(int lives) {
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
        // As a daemon does. Some PID 1 hand the SIGCONT on to the workload's group, and all zombies in it would take their time.
        if (setsid() < 0) _exit(1);
        pid_t inner = fork();
        if (inner < 0) _exit(1);
        if (inner > 0) {
            *last = inner;
            _exit(0);
        }
        char byte;
        if (lives) {
            close(held[1]);
            _exit(read(held[0], &byte, 1) != 0);
        }
        _exit(0);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0) fail("a fork inside");
}

// Nobody else is inside but PID 1, whom kill(-1) spares. It looks at every process of the machine, under a lock that reaping
// needs too, so the last one is waited for alone as long as it is there: since Linux 6.9 its pidfd has POLLHUP when it has been
// reaped. Who asked every 100 us instead would share a processor with PID 1 in one round and not in the next, and take a tenth of
// it or more. Before 6.9 it is asked every millisecond.
static void wait_until_all_are_gone(void) {
    const struct timespec moment = {0, 50000}, millisecond = {0, 1000000};
    struct pollfd until_it_is_gone = {.fd = (int)syscall(SYS_pidfd_open, *last, 0), .events = 0};
    while (kill(*last, 0) == 0 && ppoll(&until_it_is_gone, 1, &millisecond, NULL) >= 0) {}
    while (kill(-1, 0) == 0) nanosleep(&moment, NULL);
    if (errno != ESRCH) fail("kill");
}

static void say(const char *what) {
    if (write(1, what, 1) != 1) fail("write");
}

int main(int count, char **words) {
    const struct timespec until_it_is_a_zombie = {0, 100000000};
    if (count != 3) return 2;
    int number = atoi(words[2]), lives = strcmp(words[1], "waiting") == 0;
    char byte;
    last = mmap(NULL, sizeof *last, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (last == MAP_FAILED) fail("mmap");
    if (pipe(held) != 0 || pipe(ended) != 0) fail("pipe");
    for (int i = 0; i < number; i++) make_orphan(lives);
    if (lives) {
        say("m");
        if (read(0, &byte, 1) != 1) fail("read");
        close(held[1]);
        close(ended[1]);
        // The last one to close its end is about to be a zombie.
        if (read(ended[0], &byte, 1) != 0) fail("read");
        nanosleep(&until_it_is_a_zombie, NULL);
        say("z");
    }
    wait_until_all_are_gone();
    if (lives) say("d");
    return 0;
}
