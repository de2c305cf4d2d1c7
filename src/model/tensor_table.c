#include "model/tensor_table.h"

#include "model/family.h"

bool fbt_model_splits_last_layer(const fbt_model_shape *shape, const fbt_model_options *options)
{
    return fbt_model_reads_one_row(shape, options->readout) && !options->full_last_layer;
}

fbt_tensor_walk fbt_tensor_walk_begin(const fbt_model_shape *shape, fbt_readout readout, bool splits_last_layer)
{
    return (fbt_tensor_walk){
        .shape = shape, .has_head = fbt_readout_scores_words(readout), .splits_last_layer = splits_last_layer};
}

static int64_t columns_of(const fbt_model_shape *shape, const fbt_tensor_rule *rule)
{
    return rule->kind == FBT_TENSOR_NORM ? 1 : fbt_shape_size(shape, rule->columns);
}

static bool is_left_out(const fbt_tensor_walk *walk, const fbt_tensor_rule *rule)
{
    return (rule->part == FBT_PART_HEAD && !walk->has_head) || fbt_shape_size(walk->shape, rule->rows) == 0 ||
           columns_of(walk->shape, rule) == 0;
}

static size_t place_of(const fbt_tensor_walk *walk, const fbt_tensor_rule *rule)
{
    const bool is_split = walk->splits_last_layer && walk->layer == walk->shape->n_layers - 1;
    return is_split && rule->to_split != 0 ? rule->to_split : rule->to;
}

/* Where the rules of a layer end, they begin again for the next. */
static void repeat_layers(fbt_tensor_walk *walk, const fbt_tensor_table *table)
{
    int64_t first = walk->next;
    const bool is_end = first > 0 && table->rules[first - 1].part == FBT_PART_LAYER &&
                        (first == table->n_rules || table->rules[first].part != FBT_PART_LAYER);
    if (!is_end || walk->layer == walk->shape->n_layers - 1) {
        return;
    }
    while (first > 0 && table->rules[first - 1].part == FBT_PART_LAYER) {
        first--;
    }
    walk->next = first;
    walk->layer++;
}

/* Whether a rule belongs to the step that `first` begins. */
static bool is_of_step(const fbt_tensor_walk *walk, const fbt_tensor_rule *first, const fbt_tensor_rule *rule)
{
    return rule->part == first->part && place_of(walk, rule) == walk->to && !is_left_out(walk, rule);
}

bool fbt_tensor_walk_next(fbt_tensor_walk *walk)
{
    const fbt_tensor_table *table = walk->shape->family->tensors;
    repeat_layers(walk, table);
    while (walk->next < table->n_rules && is_left_out(walk, &table->rules[walk->next])) {
        walk->next++;
        repeat_layers(walk, table);
    }
    if (walk->next == table->n_rules) {
        return false;
    }
    const fbt_tensor_rule *rule = walk->rules = &table->rules[walk->next];
    walk->to = place_of(walk, rule);
    walk->columns = columns_of(walk->shape, rule);
    walk->has_bias = fbt_shape_size(walk->shape, rule->bias) != 0;
    walk->rows = walk->n_rules = 0;
    do {
        walk->rows += fbt_tensor_walk_rows(walk, walk->n_rules);
        walk->n_rules++;
        walk->next++;
    } while (walk->next < table->n_rules && is_of_step(walk, rule, &rule[walk->n_rules]));
    return true;
}

int64_t fbt_tensor_walk_rows(const fbt_tensor_walk *walk, int64_t i)
{
    return fbt_shape_size(walk->shape, walk->rules[i].rows);
}

const fbt_types *fbt_tensor_walk_types(const fbt_tensor_walk *walk, const fbt_types *types)
{
    return walk->rules->part == FBT_PART_HEAD ? fbt_types_unquantised(types) : types;
}

fbt_tensor_items fbt_tensor_walk_items(const fbt_tensor_walk *walk, int64_t n_labels)
{
    const int64_t n_biases = walk->has_bias ? 1 : 0;
    switch (walk->rules->kind) {
    case FBT_TENSOR_TABLE:
        return (fbt_tensor_items){.table = walk->rows * walk->columns};
    case FBT_TENSOR_COMPUTED:
        return (fbt_tensor_items){.computed = walk->rows * walk->columns};
    case FBT_TENSOR_DENSE:
        return (fbt_tensor_items){.matrix = walk->rows * walk->columns, .vector = n_biases * walk->rows};
    case FBT_TENSOR_NORM:
        return (fbt_tensor_items){.vector = (1 + n_biases) * walk->rows};
    case FBT_TENSOR_LABELS:
        return (fbt_tensor_items){.vector = n_labels * (walk->columns + n_biases)};
    }
    return (fbt_tensor_items){0};
}

double fbt_model_token_products(const fbt_model_shape *shape)
{
    double n = 0;
    fbt_tensor_walk walk = fbt_tensor_walk_begin(shape, FBT_READOUT_EMBEDDING, false);
    while (fbt_tensor_walk_next(&walk)) {
        n += walk.rules->part == FBT_PART_LAYER ? (double)fbt_tensor_walk_items(&walk, 0).matrix : 0;
    }
    return n;
}
