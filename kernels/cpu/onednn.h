/* The calls that oneDNN 2 and 3 spell differently, in the form of version 3: descriptors of memory are handles, and a
 * product's description is made in one call. Everything else is called as it is. */
#ifndef FBT_CPU_ONEDNN_H
#define FBT_CPU_ONEDNN_H

#include <dnnl.h>

/* Owned by whoever made it; NULL: none. Fits every call that takes a memory descriptor, in both versions. */
#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t fbt_onednn_desc;
typedef const_dnnl_memory_desc_t fbt_onednn_desc_view; /* owned by a primitive's description */
#else
typedef dnnl_memory_desc_t *fbt_onednn_desc;
typedef const dnnl_memory_desc_t *fbt_onednn_desc_view;
#endif

dnnl_status_t fbt_onednn_desc_new(fbt_onednn_desc *desc, int n_dims, const dnnl_dims_t dims, dnnl_data_type_t type,
                                  dnnl_format_tag_t tag);

void fbt_onednn_desc_free(fbt_onednn_desc desc);

/* y = x W + bias. bias, attributes: NULL for none. */
dnnl_status_t fbt_onednn_matmul(dnnl_primitive_desc_t *product, dnnl_engine_t engine, fbt_onednn_desc x,
                                fbt_onednn_desc weights, fbt_onednn_desc bias, fbt_onednn_desc y,
                                dnnl_primitive_attr_t attributes);

#endif
