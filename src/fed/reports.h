/* Which of the clients chosen for a round report, and when, in a simulated deployment: some drop out, some are slow.
 *
 * Clients are chosen (fed/participants.h), over_selection times the m participants of a round. What follows from the
 * settings, the seed, the round and the client alone:
 *
 *   dropout   a chosen client drops out with probability p_k, once for the whole round. Kind `round`: p_k = p =
 *             faults.dropout. Kind `client`: p_k ~ Beta(2 p, 2 (1 - p)), of mean p; uniform where p is a half.
 *   time      t_k = c_k tokens_k / 1000 + (up + down) / b_k + n_exchanges latency, with c_k = compute_seconds
 *             exp(compute_sigma x_k) and b_k = bytes_per_second exp(bandwidth_sigma y_k), x_k and y_k standard normal,
 *             drawn once a client; tokens_k: all that it puts through the model in the round; up, down: bytes of its
 *             messages in the round. What the server computes, and scores, take no time.
 *   reports   those that do not drop out, in the order of their times (equals in random order), up to the deadline: the
 *             first m count, all others are late (as in production: Bonawitz et al. 2019, "Towards federated learning
 *             at scale: system design", arXiv 1902.01046).
 *   round     ends with report m; if there are fewer, at the deadline, or without one with the last.
 *
 * In a round of several exchanges all clients wait for the slowest in each. Exchanges are alike, so that the same
 * client is the slowest in all of them: the round takes its t_k, and its time-out in each is the deadline by their
 * number. */
#ifndef FBT_FED_REPORTS_H
#define FBT_FED_REPORTS_H

#include "base/status.h"
#include "config/settings.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of one round. */
typedef struct fbt_round_reports {
    const int64_t *clients;                /* [n]: ids, rising: who takes part; borrowed, valid until the next draw */
    int64_t n;                             /* at most fbt_settings_participants; 0 where the round is abandoned      */
    int64_t n_reported, n_dropped, n_late; /* of those chosen: fbt_settings_chosen in all              */
    double simulated_s;                    /* time of the round; NaN: nothing takes time               */
} fbt_round_reports;

typedef struct fbt_reports fbt_reports;

/* work: [K], tokens of a pass over each client's samples. Settings and work are borrowed and outlive it. On failure
 * *reports is what was made so far, or NULL: free it all the same. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_reports_new(const fbt_settings *settings, const int64_t *work, fbt_reports **reports);
void fbt_reports_free(fbt_reports *reports);

/* Draws a round >= 1. A round with fewer reports than the protocol can use (fbt_protocol_least_reports) is abandoned:
 * its work counts for nothing and the server stays as it is. Not collective: all ranks come to the same. */
void fbt_reports_draw(fbt_reports *reports, uint32_t round, fbt_round_reports *drawn);

/* p_k and t_k of a client. */
double fbt_reports_dropout(fbt_reports *reports, int64_t client);
double fbt_reports_client_s(fbt_reports *reports, int64_t client);

#ifdef __cplusplus
}
#endif

#endif
