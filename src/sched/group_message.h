/// @file
/// What makes a placement group, as a part of a message.
#pragma once

#include "sched/placement_group.h"
#include "wire/message_reader.h"

namespace haz {

/// Appends `spec` to `message`, without its creator and owner.
void encode_group_spec(const GroupSpec& spec, MessageBuilder& message);
/// Takes what encode_group_spec() wrote; `reader` says whether it was whole.
GroupSpec decode_group_spec(MessageReader& reader);

}  // namespace haz
