/* SPDX-License-Identifier: Apache-2.0 */
/* Student's t distribution, as the test of a mean needs it. */
#ifndef LLMQ_EVAL_STUDENT_H
#define LLMQ_EVAL_STUDENT_H

/* How likely |T| >= |t| is with so many degrees of freedom (> 0): I_x(freedom / 2, 1 / 2) at
 * x = freedom / (freedom + t^2), I the regularized incomplete beta function (DLMF 8.17.22). */
double student_two_sided(double t, double freedom);

#endif
