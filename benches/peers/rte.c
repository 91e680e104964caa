/* DPDK's rte_acl and rte_hash, asked for the rules of boxes: a peer of podwire.
 *
 *     rte BOXES PACKETS
 *
 * Reads files that `peer_files` wrote. Every packet of the file is looked up once and its answer compared
 * with the one in the file; a wrong one ends the program. Then it prints a line
 *
 *     ready ACL_ALGORITHM WIDER_ALGORITHM HASH ACL_BUILD_SECONDS
 *
 * with `-` for what there is not, and one with DPDK's version and the arguments of EAL. For every line
 * "WHO FIRST COUNT" that it reads it looks up so many packets, from that place on, and prints nanoseconds a
 * packet. WHO is a for rte_acl_classify, w for the same with the wider algorithm, h for
 * rte_hash_lookup_bulk_data. COUNT is rounded down to batches.
 *
 * Timed, by the thread's CPU clock: the calls, 64 packets each. Not timed: reading, building, bringing packets
 * into the form that a library takes (headers in network order behind an array of pointers; keys of address,
 * protocol and port ready in memory, which a program would have to make from the packet). The answer is a
 * rule's number; no endpoint is chosen and nothing is looked up behind it.
 *
 * rte_acl chooses the widest SIMD algorithm that EAL's limit allows by default; the wider one needs a program
 * that lifts the limit. rte_hash knows exact keys alone: it is asked only if every box is one destination
 * address, protocol and port.
 *
 * EAL runs without hugepages, devices and root: see `eal`.
 */
#define _GNU_SOURCE /* sched_setaffinity */
#define ALLOW_EXPERIMENTAL_API /* rte_vect_set_max_simd_bitwidth */
#include <arpa/inet.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_acl.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_vect.h>
#include <rte_version.h>

enum { BATCH = 64, BOX_BYTES = 20, PACKET_BYTES = 40 };

/* A rule as `box_bytes` of podwire-bench writes it. */
struct box {
	uint32_t src, dst;
	uint16_t sport[2], dport[2];
	uint8_t src_len, dst_len, protocol, protocol_mask;
};
_Static_assert(sizeof(struct box) == BOX_BYTES, "as in the file");

/* A packet as `Question` of podwire-bench is written. */
struct question {
	uint32_t src, dst;
	uint16_t sport, dport;
	uint8_t protocol, zero[3];
	uint32_t mark;
	char bridge_port[16];
	uint32_t rule;
};
_Static_assert(sizeof(struct question) == PACKET_BYTES, "as in the file");

/* What rte_acl reads, in network order. */
struct headers {
	uint8_t protocol, zero[3];
	uint32_t src, dst;
	uint16_t sport, dport;
};

struct key {
	uint32_t dst;
	uint16_t dport;
	uint8_t protocol, zero;
};

enum { PROTOCOL, SRC, DST, SPORT, DPORT, FIELDS };

static const struct rte_acl_field_def fields[FIELDS] = {
	{RTE_ACL_FIELD_TYPE_BITMASK, 1, PROTOCOL, 0, offsetof(struct headers, protocol)},
	{RTE_ACL_FIELD_TYPE_MASK, 4, SRC, 1, offsetof(struct headers, src)},
	{RTE_ACL_FIELD_TYPE_MASK, 4, DST, 2, offsetof(struct headers, dst)},
	{RTE_ACL_FIELD_TYPE_RANGE, 2, SPORT, 3, offsetof(struct headers, sport)},
	{RTE_ACL_FIELD_TYPE_RANGE, 2, DPORT, 3, offsetof(struct headers, dport)},
};

RTE_ACL_RULE_DEF(acl_rule, FIELDS);

/* From the widest on, as DPDK prefers them. */
static const struct algorithm {
	enum rte_acl_classify_alg alg;
	const char *name;
} algorithms[] = {
	{RTE_ACL_CLASSIFY_AVX512X32, "avx512x32"}, {RTE_ACL_CLASSIFY_AVX512X16, "avx512x16"},
	{RTE_ACL_CLASSIFY_AVX2, "avx2"},           {RTE_ACL_CLASSIFY_SSE, "sse"},
	{RTE_ACL_CLASSIFY_NEON, "neon"},           {RTE_ACL_CLASSIFY_ALTIVEC, "altivec"},
	{RTE_ACL_CLASSIFY_SCALAR, "scalar"},
};

static void fail(const char *what)
{
	fprintf(stderr, "rte: %s (%s)\n", what, rte_strerror(rte_errno));
	exit(1);
}

static void *allocate(size_t count, size_t size)
{
	void *memory = NULL;
	if (posix_memalign(&memory, 64, count * size + 64))
		fail("out of memory");
	return memset(memory, 0, count * size + 64);
}

static void *contents(const char *path, size_t record, size_t *count)
{
	FILE *file = fopen(path, "rb");
	if (!file || fseek(file, 0, SEEK_END))
		fail(path);
	*count = (size_t)ftell(file) / record;
	rewind(file);
	void *records = allocate(*count, record);
	if (!*count || fread(records, record, *count, file) != *count)
		fail(path);
	fclose(file);
	return records;
}

/* Of this thread's own time: other programs on the machine do not count. */
static double now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

/* Ordinary memory, no device, nothing shared with other processes; `-m` grows with the rules. */
#define EAL "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "--log-level=error", "-l0"

static void eal(size_t boxes)
{
	char megabytes[24];
	snprintf(megabytes, sizeof megabytes, "%zu", 512 + boxes / 128);
	char *arguments[] = {"rte", EAL, "-m", megabytes, NULL};
	/* EAL would keep the thread on one CPU; podwire is not kept on one either. */
	cpu_set_t cpus;
	if (sched_getaffinity(0, sizeof cpus, &cpus) || rte_eal_init(RTE_DIM(arguments) - 1, arguments) < 0 ||
	    sched_setaffinity(0, sizeof cpus, &cpus))
		fail("EAL does not start");
}

/* The widest algorithm that DPDK takes here. */
static const struct algorithm *widest(struct rte_acl_ctx *acl)
{
	for (size_t i = 0; i < RTE_DIM(algorithms); i++)
		if (!rte_acl_set_ctx_classify(acl, algorithms[i].alg))
			return &algorithms[i];
	fail("rte_acl takes no algorithm");
	return NULL;
}

static struct rte_acl_ctx *acl_of(const struct box *boxes, size_t count)
{
	struct rte_acl_param parameters = {
		.name = "boxes",
		.socket_id = SOCKET_ID_ANY,
		.rule_size = RTE_ACL_RULE_SZ(FIELDS),
		.max_rule_num = count,
	};
	struct rte_acl_ctx *acl = rte_acl_create(&parameters);
	if (!acl)
		fail("rte_acl_create");
	for (size_t i = 0; i < count; i++) {
		const struct box *own = &boxes[i];
		struct acl_rule rule = {
			.data = {.category_mask = 1, .priority = count - i, .userdata = i + 1},
		};
		rule.field[PROTOCOL].value.u8 = own->protocol;
		rule.field[PROTOCOL].mask_range.u8 = own->protocol_mask;
		rule.field[SRC].value.u32 = own->src;
		rule.field[SRC].mask_range.u32 = own->src_len;
		rule.field[DST].value.u32 = own->dst;
		rule.field[DST].mask_range.u32 = own->dst_len;
		rule.field[SPORT].value.u16 = own->sport[0];
		rule.field[SPORT].mask_range.u16 = own->sport[1];
		rule.field[DPORT].value.u16 = own->dport[0];
		rule.field[DPORT].mask_range.u16 = own->dport[1];
		if (rte_acl_add_rules(acl, (const struct rte_acl_rule *)&rule, 1))
			fail("rte_acl_add_rules");
	}
	struct rte_acl_config config = {.num_categories = 1, .num_fields = FIELDS};
	memcpy(config.defs, fields, sizeof fields);
	if (rte_acl_build(acl, &config))
		fail("rte_acl_build");
	return acl;
}

/* NULL if a box is not one key. */
static struct rte_hash *hash_of(const struct box *boxes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct box *own = &boxes[i];
		bool is_key = !own->src_len && own->dst_len == 32 && own->protocol_mask && !own->sport[0] &&
			      own->sport[1] == UINT16_MAX && own->dport[0] == own->dport[1];
		if (!is_key)
			return NULL;
	}
	struct rte_hash_parameters parameters = {
		.name = "keys",
		.entries = count * 2,
		.key_len = sizeof(struct key),
		.hash_func = rte_hash_crc,
		.socket_id = SOCKET_ID_ANY,
	};
	struct rte_hash *hash = rte_hash_create(&parameters);
	if (!hash)
		fail("rte_hash_create");
	for (size_t i = 0; i < count; i++) {
		struct key key = {boxes[i].dst, boxes[i].dport[0], boxes[i].protocol, 0};
		if (rte_hash_add_key_data(hash, &key, (void *)(uintptr_t)(i + 1)))
			fail("rte_hash_add_key_data");
	}
	return hash;
}

static struct rte_acl_ctx *acl;
static struct rte_hash *hash;
static const uint8_t **pointers; /* to headers */
static const void **keys;

static void ask_acl(size_t first, size_t count, enum rte_acl_classify_alg alg, uint32_t *rules)
{
	for (size_t i = 0; i < count; i += BATCH)
		if (rte_acl_classify_alg(acl, pointers + first + i, rules + i, BATCH, 1, alg))
			fail("rte_acl_classify");
}

static void ask_hash(size_t first, size_t count, uint32_t *rules)
{
	for (size_t i = 0; i < count; i += BATCH) {
		void *found[BATCH];
		uint64_t hits = 0;
		if (rte_hash_lookup_bulk_data(hash, keys + first + i, BATCH, &hits, found) < 0)
			fail("rte_hash_lookup_bulk_data");
		for (size_t j = 0; j < BATCH; j++)
			rules[i + j] = hits >> j & 1 ? (uint32_t)(uintptr_t)found[j] : 0;
	}
}

static void compare(const char *who, const uint32_t *rules, const struct question *questions, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (rules[i] != questions[i].rule) {
			fprintf(stderr, "rte: %s says rule %u for packet %zu, right is %u\n", who, rules[i], i,
				questions[i].rule);
			exit(1);
		}
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: rte BOXES PACKETS\n");
		return 2;
	}
	size_t box_count, count;
	struct box *boxes = contents(argv[1], BOX_BYTES, &box_count);
	struct question *questions = contents(argv[2], PACKET_BYTES, &count);
	count -= count % BATCH;
	eal(box_count);

	double start = now_ns();
	acl = acl_of(boxes, box_count);
	double build_s = (now_ns() - start) / 1e9;
	hash = hash_of(boxes, box_count);
	free(boxes);

	struct headers *headers = allocate(count, sizeof *headers);
	struct key *own_keys = allocate(count, sizeof *own_keys);
	pointers = allocate(count, sizeof *pointers);
	keys = allocate(count, sizeof *keys);
	for (size_t i = 0; i < count; i++) {
		const struct question *own = &questions[i];
		headers[i] = (struct headers){own->protocol, {0}, htonl(own->src), htonl(own->dst),
					      htons(own->sport), htons(own->dport)};
		own_keys[i] = (struct key){own->dst, own->dport, own->protocol, 0};
		pointers[i] = (const uint8_t *)&headers[i];
		keys[i] = &own_keys[i];
	}

	const struct algorithm *usual = widest(acl);
	rte_vect_set_max_simd_bitwidth(RTE_VECT_SIMD_512);
	const struct algorithm *wider = widest(acl);
	if (wider == usual)
		wider = NULL;

	uint32_t *rules = allocate(count, sizeof *rules);
	ask_acl(0, count, usual->alg, rules);
	compare("rte_acl", rules, questions, count);
	if (wider) {
		ask_acl(0, count, wider->alg, rules);
		compare("rte_acl, wider", rules, questions, count);
	}
	if (hash) {
		ask_hash(0, count, rules);
		compare("rte_hash", rules, questions, count);
	}
	free(questions);
	printf("ready %s %s %s %.3f\n", usual->name, wider ? wider->name : "-", hash ? "crc" : "-", build_s);
	static const char *const eal_arguments[] = {EAL};
	printf("%s, EAL", rte_version());
	for (size_t i = 0; i < RTE_DIM(eal_arguments); i++)
		printf(" %s", eal_arguments[i]);
	printf(" -m 512 and 1 more for 128 rules\n");
	fflush(stdout);

	char who;
	size_t first, some;
	while (scanf(" %c %zu %zu", &who, &first, &some) == 3) {
		some -= some % BATCH;
		if (!some || first > count || some > count - first)
			fail("no such packets");
		double begin = now_ns();
		if (who == 'a')
			ask_acl(first, some, usual->alg, rules);
		else if (who == 'w' && wider)
			ask_acl(first, some, wider->alg, rules);
		else if (who == 'h' && hash)
			ask_hash(first, some, rules);
		else
			fail("a, w or h is asked");
		printf("%.3f\n", (now_ns() - begin) / some);
		fflush(stdout);
	}
	return 0;
}
