#include "kernels/cpu/onednn.h"

#include <stdlib.h>

#if DNNL_VERSION_MAJOR >= 3

dnnl_status_t fbt_onednn_desc_new(fbt_onednn_desc *desc, int n_dims, const dnnl_dims_t dims, dnnl_data_type_t type,
                                  dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_create_with_tag(desc, n_dims, dims, type, tag);
}

void fbt_onednn_desc_free(fbt_onednn_desc desc)
{
    if (desc != NULL) {
        dnnl_memory_desc_destroy(desc);
    }
}

dnnl_status_t fbt_onednn_matmul(dnnl_primitive_desc_t *product, dnnl_engine_t engine, fbt_onednn_desc x,
                                fbt_onednn_desc weights, fbt_onednn_desc bias, fbt_onednn_desc y,
                                dnnl_primitive_attr_t attributes)
{
    return dnnl_matmul_primitive_desc_create(product, engine, x, weights, bias, y, attributes);
}

#else

dnnl_status_t fbt_onednn_desc_new(fbt_onednn_desc *desc, int n_dims, const dnnl_dims_t dims, dnnl_data_type_t type,
                                  dnnl_format_tag_t tag)
{
    *desc = malloc(sizeof **desc);
    return *desc == NULL ? dnnl_out_of_memory : dnnl_memory_desc_init_by_tag(*desc, n_dims, dims, type, tag);
}

void fbt_onednn_desc_free(fbt_onednn_desc desc)
{
    free(desc);
}

dnnl_status_t fbt_onednn_matmul(dnnl_primitive_desc_t *product, dnnl_engine_t engine, fbt_onednn_desc x,
                                fbt_onednn_desc weights, fbt_onednn_desc bias, fbt_onednn_desc y,
                                dnnl_primitive_attr_t attributes)
{
    dnnl_matmul_desc_t description;
    const dnnl_status_t code = dnnl_matmul_desc_init(&description, x, weights, bias, y);
    return code ? code : dnnl_primitive_desc_create(product, &description, attributes, engine, NULL);
}

#endif
