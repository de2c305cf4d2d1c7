#include "base/choices.h"

const char *const fbt_protocol_names[] = {FBT_PROTOCOL_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_optimiser_names[] = {FBT_OPTIMISER_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_wire_names[] = {FBT_WIRE_LIST(FBT_CHOICE_NAME) NULL};
