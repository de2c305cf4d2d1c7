#include "product.h"

#include "base/half.h"

#include <math.h>
#include <string.h>

namespace emulated
{

namespace
{

enum { PANEL = 16, GROUP = 4 }; /* rows of op(A) and columns of op(B) that are multiplied at once */

/* One copy per width of vectors. Without fused multiply-adds (-ffp-contract=off) all give the same bits. */
#if defined(__x86_64__)
#define FOR_ANY_WIDTH __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_ANY_WIDTH
#endif

uint32_t float_to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* To nearest, ties to even, `n_dropped` bits of the significand gone. */
float round_significand(float value, int n_dropped)
{
    uint32_t bits = float_to_bits(value);
    if (!isfinite(value)) {
        return value;
    }
    uint32_t odd = bits >> n_dropped & 1U;
    bits += (1U << (n_dropped - 1)) - 1 + odd;
    return fbt_float_of_bits(bits & ~((1U << n_dropped) - 1));
}

float load(const void *items, cudaDataType type, int64_t i)
{
    if (type == CUDA_R_32F) {
        return static_cast<const float *>(items)[i];
    }
    return fbt_bf16_to_float(static_cast<const uint16_t *>(items)[i]);
}

void store(void *items, cudaDataType type, int64_t i, float value)
{
    if (type == CUDA_R_32F) {
        static_cast<float *>(items)[i] = value;
    } else {
        uint32_t bits = isnan(value) ? 0x7fffffffU : float_to_bits(round_significand(value, 16));
        static_cast<uint16_t *>(items)[i] = static_cast<uint16_t>(bits >> 16);
    }
}

float operand(const Matrix &matrix, bool is_transposed, bool rounds, int64_t row, int64_t column)
{
    int64_t i = is_transposed ? column + row * matrix.leading : row + column * matrix.leading;
    float value = load(matrix.items, matrix.type, i);
    return rounds ? round_significand(value, 13) : value;
}

/* Rows of op(A), PANEL at a time, item by item of k; what is missing in the last panel is zero. */
std::vector<float> pack_a(const Product &p)
{
    int64_t n_panels = (p.m + PANEL - 1) / PANEL;
    std::vector<float> packed(static_cast<size_t>(n_panels * PANEL * p.k), 0);
    for (int64_t row = 0; row < p.m; row++) {
        float *to = &packed[static_cast<size_t>(row / PANEL * PANEL * p.k + row % PANEL)];
        for (int64_t k = 0; k < p.k; k++) {
            to[k * PANEL] = operand(p.a, p.a_is_transposed, p.rounds_to_tf32, row, k);
        }
    }
    return packed;
}

/* Columns of op(B), one behind the other; zeros behind the last so that it is one of a whole group. */
std::vector<float> pack_b(const Product &p)
{
    std::vector<float> packed(static_cast<size_t>((p.n + GROUP - 1) / GROUP * GROUP * p.k), 0);
    for (int64_t column = 0; column < p.n; column++) {
        for (int64_t k = 0; k < p.k; k++) {
            packed[static_cast<size_t>(column * p.k + k)] =
                operand(p.b, p.b_is_transposed, p.rounds_to_tf32, k, column);
        }
    }
    return packed;
}

typedef float Panel __attribute__((vector_size(PANEL * sizeof(float))));

/* sums[GROUP][PANEL] += panel of A x GROUP columns of B over one segment, which is summed from zero. */
FOR_ANY_WIDTH
void add_segment(float (*__restrict__ sums)[PANEL], const float *__restrict__ a, const float *__restrict__ b,
                 int64_t n_k, Segment segment)
{
    Panel part[GROUP] = {};
    for (int64_t k = segment.begin; k < segment.end; k++) {
        Panel rows;
        memcpy(&rows, a + k * PANEL, sizeof rows);
        for (int column = 0; column < GROUP; column++) {
            part[column] += b[column * n_k + k] * rows;
        }
    }
    for (int column = 0; column < GROUP; column++) {
        for (int row = 0; row < PANEL; row++) {
            sums[column][row] += part[column][row];
        }
    }
}

/* Gaussian error linear unit, the tanh formula, as the library's epilogue has it. */
float gelu(float x)
{
    return 0.5F * x * (1 + tanhf(0.7978845608F * (x + 0.044715F * x * x * x)));
}

void finish(const Product &p, int64_t row, int64_t column, float sum)
{
    float value = p.alpha * sum;
    if (p.beta != 0) {
        value += p.beta * load(p.c.items, p.c.type, row + column * p.c.leading);
    }
    if ((p.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0) {
        value += load(p.bias, p.d.type, row);
    }
    if ((p.epilogue & CUBLASLT_EPILOGUE_RELU) != 0) {
        value = value < 0 ? 0 : value;
    }
    if ((p.epilogue & CUBLASLT_EPILOGUE_GELU) != 0) {
        value = gelu(value);
    }
    store(const_cast<void *>(p.d.items), p.d.type, row + column * p.d.leading, value);
}

/* Columns first .. first + GROUP - 1 of one panel; those of the group that `part` is not for are left alone. */
void multiply_group(const Product &p, const float *a, const float *b, int64_t panel, int64_t first, int part,
                    const std::vector<Segment> &segments, const std::vector<int> &part_of_column)
{
    float sums[GROUP][PANEL] = {};
    for (Segment segment : segments) {
        add_segment(sums, a + panel * PANEL * p.k, b + first * p.k, p.k, segment);
    }
    for (int64_t column = first; column < first + GROUP && column < p.n; column++) {
        for (int64_t row = panel * PANEL; row < (panel + 1) * PANEL && row < p.m; row++) {
            if (part_of_column[static_cast<size_t>(column)] == part) {
                finish(p, row, column, sums[column - first][row % PANEL]);
            }
        }
    }
}

} // namespace

size_t item_bytes(cudaDataType type)
{
    return type == CUDA_R_32F ? 4 : 2;
}

size_t bytes_of(const Matrix &matrix)
{
    return static_cast<size_t>((matrix.n_columns - 1) * matrix.leading + matrix.n_rows) * item_bytes(matrix.type);
}

void multiply(const Product &p, const std::vector<std::vector<Segment>> &parts, const std::vector<int> &part_of_column)
{
    const std::vector<float> a = pack_a(p), b = pack_b(p);
    for (int64_t panel = 0; panel * PANEL < p.m; panel++) {
        for (int64_t first = 0; first < p.n; first += GROUP) {
            for (size_t part = 0; part < parts.size(); part++) {
                bool is_wanted = false;
                for (int64_t column = first; column < first + GROUP && column < p.n; column++) {
                    is_wanted = is_wanted || part_of_column[static_cast<size_t>(column)] == static_cast<int>(part);
                }
                if (is_wanted) {
                    multiply_group(p, a.data(), b.data(), panel, first, static_cast<int>(part), parts[part],
                                   part_of_column);
                }
            }
        }
    }
}

} // namespace emulated
