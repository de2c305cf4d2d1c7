#include "fed/protocol.h"

const fbt_protocol *fbt_protocol_get(fbt_protocol_kind kind)
{
    static const fbt_protocol *const protocols[] = {
#define FBT_PROTOCOL_OBJECT(value, name, object) [value] = &(object),
        FBT_PROTOCOL_LIST(FBT_PROTOCOL_OBJECT)
#undef FBT_PROTOCOL_OBJECT
    };
    return protocols[kind];
}
