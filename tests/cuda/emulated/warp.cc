#include "warp.h"

#include "access.h"
#include "base/half.h"
#include "kernel.h"

#include <string.h>

namespace emulated
{

namespace
{

/* a[row][k], b[k][column], d[row][column] of the warp's fragments: PTX ISA, "Matrix Fragments for mma.m16n8k16". */
struct Tile {
    float a[16][16], b[16][8], d[16][8];
};

void gather(Tile *tile, int lane, const Mma &mma)
{
    int group = lane / 4, pair = 2 * (lane % 4);
    for (int i = 0; i < 4; i++) {
        int row = group + 8 * (i % 2), k = pair + 8 * (i / 2);
        tile->a[row][k] = fbt_bf16_to_float(static_cast<uint16_t>(mma.a[i] & 0xffffU));
        tile->a[row][k + 1] = fbt_bf16_to_float(static_cast<uint16_t>(mma.a[i] >> 16));
        tile->d[group + 8 * (i / 2)][pair + i % 2] = mma.d[i];
    }
    for (int i = 0; i < 2; i++) {
        tile->b[pair + 8 * i][group] = fbt_bf16_to_float(static_cast<uint16_t>(mma.b[i] & 0xffffU));
        tile->b[pair + 8 * i + 1][group] = fbt_bf16_to_float(static_cast<uint16_t>(mma.b[i] >> 16));
    }
}

/* Products of two bfloat16 are exact in float; the sum rounds at every step. */
void multiply(Tile *tile)
{
    for (int row = 0; row < 16; row++) {
        for (int k = 0; k < 16; k++) {
            for (int column = 0; column < 8; column++) {
                tile->d[row][column] += tile->a[row][k] * tile->b[k][column];
            }
        }
    }
}

void check_row(const void *row, int lane)
{
    const unsigned char *at = static_cast<const unsigned char *>(row);
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) {
        fail_kernel("ldmatrix reads a row at an address that is not a multiple of 16 (lane %d)", lane);
    }
    if (at < here->shared || at + 16 > here->shared + here->shared_bytes) {
        fail_kernel("ldmatrix reads outside the block's shared memory (lane %d, offset %td of %zu bytes)", lane,
                    at - here->shared, here->shared_bytes);
    }
    watch_row(lane, row);
}

void load_matrices(void *const (&arguments)[32], bool transposed)
{
    for (int matrix = 0; matrix < 4; matrix++) {
        uint16_t items[8][8];
        for (int row = 0; row < 8; row++) {
            int lane = 8 * matrix + row;
            const void *from = static_cast<const Ldmatrix *>(arguments[lane])->row;
            check_row(from, lane);
            memcpy(items[row], from, sizeof items[row]);
        }
        for (int lane = 0; lane < 32; lane++) {
            int row = lane / 4, column = 2 * (lane % 4);
            uint32_t low = transposed ? items[column][row] : items[row][column];
            uint32_t high = transposed ? items[column + 1][row] : items[row][column + 1];
            static_cast<Ldmatrix *>(arguments[lane])->r[matrix] = low | high << 16;
        }
    }
}

} // namespace

void perform_mma(void *const (&arguments)[32])
{
    Tile tile;
    for (int lane = 0; lane < 32; lane++) {
        gather(&tile, lane, *static_cast<const Mma *>(arguments[lane]));
    }
    multiply(&tile);
    for (int lane = 0; lane < 32; lane++) {
        float *d = static_cast<Mma *>(arguments[lane])->d;
        for (int i = 0; i < 4; i++) {
            d[i] = tile.d[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2];
        }
    }
}

void perform_ldmatrix(void *const (&arguments)[32])
{
    load_matrices(arguments, false);
}

void perform_ldmatrix_trans(void *const (&arguments)[32])
{
    load_matrices(arguments, true);
}

void perform_shuffle(void *const (&arguments)[32])
{
    for (void *argument : arguments) {
        Shuffle *shuffle = static_cast<Shuffle *>(argument);
        shuffle->taken = static_cast<const Shuffle *>(arguments[shuffle->source])->given;
    }
}

void perform_vote(void *const (&arguments)[32])
{
    unsigned votes = 0;
    for (int lane = 0; lane < 32; lane++) {
        votes |= static_cast<const Vote *>(arguments[lane])->given ? 1U << lane : 0U;
    }
    for (void *argument : arguments) {
        static_cast<Vote *>(argument)->taken = votes;
    }
}

} // namespace emulated
