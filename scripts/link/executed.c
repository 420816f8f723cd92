/* Runs a static program step by step (ptrace(2)), with all that it clones, until that executes a third program, and prints each address of
   it that was executed, in the order of their first time. For scripts/order. */
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

static unsigned char seen[SIZE];
static struct tracee {
    pid_t pid;
    int executes_another;
} tracees[MOST_TRACEES];

static struct tracee *tracee(pid_t pid) {
    for (int i = 0; i < MOST_TRACEES; i++) {
        if (!tracees[i].pid) tracees[i].pid = pid;
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
        struct tracee *of = tracee(pid);
        if (status >> 16 == PTRACE_EVENT_EXEC) of->executes_another = ++executed > PROGRAMS;
        int signal = WSTOPSIG(status);
        struct user_regs_struct registers;
        if (signal == SIGTRAP && !of->executes_another && ptrace(PTRACE_GETREGS, pid, 0, &registers) == 0) {
            unsigned long offset = registers.rip - LOWEST;
            if (offset < SIZE && !seen[offset]) {
                seen[offset] = 1;
                printf("%llx\n", registers.rip);
            }
        }
        int passed_on = signal == SIGTRAP || signal == SIGSTOP ? 0 : signal;
        ptrace(of->executes_another ? PTRACE_CONT : PTRACE_SINGLESTEP, pid, 0, passed_on);
    }
    return 0;
}
