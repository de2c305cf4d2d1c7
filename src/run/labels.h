/* How a run scores the labels of its data set. */
#ifndef FBT_RUN_LABELS_H
#define FBT_RUN_LABELS_H

#include "base/status.h"
#include "config/settings.h"
#include "data/dataset.h"
#include "model/label_words.h"

#include <stdbool.h>

/* Whether these labels can be scored so. Errors: FBT_ERR_CONFIG, with the labels: auto where one has several tokens,
 * first where two begin alike, sum and mean where the data set is not read at its last token. */
fbt_status fbt_labels_check(const fbt_dataset *dataset, const fbt_settings *settings);

/* Rows that labels take behind every sample: none where first tokens are scored. n_targets: for any backend. */
fbt_label_sizes fbt_labels_sizes(const fbt_dataset *dataset, const fbt_settings *settings);

/* Whether the setting is not auto, and auto would score these labels alike. */
bool fbt_labels_scoring_is_idle(const fbt_dataset *dataset, const fbt_settings *settings);

#endif
