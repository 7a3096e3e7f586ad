/* Answers requests about models, one a line: MODEL greedy|sample COUNT SEED ID..., or MODEL limits. main.c, which the test writes,
 * includes each model's header and this file's part for one model. */

#ifndef DRIVER_ONCE
#define DRIVER_ONCE

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
/* PREFIX is a model's prefix with its underscore, UPPER the one of its constants. */
#define NAME(x) PASTE(PREFIX, x)
#define CONSTANT(x) PASTE(UPPER, x)

typedef struct {
    char model[32], what[16];
    unsigned long steps, seed;
    uint32_t ids[64];
    size_t count;
} request;

static int read_request(const char *line, request *r) {
    int at = 0, n = 0;
    memset(r, 0, sizeof *r);
    if (sscanf(line, "%31s %15s %lu %lu%n", r->model, r->what, &r->steps, &r->seed, &at) < 2) {
        return 0;
    }
    while (at > 0 && r->count < 64 && sscanf(line + at, " %u%n", &r->ids[r->count], &n) == 1) {
        at += n;
        ++r->count;
    }
    return 1;
}

static void expect(int found, int wanted, const char *what) {
    if (found != wanted) {
        printf("%s gave %d, expected %d\n", what, found, wanted);
        exit(1);
    }
}

#endif

static void NAME(limits)(void) {
    /* Exactly as large as the header says, so that a sanitizer sees the first byte beyond. */
    char *memory = (char *)malloc(CONSTANT(BUFFER_BYTES) + 1);
    char *exact = (char *)malloc(CONSTANT(BUFFER_BYTES));
    NAME(state) s;
    uint32_t id = 1, i;
    expect(NAME(init)(&s, NULL, CONSTANT(BUFFER_BYTES)), CONSTANT(ERROR_BUFFER), "no buffer");
    expect(NAME(init)(&s, exact, CONSTANT(BUFFER_BYTES) - 1), CONSTANT(ERROR_BUFFER), "a small buffer");
    expect(NAME(init)(&s, memory + 1, CONSTANT(BUFFER_BYTES)), CONSTANT(ERROR_BUFFER), "an odd address");
    expect(NAME(init)(&s, exact, CONSTANT(BUFFER_BYTES)), CONSTANT(OK), "the buffer");
    expect(NAME(feed)(&s, &id, 0), CONSTANT(ERROR_TOKEN), "no token");
    id = CONSTANT(VOCAB);
    expect(NAME(feed)(&s, &id, 1), CONSTANT(ERROR_TOKEN), "an unknown token");
    id = CONSTANT(VOCAB) - 1;
    for (i = 0; i < CONSTANT(CONTEXT); ++i) {
        expect(NAME(feed)(&s, &id, 1), CONSTANT(OK), "a token");
    }
    expect(NAME(feed)(&s, &id, 1), CONSTANT(ERROR_CONTEXT), "a token too many");
    expect((int)s.used, (int)CONSTANT(CONTEXT), "the length");
    NAME(reset)(&s);
    expect(NAME(feed)(&s, &id, 1), CONSTANT(OK), "a token of a new text");
    printf("%u bytes, %u tokens\n", CONSTANT(BUFFER_BYTES), CONSTANT(CONTEXT));
    free(memory);
    free(exact);
}

/* The tokens chosen, and after a colon their bytes. */
static void NAME(answer)(const request *r) {
    char *memory = (char *)malloc(CONSTANT(BUFFER_BYTES));
    uint32_t *chosen = (uint32_t *)malloc((r->steps + 1) * sizeof(uint32_t));
    const uint32_t *ids = r->ids;
    size_t count = r->count, i, j;
    NAME(state) s;
    expect(NAME(init)(&s, memory, CONSTANT(BUFFER_BYTES)), CONSTANT(OK), "the buffer");
    NAME(seed)(&s, r->seed);
    for (i = 0; i < r->steps; ++i) {
        expect(NAME(feed)(&s, ids, count), CONSTANT(OK), "tokens");
        chosen[i] = strcmp(r->what, "sample") == 0 ? NAME(sample)(&s, 0.8f) : NAME(greedy)(&s);
        ids = &chosen[i];
        count = 1;
        printf("%u%s ", chosen[i], NAME(is_end)(chosen[i]) ? "!" : "");
    }
    printf(":");
    for (i = 0; i < r->steps; ++i) {
        size_t length;
        const uint8_t *text = NAME(token)(chosen[i], &length);
        for (j = 0; j < length; ++j) {
            printf("%02x", text[j]);
        }
    }
    printf("\n");
    free(memory);
    free(chosen);
}

#undef PREFIX
#undef UPPER
