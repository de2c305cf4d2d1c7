#include "fed/protocol.h"

const fbt_protocol *fbt_protocol_get(fbt_protocol_kind kind)
{
    static const fbt_protocol *const protocols[] = {
        [FBT_PROTOCOL_NVFLARE] = &fbt_protocol_nvflare,
        [FBT_PROTOCOL_PAPER] = &fbt_protocol_paper,
        [FBT_PROTOCOL_FEDAVG_BBT] = &fbt_protocol_fedavg_bbt,
        [FBT_PROTOCOL_SYNCHRONOUS] = &fbt_protocol_synchronous,
    };
    return protocols[kind];
}
