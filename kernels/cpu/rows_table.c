/* The table of one copy of the row kernels. */
#include "kernels/cpu/rows.h"

#define TABLE_JOIN(a, b) a##b
#define TABLE_NAME(a, b) TABLE_JOIN(a, b)

extern const fbt_row_kernels TABLE_NAME(fbt_rows_, FBT_ISA);

const fbt_row_kernels TABLE_NAME(fbt_rows_, FBT_ISA) = {
    .layernorm = FBT_ROWS(layernorm),
    .embed = FBT_ROWS(embed),
    .sum = FBT_ROWS(sum),
    .rotate = FBT_ROWS(rotate),
    .gate = FBT_ROWS(gate),
    .convert = FBT_ROWS(convert),
    .mean_pool = FBT_ROWS(mean_pool),
    .dot = FBT_ROWS(dot),
    .word_products = FBT_ROWS(word_products),
    .exp_sum = FBT_ROWS(exp_sum),
    .attention = FBT_ROWS(attention),
    .attention_bytes = FBT_ROWS(attention_bytes),
};
