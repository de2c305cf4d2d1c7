/* What can be chosen by name, in settings, data sets and files: one list for each enum. The enum, its names and the
 * choices of an option follow from the list, in its order.
 *
 * To add a choice, add a line to its list. */
#ifndef FBT_BASE_CHOICES_H
#define FBT_BASE_CHOICES_H

#include <stddef.h>

/* Arguments of a list: enumerators, or names (with what else a line may hold left out). */
#define FBT_CHOICE_VALUE(value, ...) value,
#define FBT_CHOICE_NAME(value, ...) FBT_CHOICE_FIRST(__VA_ARGS__, 0)
#define FBT_CHOICE_FIRST(name, ...) name,

/* How clients search and the server aggregates. The third column is the protocol's object (fed/protocol.h), the fourth
 * tells whether each client draws candidates of its own. */
#define FBT_PROTOCOL_LIST(X)                                                                                           \
    X(FBT_PROTOCOL_NVFLARE, "nvflare", fbt_protocol_nvflare, true)                                                     \
    X(FBT_PROTOCOL_PAPER, "paper", fbt_protocol_paper, true)                                                           \
    X(FBT_PROTOCOL_FEDAVG_BBT, "fedavg-bbt", fbt_protocol_fedavg_bbt, true)                                            \
    X(FBT_PROTOCOL_SYNCHRONOUS, "synchronous", fbt_protocol_synchronous, false)
typedef enum fbt_protocol_kind { FBT_PROTOCOL_LIST(FBT_CHOICE_VALUE) } fbt_protocol_kind;
extern const char *const fbt_protocol_names[];

/* The search distribution of clients and server; the third column is its object (optim/optimiser.h). */
#define FBT_OPTIMISER_LIST(X) X(FBT_OPTIMISER_CMA, "cma", fbt_optimiser_cma)
typedef enum fbt_optimiser_kind { FBT_OPTIMISER_LIST(FBT_CHOICE_VALUE) } fbt_optimiser_kind;
extern const char *const fbt_optimiser_names[];

/* As what the numbers of a message travel (fed/message.h). */
#define FBT_WIRE_LIST(X)                                                                                               \
    X(FBT_WIRE_FLOAT64, "float64")                                                                                     \
    X(FBT_WIRE_FLOAT32, "float32")
typedef enum fbt_wire { FBT_WIRE_LIST(FBT_CHOICE_VALUE) } fbt_wire;
extern const char *const fbt_wire_names[];

#endif
