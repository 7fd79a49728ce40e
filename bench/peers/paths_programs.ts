/**
 * The two C programs that the bench of path managers compiles: a load of MPTCP connections, and a
 * plugin for mptcpd, none of whose own ones creates a subflow. mptcp(7), the headers of libmptcpd 0.12
 * (mptcpd/plugin.h, mptcpd/path_manager.h).
 *
 * @module
 */
import { must } from "../../tests/interop/processes.ts";

/** Name of the plugin, as `--path-manager` takes it. */
export const PLUGIN_NAME = "second_path";
/** The variable that tells the plugin which address the second subflow starts from. */
export const PLUGIN_ADDRESS = "SECOND_PATH_ADDRESS";
/** What the plugin prints once mptcpd talks to the kernel. */
export const PLUGIN_READY = "second_path: ready";

/** Compiles the load; returns its path. */
export async function compileLoad(directory: string): Promise<string> {
  const path = `${directory}/mptcp_load`;
  await must([...CC, "-o", path, "-x", "c", "-"], { stdin: LOAD_SOURCE });
  return path;
}

/** Compiles the plugin into a directory that mptcpd can be pointed at. */
export async function compilePlugin(pluginDirectory: string): Promise<void> {
  const output = ["-shared", "-fPIC", "-o", `${pluginDirectory}/${PLUGIN_NAME}.so`];
  await must([...CC, ...output, "-x", "c", "-", "-lmptcpd"], { stdin: PLUGIN_SOURCE });
}

const CC = ["gcc", "-std=gnu11", "-O2", "-Wall", "-Werror"];

/**
 * `listen PORT echo`: answers each byte; SIGUSR1 aborts all connections that are open.
 * `listen PORT send|receive SECONDS`, `connect ADDRESS PORT send|receive SECONDS`: one connection; who
 * sends writes 1000 bytes every 5 ms, who receives prints the largest gap since SIGUSR1.
 * `joins ADDRESS PORT COUNT MS`: connections one after the other, each open for so long, and as long a
 * pause before the next: a manager that still handles the end of the last one is awake already.
 * `storm ADDRESS PORT COUNT US`: connections opened with a pause after each, and held; SIGUSR1 closes
 * every other one.
 */
const LOAD_SOURCE = String.raw`
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MPTCP = 262, CONNECTIONS = 8192, MESSAGE = 1000, PERIOD_NS = 5000000, DEADLINE_S = 20 };

static volatile sig_atomic_t asked;
static void ask(int number) { (void)number; asked = 1; }

static void fail(const char *what) { perror(what); exit(1); }

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static struct sockaddr_in endpoint(const char *address, const char *port) {
  struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
  if (inet_pton(AF_INET, address, &a.sin_addr) != 1) fail(address);
  return a;
}

static int open_socket(void) {
  struct timeval deadline = { .tv_sec = DEADLINE_S };
  int one = 1;
  int fd = socket(AF_INET, SOCK_STREAM, MPTCP);
  if (fd < 0) fail("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

static int open_listener(const char *port) {
  struct sockaddr_in a = endpoint("0.0.0.0", port);
  int fd = open_socket();
  if (bind(fd, (void *)&a, sizeof a) < 0) fail("bind");
  if (listen(fd, CONNECTIONS) < 0) fail("listen");
  return fd;
}

/* A connection is established for its client only once the peer has acknowledged data. */
static int open_connection(const char *address, const char *port) {
  struct sockaddr_in a = endpoint(address, port);
  int fd = open_socket();
  if (connect(fd, (void *)&a, sizeof a) < 0) fail("connect");
  if (send(fd, "x", 1, MSG_NOSIGNAL) != 1) fail("send");
  return fd;
}

static void await_byte(int fd) {
  char byte;
  if (recv(fd, &byte, 1, 0) != 1) fail("recv");
}

static void abort_connection(int fd) {
  struct linger none = { .l_onoff = 1 };
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
  close(fd);
}

static _Noreturn void echo(const char *port) {
  static struct pollfd all[CONNECTIONS];
  int count = 1;
  all[0] = (struct pollfd){ .fd = open_listener(port), .events = POLLIN };
  fcntl(all[0].fd, F_SETFL, O_NONBLOCK);
  for (;;) {
    int ready = poll(all, count, 100);
    if (asked) {
      asked = 0;
      for (int i = 1; i < count; i++) abort_connection(all[i].fd);
      printf("aborted %d\n", count - 1);
      fflush(stdout);
      count = 1;
      continue;
    }
    if (ready <= 0) continue;
    for (int i = count - 1; i > 0; i--) {
      char bytes[64];
      if (!all[i].revents) continue;
      ssize_t got = recv(all[i].fd, bytes, sizeof bytes, MSG_DONTWAIT);
      if (got > 0) send(all[i].fd, bytes, got, MSG_NOSIGNAL);
      else if (got == 0 || errno != EAGAIN) {
        close(all[i].fd);
        all[i] = all[--count];
      }
    }
    if (!(all[0].revents & POLLIN) || count == CONNECTIONS) continue;
    int fd = accept(all[0].fd, 0, 0);
    if (fd >= 0) all[count++] = (struct pollfd){ .fd = fd, .events = POLLIN };
  }
}

static int send_all(int fd, double seconds) {
  static char message[MESSAGE];
  struct timespec next;
  double until = now_ms() + seconds * 1e3;
  clock_gettime(CLOCK_MONOTONIC, &next);
  while (now_ms() < until) {
    if (send(fd, message, MESSAGE, MSG_NOSIGNAL) != MESSAGE) fail("send");
    next.tv_nsec += PERIOD_NS;
    if (next.tv_nsec >= 1000000000) { next.tv_sec++; next.tv_nsec -= 1000000000; }
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, 0);
  }
  close(fd);
  return 0;
}

static int receive_all(int fd) {
  static char bytes[65536];
  long total = 0;
  double largest = 0, last = 0;
  for (;;) {
    ssize_t got = recv(fd, bytes, sizeof bytes, 0);
    double now = now_ms();
    if (asked) { asked = 0; largest = 0; }
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("recv");
    if (got == 0) break;
    if (last && now - last > largest) largest = now - last;
    last = now;
    total += got;
  }
  printf("{\"bytes\":%ld,\"gapMs\":%.3f}\n", total, largest);
  return 0;
}

static int flow(int fd, const char *role, const char *seconds) {
  return strcmp(role, "send") ? receive_all(fd) : send_all(fd, atof(seconds));
}

static int joins(const char *address, const char *port, int count, int ms) {
  for (int i = 0; i < count; i++) {
    int fd = open_connection(address, port);
    await_byte(fd);
    usleep(ms * 1000);
    close(fd);
    usleep(ms * 1000);
  }
  return 0;
}

static _Noreturn void storm(const char *address, const char *port, int count, int pause_us) {
  static int all[CONNECTIONS];
  double began = now_ms();
  for (int i = 0; i < count; i++) {
    all[i] = open_connection(address, port);
    if (pause_us) usleep(pause_us);
  }
  double opened = now_ms();
  for (int i = 0; i < count; i++) await_byte(all[i]);
  printf("open %d %.3f\n", count, opened - began);
  fflush(stdout);
  while (!asked) poll(0, 0, 100);
  for (int i = 0; i < count; i += 2) close(all[i]);
  printf("closed %d\n", (count + 1) / 2);
  fflush(stdout);
  for (;;) pause();
}

int main(int n, char **w) {
  struct rlimit files = { CONNECTIONS + 64, CONNECTIONS + 64 };
  struct sigaction action = { .sa_handler = ask };
  setrlimit(RLIMIT_NOFILE, &files);
  sigaction(SIGUSR1, &action, 0);
  if (n == 4 && !strcmp(w[1], "listen")) echo(w[2]);
  if (n == 5 && !strcmp(w[1], "listen")) {
    int fd = accept(open_listener(w[2]), 0, 0);
    if (fd < 0) fail("accept");
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    await_byte(fd);
    if (send(fd, "y", 1, MSG_NOSIGNAL) != 1) fail("send");
    return flow(fd, w[3], w[4]);
  }
  if (n == 6 && !strcmp(w[1], "connect")) {
    int fd = open_connection(w[2], w[3]);
    await_byte(fd);
    return flow(fd, w[4], w[5]);
  }
  if (n == 6 && !strcmp(w[1], "joins")) return joins(w[2], w[3], atoi(w[4]), atoi(w[5]));
  if (n == 6 && !strcmp(w[1], "storm") && atoi(w[4]) <= CONNECTIONS)
    storm(w[2], w[3], atoi(w[4]), atoi(w[5]));
  fputs("usage: mptcp_load listen|connect|joins|storm ...\n", stderr);
  return 2;
}
`;

/**
 * Creates a subflow from the second address as soon as mptcpd tells that a connection is established;
 * the port of the source is the kernel's to choose. It does nothing else, as little as a plugin can.
 */
const PLUGIN_SOURCE = String.raw`
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <mptcpd/plugin.h>
#include <mptcpd/path_manager.h> // takes bool as plugin.h defines it

enum { LOCAL_ID = 2, REMOTE_ID = 1 };

static struct sockaddr_in second = { .sin_family = AF_INET };

static void established(mptcpd_token_t token, struct sockaddr const *laddr,
                        struct sockaddr const *raddr, bool server_side, struct mptcpd_pm *pm) {
  (void)laddr;
  if (server_side) return;
  int error = mptcpd_pm_add_subflow(pm, token, LOCAL_ID, REMOTE_ID,
                                    (struct sockaddr const *)&second, raddr, false);
  if (error) fprintf(stderr, "${PLUGIN_NAME}: %s\n", strerror(error));
}

static void ready(struct mptcpd_pm *pm, void *data) {
  (void)pm, (void)data;
  fputs("${PLUGIN_READY}\n", stderr);
}

static int start(struct mptcpd_pm *pm) {
  static struct mptcpd_plugin_ops const ops = { .connection_established = established };
  static struct mptcpd_pm_ops const states = { .ready = ready };
  char const *address = getenv("${PLUGIN_ADDRESS}");
  if (!address || inet_pton(AF_INET, address, &second.sin_addr) != 1) return -1;
  if (!mptcpd_pm_register_ops(pm, &states, NULL)) return -1;
  return mptcpd_plugin_register_ops("${PLUGIN_NAME}", &ops) ? 0 : -1;
}

static void stop(struct mptcpd_pm *pm) { (void)pm; }

MPTCPD_PLUGIN_DEFINE(${PLUGIN_NAME}, "A second subflow", MPTCPD_PLUGIN_PRIORITY_DEFAULT, start, stop)
`;
