/* Sends datagrams that are each the first of a flow, and says how long that took.
 *
 *     flows PACKETS FIRST COUNT
 *
 * PACKETS is a file that `peer_files` wrote; COUNT of its packets, from that place on, say where to. Each is
 * sent by a socket of its own and so from a port of its own. Prints nanoseconds a datagram. Timed, by the
 * thread's CPU clock: sendto, which goes through the rules of table nat at OUTPUT and on to the device. Not
 * timed: making sockets, and the first quarter of the datagrams, which brings rules into the caches.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { PACKET_BYTES = 40, DST = 4, DPORT = 10, FIRST_PORT = 1024 };

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: flows PACKETS FIRST COUNT\n");
		return 2;
	}
	long first = atol(argv[2]), count = atol(argv[3]);
	if (first < 0 || count < 1 || count > 60000) {
		fprintf(stderr, "flows: COUNT is 1 to 60000\n");
		return 2;
	}
	struct rlimit files = {count + 16, count + 16};
	if (setrlimit(RLIMIT_NOFILE, &files))
		fail("setrlimit");

	FILE *file = fopen(argv[1], "rb");
	if (!file || fseek(file, first * PACKET_BYTES, SEEK_SET))
		fail(argv[1]);
	int *sockets = calloc(count, sizeof *sockets);
	struct sockaddr_in *receivers = calloc(count, sizeof *receivers);
	if (!sockets || !receivers)
		fail("calloc");
	for (long i = 0; i < count; i++) {
		uint8_t packet[PACKET_BYTES];
		if (fread(packet, sizeof packet, 1, file) != 1) {
			fprintf(stderr, "flows: %s has no packet %ld\n", argv[1], first + i);
			return 1;
		}
		/* The file has little-endian numbers, the address big-endian ones. */
		uint32_t dst = packet[DST] | packet[DST + 1] << 8 | packet[DST + 2] << 16 |
			       (uint32_t)packet[DST + 3] << 24;
		receivers[i].sin_family = AF_INET;
		receivers[i].sin_addr.s_addr = htonl(dst);
		receivers[i].sin_port = htons(packet[DPORT] | packet[DPORT + 1] << 8);
		struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(FIRST_PORT + i)};
		sockets[i] = socket(AF_INET, SOCK_DGRAM, 0);
		if (sockets[i] < 0 || bind(sockets[i], (struct sockaddr *)&own, sizeof own))
			fail("bind");
	}

	long warm = count / 4;
	struct timespec begin = {0}, end;
	for (long i = 0; i < count; i++) {
		if (i == warm)
			clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
		if (sendto(sockets[i], "", 1, 0, (struct sockaddr *)&receivers[i], sizeof *receivers) != 1)
			fail("sendto");
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
	printf("%.1f\n", ((end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec)) / (count - warm));
	return 0;
}
