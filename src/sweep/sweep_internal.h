/* Contents of a sweep file, between reading and expansion; for the files of this folder. */
#ifndef FBT_SWEEP_INTERNAL_H
#define FBT_SWEEP_INTERNAL_H

#include "config/options.h"
#include "config/yaml_text.h"
#include "sweep/sweep.h"

/* One value of one setting. */
typedef struct fbt_sweep_item {
    const fbt_option *option;
    char *text; /* as fbt_option_value_text prints it, so that 1.0 and 1 are equal */
    size_t line;
} fbt_sweep_item;

typedef struct fbt_sweep_items {
    int64_t n;
    fbt_sweep_item *items;
} fbt_sweep_items;

/* Settings that change together: the runs are the product of all dimensions' points. */
typedef struct fbt_sweep_dimension {
    int64_t n_points;
    fbt_sweep_items *points;
} fbt_sweep_dimension;

typedef struct fbt_sweep_spec {
    const fbt_yaml *yaml;
    fbt_settings base;     /* with `settings` and --set */
    fbt_settings scratch;  /* where values are tried out */
    fbt_sweep_items fixed; /* `settings` */
    int64_t n_axes;
    const fbt_option **axes; /* [n_axes], in the order of the file; room for all options */
    size_t *axis_line;       /* [n_axes] */
    int64_t n_dimensions;
    fbt_sweep_dimension *dimensions; /* room for all options and three more */
    int64_t n_exclusions;
    fbt_sweep_items *exclusions; /* one setting may have several items: any of them matches */
} fbt_sweep_spec;

/* Reads the axes of the sweep's root: grid, sets, random, seeds, repeats. */
fbt_status fbt_sweep_read_axes(fbt_sweep_spec *spec, const yaml_node_t *root);

/* Reads a value into *item; spec->scratch holds it afterwards too. */
fbt_status fbt_sweep_read_item(fbt_sweep_spec *spec, const fbt_option *option, const yaml_node_t *value,
                               fbt_sweep_item *item);

/* The setting that a key names. */
fbt_status fbt_sweep_find_option(const fbt_sweep_spec *spec, const yaml_node_t *key, const fbt_option **option);

/* The same, of one that a sweep may vary. */
fbt_status fbt_sweep_read_key(const fbt_sweep_spec *spec, const yaml_node_t *key, const fbt_option **option);

/* Number of the setting's axis, or -1. */
int64_t fbt_sweep_find_axis(const fbt_sweep_spec *spec, const fbt_option *option);

/* Reads `random` into a dimension. */
fbt_status fbt_sweep_read_random(fbt_sweep_spec *spec, const yaml_node_t *random, fbt_sweep_dimension *dimension);

/* Makes the setting an axis; fails when it is one. */
fbt_status fbt_sweep_add_axis(fbt_sweep_spec *spec, const fbt_option *option, const yaml_node_t *key);

/* The value of `key` in a mapping, or NULL. */
const yaml_node_t *fbt_sweep_find(const fbt_yaml *yaml, const yaml_node_t *mapping, const char *key);

/* Fails unless the node is a list, or a mapping, with something in it. */
fbt_status fbt_sweep_check_list(const fbt_yaml *yaml, const char *key, const yaml_node_t *node);
fbt_status fbt_sweep_check_mapping(const fbt_yaml *yaml, const char *key, const yaml_node_t *node);

/* Number of items of a list, of pairs of a mapping. */
int64_t fbt_sweep_length(const yaml_node_t *node);

/* The name of a run by its values, in any order. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_sweep_make_name(const fbt_sweep_item *const *items, int64_t n_items, char name[FBT_SWEEP_NAME_BYTES]);

/* Makes the runs of what was read. */
fbt_status fbt_sweep_expand(const fbt_sweep_spec *spec, const char *const *assignments, int n_assignments,
                            fbt_sweep *sweep);

void fbt_sweep_items_clear(fbt_sweep_items *items);

#endif
