/* How long a round takes on any number of ranks, for any number of clients, and what memory: predicted from the speeds
 * of one rank, the placement that the run itself makes, and what its collectives move (docs/scaling.md).
 *
 *     round = the busiest rank's search and CMA-ES + server's update + exchange + scores + record + precision check
 *
 * A collective of n bytes on R ranks takes the lesser of ceil(log2 R) (latency + n / bandwidth), recursive doubling,
 * and 2 ceil(log2 R) latency + 2 n (R - 1) / (R bandwidth), Rabenseifner's algorithm (Thakur, Rabenseifner, Gropp
 * 2005). */
#ifndef FBT_FED_PREDICTION_H
#define FBT_FED_PREDICTION_H

#include "base/status.h"
#include "config/settings.h"

#include <stdint.h>

/* Speeds of one rank that has its processors to itself, means of a round. */
typedef struct fbt_rank_speeds {
    double token_s;                /* one token through the model, in the search                    */
    double score_token_s;          /* the same when the server's mean is scored                     */
    double client_s;               /* CMA-ES of one participant's whole round                       */
    double server_s;               /* the server's update, which every rank makes ...               */
    double server_participant_s;   /* ... and what each participant adds to it and to the exchange  */
    double record_s;               /* the record, which rank 0 makes ...                            */
    double record_byte_s;          /* ... and what each byte of the round's row adds to it          */
    double check_s;                /* precision checks, if one rank made them alone                 */
    double latency_s, bytes_per_s; /* of a message between two ranks                              */
} fbt_rank_speeds;

/* A run of which there may be more clients than it had: client k is like client k mod n_clients. Borrowed. */
typedef struct fbt_prediction_case {
    const fbt_settings *settings; /* fed.clients apart */
    int64_t n_clients;
    const int64_t *work;       /* [n_clients]: tokens of one pass over a client's samples     */
    double n_samples;          /* of a client, the mean                                       */
    double scored;             /* of the rounds, the fraction whose mean is scored            */
    double other_score_tokens; /* dev and test samples' tokens that an average round scores   */
    double longest;            /* tokens of the longest sequence: work is cut at sequence ends */
    double node_bytes;         /* memory that the ranks of a node share: weights              */
    double rank_bytes;         /* memory of a rank that no client adds to                     */
    double participant_bytes;  /* that a participant adds where it is hosted                  */
    double sample_bytes;       /* that a sample adds on every rank                            */
    int ranks_per_node;
    fbt_rank_speeds speeds;
} fbt_prediction_case;

typedef struct fbt_prediction {
    int64_t n_clients, n_participants;
    int n_ranks;
    double search_s, optimise_s, exchange_s, score_s, record_s, check_s;
    double round_s;
    double efficiency;             /* (seconds on 1 rank) / (n_ranks * round_s), of as many clients */
    double balance;                /* mean over largest work of a rank                              */
    double rank_bytes, node_bytes; /* memory: of the busiest rank alone, and of a node with what is shared */
} fbt_prediction;

/* Collective seconds: an Allreduce of n_bytes on n_ranks. */
double fbt_prediction_allreduce_s(const fbt_rank_speeds *speeds, int n_ranks, double n_bytes);

/* The work of the busiest rank, and of all: tokens of one pass over the samples of round `round`'s participants, and
 * how many of them the busiest rank hosts; where ranks share a participant, the rank's share. */
typedef struct fbt_prediction_load {
    int64_t n_participants;
    double busiest_tokens, all_tokens;
    double n_hosted; /* the most on any rank                               */
    int n_sharing;   /* ranks in the group of the busiest rank; 1: no group */
} fbt_prediction_load;
fbt_status fbt_prediction_find_load(const fbt_prediction_case *c, int64_t n_clients, int n_ranks, uint32_t round,
                                    fbt_prediction_load *load);

/* Tokens that the busiest rank puts through the model in a search with this load. */
double fbt_prediction_search_tokens(const fbt_prediction_case *c, const fbt_prediction_load *load, int n_ranks);

/* Tokens of the training samples that a round scores which scores any, of n_clients: all, or eval.train_limit of them.
 */
double fbt_prediction_train_tokens(const fbt_prediction_case *c, int64_t n_clients);

/* Tokens of the largest share where n_tokens are scored by n_ranks. */
double fbt_prediction_share(double n_tokens, double longest, int n_ranks);

/* Bytes of the row that a round adds to the run file. */
double fbt_prediction_row_bytes(const fbt_settings *settings);

/* Bytes on every rank that grow with the clients: messages, the row, the samples; hosted participants apart. */
double fbt_prediction_client_bytes(const fbt_prediction_case *c, int64_t n_clients);

/* Errors: FBT_ERR_ARG (n_clients or n_ranks < 1), FBT_ERR_MEMORY, the placement's. */
fbt_status fbt_prediction_make(const fbt_prediction_case *c, int64_t n_clients, int n_ranks,
                               fbt_prediction *prediction);

#endif
