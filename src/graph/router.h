/* SPDX-License-Identifier: Apache-2.0 */
/* Which experts a token goes to, and how much each of them counts.
 *
 * Of the logits of all experts: scores, by which experts are chosen (with a bias that only chooses,
 * and within the best groups); the scores of those chosen are the weights, renormalised and scaled.
 * DeepSeek-V3, arXiv:2412.19437, section 2.1.2; families without one of these steps leave it out. A
 * softmax over the chosen experts is a softmax over all of them, renormalised. */
#ifndef LLMQ_GRAPH_ROUTER_H
#define LLMQ_GRAPH_ROUTER_H

#include <stdbool.h>
#include <stdint.h>

#include "models/schema.h"

struct router {
    enum score score;
    enum group_score group_score;
    int64_t experts, top_k;     /* at most GRAPH_EXPERTS, and of them for a token */
    int64_t groups, top_groups; /* groups of neighbours, and those chosen from; 1: no groups */
    bool renormalised;          /* the weights of a token add up to 1, ... */
    double gain;                /* ... and are then multiplied by this */
    const float *choice_bias;   /* [experts] or NULL */
    double rest;                /* what the weights are renormalised by is their sum and this */
    const float *gains;         /* [experts] that the weights are multiplied by, or NULL */
};

/* Weights in place of the logits x [rows, experts]; 0: not chosen. Of equal scores the first is
 * taken. Scores are computed in double precision. Logits that are not finite make weights that are
 * not. */
void router_weights(const struct router *r, int64_t rows, float *x);

/* The way back with the choice held fixed: dx [rows, experts] = the gradient towards the logits x,
 * in place of that towards the weights. */
void router_back(const struct router *r, int64_t rows, const float *x, float *dx);

#endif
