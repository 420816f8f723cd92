/* Runs a static program step by step (ptrace(2)), with all that it clones, until that executes a third program, and prints each address of
   it that was executed, in the order of their first time, behind who did: 1 before the first exec of those it clones, 2 after it. For
   scripts/order. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where a static program lies that is not position-independent. */
#define LOWEST 0x400000ul
#define SIZE 0x1000000ul
#define MOST_TRACEES 64
/* The program itself, and init. */
#define PROGRAMS 2

static unsigned char seen[PROGRAMS + 1][SIZE];
static struct tracee {
    pid_t pid;
    int program;
} tracees[MOST_TRACEES];

/* Whoever is new was cloned by the `latest` of the programs. */
static struct tracee *tracee(pid_t pid, int latest) {
    for (int i = 0; i < MOST_TRACEES; i++) {
        if (!tracees[i].pid) tracees[i] = (struct tracee){pid, latest};
        if (tracees[i].pid == pid) return &tracees[i];
    }
    fputs("executed: too many processes\n", stderr);
    exit(1);
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    pid_t first = fork();
    if (first == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        execv(argv[1], argv + 1);
        _exit(127);
    }
    int status, executed = 0;
    waitpid(first, &status, 0);
    ptrace(PTRACE_SETOPTIONS, first, 0,
           PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
    ptrace(PTRACE_CONT, first, 0, 0);
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
        if (!WIFSTOPPED(status)) continue;
        struct tracee *of = tracee(pid, executed);
        if (status >> 16 == PTRACE_EVENT_EXEC) of->program = ++executed;
        int is_another = of->program > PROGRAMS;
        int signal = WSTOPSIG(status);
        struct user_regs_struct registers;
        if (signal == SIGTRAP && !is_another && ptrace(PTRACE_GETREGS, pid, 0, &registers) == 0) {
            unsigned long offset = registers.rip - LOWEST;
            if (offset < SIZE && !seen[of->program][offset]) {
                seen[of->program][offset] = 1;
                printf("%d %llx\n", of->program, registers.rip);
            }
        }
        int passed_on = signal == SIGTRAP || signal == SIGSTOP ? 0 : signal;
        ptrace(is_another ? PTRACE_CONT : PTRACE_SINGLESTEP, pid, 0, passed_on);
    }
    return 0;
}
