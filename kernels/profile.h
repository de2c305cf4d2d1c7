/* Where the time of a backend's operations goes: what each took, and what it had to do at least.
 *
 * A caller that computes says nothing of it: an operation is known by its name, a product by the `operation` that its
 * matrix was made with (fbt_matrix_spec). */
#ifndef FBT_PROFILE_H
#define FBT_PROFILE_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fbt_operation {
    FBT_OP_PROMPT,     /* soft prompts from z                                                                  */
    FBT_OP_EMBED,      /* perturbation, embedding, prompt, first layer norm                                    */
    FBT_OP_QKV,        /* products: queries, keys, values                                                      */
    FBT_OP_ROTATE,     /* rotary positions of queries and keys                                                 */
    FBT_OP_ATTENTION,  /* softmax attention                                                                    */
    FBT_OP_OUTPUT,     /* products: attention's output, with the residual                                      */
    FBT_OP_UP,         /* products: feed-forward, first half                                                   */
    FBT_OP_DOWN,       /* products: feed-forward, second half, with the residual                               */
    FBT_OP_ACTIVATION, /* biases, activations, gates that are kernels of their own, else in the product before */
    FBT_OP_NORM,       /* layer norms that are kernels of their own, else in the product before                */
    FBT_OP_READOUT,    /* rows read, head, logits, losses                                                      */
    FBT_N_OPERATIONS
} fbt_operation;

/* "qkv", ...; NULL outside the list. */
const char *fbt_operation_name(fbt_operation operation);

/* seconds: what the device took, from the end of the operation before where one was queued at once. flops: 2 m n k of a
 * product; 4 l d for each query of attention that sees l keys, of all heads' d columns; other operations count nothing.
 * bytes: operands read once, results written once. */
typedef struct fbt_profile {
    double seconds[FBT_N_OPERATIONS];
    double flops[FBT_N_OPERATIONS];
    double bytes[FBT_N_OPERATIONS];
} fbt_profile;

#ifdef __cplusplus
}
#endif

#endif
