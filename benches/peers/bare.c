/* The least that a watcher in user space can do: blocking read, linkat. What fisga's speed is measured against.
 *
 * usage: bare DIR PREFIX STAGING MASK
 *
 * Links each file that is created in DIR under a name that begins with PREFIX into STAGING, on the same file system.
 * MASK is the inotify mask in hexadecimal. At SIGTERM it prints "linked N late N overflows N". */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

static volatile sig_atomic_t ended;
static void end(int signal) { (void)signal; ended = 1; }

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: bare DIR PREFIX STAGING MASK\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = end};
    sigaction(SIGTERM, &action, NULL);

    int folder = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
    int staging = open(argv[3], O_PATH | O_DIRECTORY | O_CLOEXEC);
    int queue = inotify_init1(IN_CLOEXEC);
    if (folder < 0 || staging < 0 || queue < 0 || inotify_add_watch(queue, argv[1], strtoul(argv[4], NULL, 16)) < 0) {
        perror("bare");
        return 1;
    }
    size_t prefix = strlen(argv[2]);
    long linked = 0, late = 0, overflows = 0;
    static char buffer[65536] __attribute__((aligned(8)));
    while (!ended) {
        ssize_t filled = read(queue, buffer, sizeof buffer);
        if (filled <= 0) {
            if (errno == EINTR) continue;
            perror("read");
            return 1;
        }
        for (char *at = buffer; at < buffer + filled;) {
            struct inotify_event *event = (void *)at;
            if (event->mask & IN_Q_OVERFLOW) overflows++;
            if (event->mask & (IN_CREATE | IN_MOVED_TO) && event->len && !strncmp(event->name, argv[2], prefix)) {
                if (linkat(folder, event->name, staging, event->name, 0) == 0) linked++;
                else late++;
            }
            at += sizeof *event + event->len;
        }
    }
    printf("linked %ld late %ld overflows %ld\n", linked, late, overflows);
    return 0;
}
