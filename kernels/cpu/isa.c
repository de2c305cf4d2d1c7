/* Which instruction set to use. oneDNN's own cap (ONEDNN_MAX_CPU_ISA) holds for our loops too: a run under a cap
 * computes what the lesser processor would. */
#include "kernels/cpu/cpu.h"

#include <dnnl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef FBT_X86
#include <cpuid.h>
#endif

static int isa_has(int wanted)
{
    return ((int)dnnl_get_effective_cpu_isa() & wanted) == wanted;
}

#ifdef FBT_X86
/* Asks the processor itself: Clang's __builtin_cpu_supports does not know "f16c" before version 15. */
static int cpu_has_fma_and_f16c(void)
{
    unsigned int eax, ebx, ecx, edx;
    const unsigned int wanted = bit_FMA | bit_F16C;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & wanted) == wanted;
}
#endif

const fbt_row_kernels *fbt_cpu_row_kernels(void)
{
#ifdef FBT_X86
    if (fbt_cpu_has_tiles()) {
        return &fbt_rows_amx;
    }
    if (isa_has(dnnl_cpu_isa_avx512_core_bf16)) {
        return &fbt_rows_avx512_bf16;
    }
    if (isa_has(dnnl_cpu_isa_avx512_core)) {
        return &fbt_rows_avx512;
    }
    if (isa_has(dnnl_cpu_isa_avx2) && cpu_has_fma_and_f16c()) {
        return &fbt_rows_avx2;
    }
#endif
    return &fbt_rows_plain;
}

const fbt_panel_kernels *fbt_cpu_panel_kernels(fbt_compute compute)
{
#ifdef FBT_X86
    if (compute == FBT_COMPUTE_BF16) {
        return &fbt_panels_avx512_bf16;
    }
    if (isa_has(dnnl_cpu_isa_avx512_core)) {
        return &fbt_panels_avx512;
    }
    if (isa_has(dnnl_cpu_isa_avx2) && cpu_has_fma_and_f16c()) {
        return &fbt_panels_avx2;
    }
#endif
    (void)compute;
    return &fbt_panels_plain;
}

/* On AMX the kernels for AVX-512: there are none of int8 on its tiles. */
const fbt_int8_kernels *fbt_cpu_int8_kernels(void)
{
#ifdef FBT_X86
    if (isa_has(dnnl_cpu_isa_avx512_core_bf16)) {
        return &fbt_int8_avx512_bf16;
    }
    if (isa_has(dnnl_cpu_isa_avx512_core_vnni)) {
        return &fbt_int8_avx512_vnni;
    }
    if (isa_has(dnnl_cpu_isa_avx512_core)) {
        return &fbt_int8_avx512;
    }
    if (fbt_cpu_row_kernels() == &fbt_rows_avx2) {
        return &fbt_int8_avx2;
    }
#endif
    return NULL;
}

const char *fbt_cpu_isa_name(void)
{
    static const struct {
        int isa;
        const char *name;
    } names[] = {
        {dnnl_cpu_isa_avx512_core_amx, "avx512_core_amx"},
        {dnnl_cpu_isa_avx512_core_bf16, "avx512_core_bf16"},
        {dnnl_cpu_isa_avx512_core_vnni, "avx512_core_vnni"},
        {dnnl_cpu_isa_avx512_core, "avx512_core"},
        {dnnl_cpu_isa_avx2, "avx2"},
        {dnnl_cpu_isa_avx, "avx"},
        {dnnl_cpu_isa_sse41, "sse41"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (isa_has(names[i].isa)) {
            return names[i].name;
        }
    }
    return "generic";
}

int fbt_cpu_has_bf16(void)
{
    return isa_has(dnnl_cpu_isa_avx512_core_bf16);
}

/* Of Intel's processors the tiles alone are fast: their vdpbf16ps makes half as many products a cycle as their two fp32
 * units (174 against 318 GFLOP/s by oneDNN on two cores of model 207). */
int fbt_cpu_has_fast_bf16(void)
{
#ifdef FBT_X86
    unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
    const int is_intel = __get_cpuid(0, &eax, &ebx, &ecx, &edx) && ebx == signature_INTEL_ebx &&
                         ecx == signature_INTEL_ecx && edx == signature_INTEL_edx;
    return fbt_cpu_has_tiles() || (fbt_cpu_has_bf16() && !is_intel);
#else
    return 0;
#endif
}

int fbt_cpu_has_tiles(void)
{
#ifdef FBT_X86
    /* The tiles' registers are large, so that Linux wants to be asked for them. */
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return isa_has(dnnl_cpu_isa_avx512_core_amx) &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return 0;
#endif
}
