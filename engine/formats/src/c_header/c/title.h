/* A language model in C99, written by `onebit export --emit-c-header` from a .1bit of @FILE_BYTES@ bytes with @WEIGHTS@ weights.
 * Do not edit: export again.
 *
 * Constants take @FLASH@ bytes of flash (the code some 8 KB more), the caller's buffer takes @RAM@ bytes of RAM for texts of up to
 * @CONTEXT@ tokens. Nothing is allocated; of the C library only math.h is used. A program that continues "@TEXT@"
 * (whose tokens are in ids; --c-prompt gives another text):
 *
 *     #include <stdio.h>
 *     #include "@STEM@.h"
 *     static float memory[MODEL_BUFFER_BYTES / sizeof(float)];
 *     int main(void) {
 *         uint32_t ids[] = {@IDS@};
 *         size_t count = sizeof ids / sizeof *ids, length;
 *         model_state s;
 *         if (model_init(&s, memory, sizeof memory) != MODEL_OK) return 1;
 *         for (; model_feed(&s, ids, count) == MODEL_OK; count = 1) {
 *             ids[0] = model_sample(&s, 0.7f);
 *             if (model_is_end(ids[0])) break;
 *             const uint8_t *text = model_token(ids[0], &length);
 *             fwrite(text, 1, length, stdout);
 *         }
 *         return 0;
 *     }
 *
 * model_init     lays the state out in the buffer         model_feed    appends tokens, all or none, and computes the logits
 * model_reset    forgets the text                         model_greedy  the most probable token
 * model_seed     begins a sequence of random numbers      model_sample  draws a token, changing the logits
 * model_token    a token's bytes                          model_is_end  whether it ends a text
 *
 * Logits are the engine's to the bit where float arithmetic is IEEE's and not contracted: gcc needs -std=c99 or
 * -ffp-contract=off on processors with fused multiply-add, and never -ffast-math. */

#ifndef MODEL_H
#define MODEL_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

